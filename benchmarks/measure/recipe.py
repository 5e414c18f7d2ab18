"""The note's whole recipe on random weights and random pictures, and where its seconds go."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.device import pick_device
from lora_core.hub import find_model_files
from lora_core.lora.combine import Term
from lora_core.lora.merge import merge_file
from lora_core.recipe import Process, Sampling, Speed, Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling.epochs import epoch_files, sample_epochs
from lora_core.sampling.sampler import SamplerConfig
from lora_core.store import Store
from lora_core.training.run import TrainingSet, plan, train
from measure.models import written
from measure.runner import Emit, Settings

PICTURES = 38
"""Of the style and of the character, as in the note: 38 · 10 · 10 = 3,800 samples; 38 · (10 + 2) · 2 · 10 = 9,120."""
SAMPLES, COLUMNS = 3800 + 9120, 11
"""Of both trainings together; and of the grid: ten epochs, and one without the LoRA."""


class Size(NamedTuple):
    """How much of it is done; the note has 10 repeats, 2 of the small copies, and 10 epochs."""

    pictures: int = PICTURES
    repeats: int = 10
    small_repeats: int = 2
    epochs: int = 10
    side_px: int = 512
    small_px: int = 384
    batch: int = 1
    sampling: Sampling = Sampling(seeds=(1,), weights=(1.0,))


SHARE = Size(repeats=5, small_repeats=1, epochs=2)
"""A tenth of the samples, in batches of the same sizes."""
TOY = Size(2, 2, 1, 1, 64, 64, 1, Sampling(width=64, height=64, steps=2, prompts=("a",), seeds=(1,), weights=(1.0,)))


def recipe(settings: Settings, emit: Emit, batch: int, speed: Speed) -> None:
    """A tenth of the note's trainings and two of its ten epochs' samples; from these, what the whole takes.

    Loading, encoding and merging are measured whole. A sample's time does not depend on how many there are, so the
    trainings' seconds are multiplied by ten, and the grid's by its columns: `estimated_seconds` says so.
    """
    device = pick_device(settings.device)
    size = (TOY if settings.rehearse else SHARE)._replace(batch=batch)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    folder = settings.folder / f"recipe-{batch}-{speed.cuda_graphs}-{speed.compile}"
    seconds = whole_recipe(written(settings, "sd1", device), folder, size, device.type, speed)
    shutil.rmtree(folder, ignore_errors=True)
    training = sum(spent for part, spent in seconds.items() if part.startswith("train "))
    done = size.pictures * size.epochs * (size.repeats + 2 * (size.repeats + size.small_repeats))
    full = {
        "load, encode, merge": seconds["load"] + seconds["encode"] + seconds["merge"],
        "train": training * SAMPLES / done, "sample": seconds["sample"] * COLUMNS / (size.epochs + 1),
    }  # fmt: skip
    emit({
        "model": f"sd1 {size.side_px}", "batch": batch, "cuda_graphs": speed.cuda_graphs, "compile": speed.compile,
        "measured_seconds": seconds, "trained_samples": done, "estimated_seconds": full | {"all": sum(full.values())},
        "peak_gb": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
    })  # fmt: skip


class Clock:
    """Seconds by the name of what was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.perf_counter()

    def mark(self, name: str) -> None:
        """What was done since the last mark was this."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._at
        self._at = now


def whole_recipe(base_folder: Path, folder: Path, size: Size, device: str, speed: Speed) -> dict[str, float]:
    """Style LoRA, merge, character LoRA, samples of all its epochs; seconds of each part and of all.

    Loading and encoding are those of both trainings.
    """
    store, clock = Store(folder / "store"), Clock()
    base = CheckpointRef(sha256=store.put_tree(find_model_files(str(base_folder), ""), how="refer"))
    style, hero = (
        drawn_set(store, word, size.pictures, size.side_px, caption)
        for word, caption in (("style", None), ("hero", ("momo", "1girl", "smile")))
    )
    style_set = TrainingSet(style, size.repeats, False, "hcstyle 1girl", size.side_px)
    hero_sets = (
        TrainingSet(hero, size.repeats, False, "", size.side_px, "momo"),
        TrainingSet(hero, size.small_repeats, False, "", size.small_px, "momo"),
        TrainingSet(style, 1, True, "hcstyle 1girl", size.side_px),
    )
    clock.mark("draw pictures")
    one = _train(store, base, (style_set,), size, "style", 64, device, speed, clock)
    merged = _merge(store, base, one)
    clock.mark("merge")
    two = _train(store, merged, hero_sets, size, "momo", 32, device, speed, clock)
    sample_epochs(store, merged, two, size.sampling, SamplerConfig(1, Process(), device, speed), trigger="momo")
    clock.mark("sample")
    clock.seconds.pop("draw pictures")
    return clock.seconds | {"all": sum(clock.seconds.values())}


def _train(
    store: Store, base: CheckpointRef, sets: Sequence[TrainingSet], size: Size, name: str, rank: int, device: str,
    speed: Speed, clock: Clock,
) -> LoraRef:  # fmt: skip
    options = Training(resolution=size.side_px, batch=size.batch, epochs=size.epochs, rank=rank, alpha=rank / 2)
    samples = plan(sets, options).samples_per_epoch * size.epochs
    begun = False

    def listen(done: int, total: int, note: str = "") -> None:
        """The first picture to be encoded ends loading, the first step's loss ends encoding."""
        nonlocal begun
        if note.startswith("loss") and not begun:
            begun = True
            clock.mark("encode")
        elif note.startswith("encoding picture 1/"):
            clock.mark("load")

    made = train(
        store, base, sets, options, name=name, clip_skip=1, device=device, key=name.encode().hex().ljust(64, "0"),
        trigger="momo", progress=listen, speed=speed,
    )  # fmt: skip
    clock.mark(f"train {name}, {samples} samples")
    return made


def _merge(store: Store, base: CheckpointRef, lora: LoraRef) -> CheckpointRef:
    files, last = store.tree(base.sha256), epoch_files(store, lora)[-1]
    out = store.work_folder(b"merged".hex().ljust(64, "0")) / "merged"
    merge_file(files, [Term(store.path(last.sha256), 1.0, last.file)], out, lambda done, total, note="": None)
    return CheckpointRef(sha256=store.put_tree({file: out / file for file in files}, how="move"))


def drawn_set(store: Store, word: str, count: int, side_px: int, caption: tuple[str, ...] | None) -> Manifest:
    """Random pictures of twice the training's side, as preprocessing leaves them."""
    drawn, side = np.random.default_rng(len(word)), 2 * side_px
    entries = []
    for number in range(count):
        path = store.root / f"{word}-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = drawn.integers(0, 256, (side_px // 8, side_px // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side)).save(path, compress_level=1)
        name = f"{word}-{number}"
        image = store.take_file(path)
        entries.append(Entry(name=name, source=path.name, image=image, width=side, height=side, caption=caption))
    return Manifest(entries=tuple(entries))
