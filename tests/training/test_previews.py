"""Every epoch is shown as soon as it is saved, and the LoRA does not know of it."""

from pathlib import Path

import pytest

from lora_core.progress import Stopped, silent
from lora_core.recipe import Process, Sampling, Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling.epochs import sample_epochs
from lora_core.sampling.previews import Previews
from lora_core.sampling.sampler import SamplerConfig
from lora_core.sampling.samples import load_samples
from lora_core.store import Store
from lora_core.store.digests import digest_of
from lora_core.training.epochs import Saved
from lora_core.training.run import TrainingSet, train

_DRAWING = Sampling(
    prompts=("{trigger}, one", "two"), seeds=(1, 2), weights=(0.5, 1.0), steps=2, width=64, height=64, batch=2,
    while_training=3,
)  # fmt: skip
_CONFIG = SamplerConfig(1, Process(), "cpu")


def _trained(
    store: Store, base: CheckpointRef, sets: tuple[TrainingSet, ...], saved: Saved | None, progress=silent, word="a"
) -> LoraRef:
    options = Training(resolution=64, epochs=2, repeats=1, rank=2, alpha=1, batch=2, unet_lr=1e-3)
    return train(
        store, base, sets, options, name="momo", clip_skip=1, device="cpu", key=digest_of(word.encode()), trigger="t",
        progress=progress, saved=saved,
    )  # fmt: skip


def test_the_pictures_are_there_and_the_lora_is_the_same(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], tmp_path: Path
) -> None:
    previews = Previews(store, base, _DRAWING, _CONFIG, "t", tmp_path / "curves")
    lora = _trained(store, base, drawn_sets, previews.show)
    names = {path.name for path in (tmp_path / "curves" / "samples").iterdir()}
    assert names == {f"{of}-{n:02}.png" for of in ("base", "epoch-0001", "epoch-0002") for n in (1, 2, 3)}
    assert lora == _trained(store, base, drawn_sets, None, word="b")


def test_the_sample_step_finds_them_drawn(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    previews = Previews(store, base, _DRAWING, _CONFIG, "t", tmp_path / "curves")
    lora = _trained(store, base, drawn_sets, previews.show)
    whole = _DRAWING.model_copy(update={"weights": (1.0,)})
    monkeypatch.setattr("lora_core.sampling.sampler.generate", None)
    samples = load_samples(store, sample_epochs(store, base, lora, whole, _CONFIG, trigger="t"))
    assert samples.epochs == ("none", "1", "2")
    assert all(store.has(sample.image) for sample in samples.samples)


def test_whoever_stops_while_an_epoch_is_drawn_loses_nothing_and_sees_it_later(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], tmp_path: Path
) -> None:
    previews = Previews(store, base, _DRAWING, _CONFIG, "t", tmp_path / "curves")

    def stop(done: int, total: int, note: str = "") -> None:
        if "drawing epoch 1" in note:
            raise Stopped

    with pytest.raises(Stopped) as stopped:
        _trained(store, base, drawn_sets, previews.show, stop)
    assert stopped.value.kept.startswith("step ")
    assert not (tmp_path / "curves" / "samples" / "epoch-0001-01.png").exists()
    lora = _trained(store, base, drawn_sets, previews.show)
    assert (tmp_path / "curves" / "samples" / "epoch-0001-03.png").exists()
    assert lora == _trained(store, base, drawn_sets, None, word="b")


def test_an_epoch_that_cannot_be_drawn_ends_no_training(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nothing = CheckpointRef(sha256=store.put_tree({}))
    previews = Previews(store, nothing, _DRAWING, _CONFIG, "t", tmp_path / "curves")
    assert _trained(store, base, drawn_sets, previews.show) == _trained(store, base, drawn_sets, None, word="b")
    assert "epoch 2 is not shown" in caplog.text


def test_how_many_are_shown_is_part_of_no_key() -> None:
    assert "while_training" not in _DRAWING.model_dump()
    assert _DRAWING.model_dump() == _DRAWING.model_copy(update={"while_training": 0}).model_dump()
