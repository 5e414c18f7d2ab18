"""A training of the tiny models, as every test of the loop runs it."""

import hashlib

from lora_core.progress import Progress, silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.training.run import train
from lora_core.training.samples import TrainingSet


def key_of(word: str) -> str:
    """A key such as a step has."""
    return hashlib.sha256(word.encode()).hexdigest()


def trained(
    store: Store,
    base: CheckpointRef,
    sets: tuple[TrainingSet, ...],
    options: Training,
    word: str = "a training",
    progress: Progress = silent,
) -> LoraRef:
    """One word is one training: a second call goes on with it."""
    return train(
        store, base, sets, options, name="hero", clip_skip=1, device="cpu", trigger="hc_hero", progress=progress,
        key=key_of(word),
    )  # fmt: skip
