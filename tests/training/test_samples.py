import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from lora_core.dataset import Entry, Manifest
from lora_core.errors import CaptionError, DatasetError
from lora_core.recipe import Training
from lora_core.training.plan import plan
from lora_core.training.samples import TrainingSet, draws, epoch_batches, epoch_repeats, pictures_of

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "reg_balance_steps.json").read_bytes()
)["rows"]


def manifest(count: int, sizes: Sequence[tuple[int, int]] = ((64, 64),), prefix: str = "p") -> Manifest:
    return Manifest(
        entries=tuple(
            Entry(
                name=f"{prefix}{i}",
                source=f"{prefix}{i}.png",
                image="0" * 64,
                width=sizes[i % len(sizes)][0],
                height=sizes[i % len(sizes)][1],
                caption=("tag",),
            )
            for i in range(count)
        )
    )


def sets_of(row: dict[str, Any]) -> tuple[TrainingSet, ...]:
    return tuple(
        TrainingSet(manifest(each["n"]), each["repeats"], kind == "reg", "", 64)
        for kind in ("train", "reg")
        for each in row[kind]
    )


@pytest.mark.parametrize("row", GOLDEN, ids=str)
def test_regularization_is_balanced_as_in_sd_scripts(row: dict[str, Any]) -> None:
    sets = sets_of(row)
    options = Training(batch=row["batch"], epochs=row["epochs"])
    found = plan(sets, options)
    regularization = [each for each in found.sets if each.regularization]
    assert sum(each.samples for each in found.sets if not each.regularization) == row["train_samples_per_epoch"]
    assert sum(each.samples for each in regularization) == row["reg_samples_per_epoch"]
    assert found.samples_per_epoch == row["samples_per_epoch"]
    assert sum(each.used for each in regularization) == row["reg_images_used"]
    assert sum(each.pictures for each in regularization) == row["reg_images_total"]
    pictures = pictures_of(sets)
    first = next(epoch_repeats(pictures, 1))
    for index, each in enumerate(sets):
        if not each.regularization:
            continue
        times = [first[i] for i, picture in enumerate(pictures) if picture.set_index == index and first[i]]
        number = [reg for reg in sets if reg.regularization].index(each)
        golden = row["reg_effective_repeats"][f"{each.repeats}_r{number} x"]["per_image"]
        if isinstance(golden, dict):
            assert (times[:4], times[-4:]) == (golden["first4"], golden["last4"])
        else:
            assert times == golden


@pytest.mark.parametrize("row", [row for row in GOLDEN if row["bucketed"] is None], ids=str)
def test_batches_and_steps_are_sd_scripts(row: dict[str, Any]) -> None:
    found = plan(sets_of(row), Training(batch=row["batch"], epochs=row["epochs"]))
    assert found.steps_per_epoch == row["batches_per_epoch"]
    if row["grad_accum"] == 1:
        assert found.total_steps == row["steps_total"]


@pytest.mark.parametrize("row", [row for row in GOLDEN if row["bucketed"]], ids=str)
def test_every_bucket_fills_its_own_batches(row: dict[str, Any]) -> None:
    """The golden rows' samples by bucket, laid out anew: which picture had which size is not in the file."""
    (tall, square) = row["bucketed"].values()
    sets = (
        TrainingSet(manifest(1, ((64, 192),), "tall"), tall, False, "", 111),
        TrainingSet(manifest(1, ((128, 128),), "square"), square, False, "", 128),
    )
    found = plan(sets, Training(batch=row["batch"], epochs=row["epochs"]))
    assert [bucket.samples for bucket in found.buckets] == [tall, square]
    assert (found.steps_per_epoch, found.total_steps) == (row["batches_per_epoch"], row["steps_total"])


@examples(25)
@given(
    counts=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=3),
    regularization=st.integers(0, 9),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_sample_is_seen_exactly_as_often_as_its_repeats_say(
    counts: list[tuple[int, int]], regularization: int, batch: int, seed: int
) -> None:
    sets = [TrainingSet(manifest(n, ((64, 64), (64, 192))), repeats, False, "", 128) for n, repeats in counts]
    sets.append(TrainingSet(manifest(regularization), 1, True, "", 64))
    pictures = pictures_of(sets)
    for epoch, repeats in enumerate(epoch_repeats(pictures, 2)):
        batches = epoch_batches(pictures, repeats, batch=batch, seed=seed, epoch=epoch)
        seen = Counter(sample.picture for samples in batches for sample in samples)
        assert [seen[index] for index in range(len(pictures))] == list(repeats)
        assert all(seen[i] == p.repeats for i, p in enumerate(pictures) if not p.regularization)
        assert [sample.position for samples in batches for sample in samples] == list(range(sum(repeats)))
        for samples in batches:
            assert len(samples) <= batch
            assert len({pictures[sample.picture].placement.bucket for sample in samples}) == 1


def test_too_many_regularization_pictures_take_turns() -> None:
    sets = (TrainingSet(manifest(4), 1, False, "", 64), TrainingSet(manifest(10), 1, True, "", 64))
    epochs = [repeats[4:] for repeats in epoch_repeats(pictures_of(sets), 3)]
    assert [[i for i, times in enumerate(epoch) if times] for epoch in epochs] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [0, 1, 8, 9],
    ]
    found = plan(sets, Training(epochs=3)).sets[1]
    assert (found.used, found.used_in_run, found.effective_repeats) == (4, 10, (0, 1))


def test_the_order_is_another_one_each_epoch_and_the_same_for_the_same_seed() -> None:
    pictures = pictures_of((TrainingSet(manifest(30), 1, False, "", 64),))
    orders = [epoch_batches(pictures, [1] * 30, batch=4, seed=1, epoch=epoch) for epoch in (0, 1, 0)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_what_is_drawn_depends_on_seed_epoch_and_position() -> None:
    drawn = {
        counters: torch.randn(4, generator=draws(*counters)).tolist()
        for counters in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0))
    }
    assert len({tuple(values) for values in drawn.values()}) == 4
    assert torch.randn(4, generator=draws(1, 0, 1)).tolist() == drawn[1, 0, 1]


def test_a_picture_without_caption_and_class_words_is_named() -> None:
    entry = manifest(1).entries[0].model_copy(update={"caption": None})
    with pytest.raises(CaptionError, match=r"p0\.png"):
        pictures_of((TrainingSet(Manifest(entries=(entry,)), 1, False, "", 64),))


def test_a_picture_without_caption_is_trained_with_the_class_words() -> None:
    entry = manifest(1).entries[0].model_copy(update={"caption": None})
    (picture,) = pictures_of((TrainingSet(Manifest(entries=(entry,)), 1, False, "hcstyle 1girl", 64),))
    assert picture.tags == ("hcstyle 1girl",)


def test_regularization_pictures_alone_are_nothing_to_train_on() -> None:
    with pytest.raises(DatasetError, match="no pictures to train on"):
        pictures_of((TrainingSet(manifest(3), 1, True, "", 64),))
