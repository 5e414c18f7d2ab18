"""Train a few steps on noise, to know how fast this machine is before a real training starts."""

import shutil
from io import BytesIO

import numpy as np
from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.pace import PROBE_STEPS
from lora_core.progress import Progress, Stopped
from lora_core.recipe import Process, Speed, Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.training.run import train
from lora_core.training.samples import TrainingSet

_WORDS = ("1girl", "solo", "standing", "smile")


class _Enough(Stopped):
    """The pace is known."""


def probe_training(
    store: Store,
    base: CheckpointRef,
    options: Training,
    *,
    clip_skip: int,
    device: str,
    process: Process,
    processes: int,
    speed: Speed,
    progress: Progress,
) -> None:
    """Train a few steps as the options say; the pace is kept (`lora_core.pace`), the LoRA is not.

    Raises:
        CheckpointError: the base cannot be loaded.
        TrainingError: memory does not hold it, or the optimizer is not installed.
        Stopped: `progress` asked for the end.
    """
    steps = PROBE_STEPS + 1
    whole = options.model_copy(
        update={"epochs": 1, "repeats": (steps + 1) * options.step_batch, "validation_share": 0, "masked_loss": False}
    )
    key = digest_of(canonical_json(["probe", base.sha256, whole.model_dump(mode="json")]))

    def listen(done: int, total: int, note: str = "") -> None:
        progress(min(done, steps), min(total, steps), note)
        if done >= steps:
            raise _Enough

    try:
        train(
            store, base, [_noise(store, whole)], whole, name="probe", clip_skip=clip_skip, device=device, key=key,
            trigger="", progress=listen, process=process, processes=processes, speed=speed,
        )  # fmt: skip
    except _Enough:
        pass
    finally:
        shutil.rmtree(store.work_folder(key))


def _noise(store: Store, options: Training) -> TrainingSet:
    """One picture of the training's size."""
    side = options.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := BytesIO(), "PNG")
    image = store.put_bytes(file.getvalue())
    entry = Entry(name="noise", source="noise.png", image=image, width=side, height=side, caption=_WORDS)
    return TrainingSet(
        Manifest(entries=(entry,)), repeats=options.repeats, regularization=False, class_tokens="", resolution_px=side
    )
