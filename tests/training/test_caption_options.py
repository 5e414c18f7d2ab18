"""How captions are shown in training: dropped, shuffled, cut."""

import dataclasses
import hashlib
import logging

import pytest
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from lora_core.dataset import Entry, Manifest
from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training.batch import Batch, draw_batch
from lora_core.training.run import train
from lora_core.training.samples import Sample, TrainingSet, pictures_of

TAGS = ("hc_hero", "1girl", "cat_ears", "smile")
TEXT = "hc_hero, 1girl, cat ears, smile"


def batch(options: Training, count: int = 8, epoch: int = 0, start: int = 0) -> Batch:
    """Samples of one picture at positions from `start` on."""
    entry = Entry(name="a", source="a.png", image="0" * 64, width=64, height=64, caption=TAGS)
    pictures = pictures_of((TrainingSet(Manifest(entries=(entry,)), 1, False, "", 64, "hc_hero"),))
    samples = [Sample(0, start + number) for number in range(count)]
    return draw_batch(samples, pictures, [torch.zeros(4, 2, 2)], options, epoch)


def test_without_dropout_every_caption_is_whole() -> None:
    assert batch(Training(), 50).captions == (TEXT,) * 50


def test_dropout_takes_the_whole_caption_the_trigger_too_on_its_share_of_the_samples() -> None:
    captions = batch(Training(caption_dropout=0.3, keep_tokens=1), 2000).captions
    assert set(captions) == {TEXT, ""}
    assert 0.26 < captions.count("") / 2000 < 0.34  # 4 standard errors of 0.0102


def test_a_dropout_of_one_leaves_no_caption_and_takes_class_words_too() -> None:
    entry = Entry(name="a", source="a.png", image="0" * 64, width=64, height=64)
    sets = (
        TrainingSet(Manifest(entries=(entry.model_copy(update={"caption": TAGS}),)), 1, False, "", 64),
        TrainingSet(Manifest(entries=(entry,)), 1, True, "hcstyle 1girl", 64),
    )
    drawn = draw_batch(
        [Sample(0, 0), Sample(1, 1)], pictures_of(sets), [torch.zeros(4, 2, 2)] * 2, Training(caption_dropout=1), 0
    )
    assert drawn.captions == ("", "")


@examples(20)
@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 99), share=st.floats(0.05, 0.95), split=st.integers(1, 7))
def test_what_is_dropped_depends_on_seed_epoch_and_position_alone(
    seed: int, epoch: int, share: float, split: int
) -> None:
    options = Training(seed=seed, caption_dropout=share, shuffle_caption=True)
    whole = batch(options, 8, epoch).captions
    assert batch(options, split, epoch).captions + batch(options, 8 - split, epoch, split).captions == whole


def test_dropout_moves_neither_noise_nor_timesteps() -> None:
    plain, dropped = batch(Training()), batch(Training(caption_dropout=0.5))
    assert torch.equal(plain.noise, dropped.noise)
    assert torch.equal(plain.timesteps, dropped.timesteps)


def test_another_epoch_drops_other_samples() -> None:
    options = Training(caption_dropout=0.5)
    assert batch(options, 64, 0).captions != batch(options, 64, 1).captions


def test_captions_that_the_text_encoder_cuts_are_warned_of_by_name(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The tiny tokenizer makes a token of every letter."""
    captions = ("x" * 75,), ("x" * 74, "y")  # 75 letters; 74 letters, a comma and a letter
    entries = zip(drawn_sets[0].manifest.entries, captions, strict=False)
    changed = tuple(entry.model_copy(update={"caption": caption}) for entry, caption in entries)
    sets = (dataclasses.replace(drawn_sets[0], manifest=Manifest(entries=changed)),)
    with caplog.at_level(logging.WARNING):
        train(
            store, base, sets, options.model_copy(update={"epochs": 1, "max_token_length": 75}),
            name="hero", clip_skip=1, device="cpu",
            key=hashlib.sha256(b"cut").hexdigest(), trigger="", progress=silent,
        )  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 2 captions have more than 75 tokens; what comes behind them is not trained: hero_1.png"
    ]
