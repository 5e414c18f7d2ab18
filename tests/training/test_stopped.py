"""A training that is asked to end: at the very step its state is saved, and the next run ends with the same bytes."""

import hashlib

import pytest

from lora_core.progress import Progress, Stopped, silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.training.epochs import STATE_FILE
from lora_core.training.plan import plan
from lora_core.training.resume import read_position
from lora_core.training.run import train
from lora_core.training.samples import TrainingSet

_KEY = hashlib.sha256(b"stopped").hexdigest()


def _until(last: int) -> Progress:
    def listen(done: int, total: int, note: str = "") -> None:
        if note.startswith("loss ") and done >= last:
            raise Stopped

    return listen


@pytest.mark.parametrize("where", ["in an epoch", "at an epoch's last step", "at the last step of all"])
def test_a_training_that_is_stopped_saves_that_step_and_resumes_to_the_same_bytes(
    where: str, store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    seldom = options.model_copy(update={"epochs": 2, "checkpoint_minutes": 600.0})
    layout = plan(drawn_sets, seldom)
    last = {
        "in an epoch": 2,
        "at an epoch's last step": layout.epoch_steps[0],
        "at the last step of all": layout.total_steps,
    }[where]

    def run(key: str, progress: Progress) -> LoraRef:
        return train(
            store, base, drawn_sets, seldom, name="hero", clip_skip=1, device="cpu", key=key, trigger="",
            progress=progress,
        )  # fmt: skip

    with pytest.raises(Stopped) as stopped:
        run(_KEY, _until(last))
    assert stopped.value.kept == f"step {last} of {layout.total_steps}"
    position = read_position(store.work_folder(_KEY) / STATE_FILE)
    assert position is not None
    assert position.step == last
    assert run(_KEY, silent) == run(hashlib.sha256(b"undisturbed").hexdigest(), silent)
