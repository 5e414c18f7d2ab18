"""A few steps on noise tell how long a training will take; nothing of them is kept but the pace."""

import pytest

from lora_core.errors import TrainingError
from lora_core.pace import PROBE_STEPS, expected_seconds
from lora_core.recipe import Process, Speed, Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training.plan import plan, training_work, unloaded
from lora_core.training.probe import probe_training
from lora_core.training.samples import TrainingSet


def probe(store: Store, base: CheckpointRef, options: Training) -> list[int]:
    steps: list[int] = []
    probe_training(
        store, base, options, clip_skip=1, device="cpu", process=Process(), processes=1, speed=Speed(),
        progress=lambda done, total, note="": steps.append(done),
    )  # fmt: skip
    return steps


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_probe_measures_the_very_kind_of_work_that_the_training_will_be(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training, accumulation: int
) -> None:
    options = options.model_copy(update={"accumulation": accumulation, "epochs": 3})
    components, device = unloaded(store.tree(base.sha256), "cpu", None)
    work = training_work(components, options, device, 1, plan(drawn_sets, options))
    assert expected_seconds(store, work) is None
    assert probe(store, base, options)[-1] == PROBE_STEPS + 1
    expected = expected_seconds(store, work)
    assert expected is not None
    assert expected > 0
    assert not list((store.root / "work").iterdir())


def test_a_probe_of_what_cannot_be_trained_says_why_and_leaves_nothing(
    store: Store, base: CheckpointRef, options: Training
) -> None:
    with pytest.raises(TrainingError, match="finite"):
        probe(store, base, options.model_copy(update={"unet_lr": 1e30}))
    assert not list((store.root / "work").iterdir())
