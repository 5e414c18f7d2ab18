"""Several processes that train one LoRA: what one process makes, and nobody left behind."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from plain_step import drawn_batch

from lora_core.errors import TrainingError
from lora_core.lora.file import read_lora
from lora_core.progress import Progress, silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.training.group import Group
from lora_core.training.plan import plan
from lora_core.training.run import train
from lora_core.training.samples import TrainingSet

pytestmark = [pytest.mark.slow, pytest.mark.long]

Run = Callable[..., LoraRef]


@pytest.fixture
def few(drawn_sets: tuple[TrainingSet, ...]) -> tuple[TrainingSet, ...]:
    return (replace(drawn_sets[0], repeats=1), *drawn_sets[1:])


@pytest.fixture
def run(store: Store, base: CheckpointRef, few: tuple[TrainingSet, ...]) -> Run:
    def run(word: str, options: Training, processes: int, progress: Progress = silent) -> LoraRef:
        return train(
            store, base, few, options, name="hero", clip_skip=1, device="cpu",
            key=hashlib.sha256(word.encode()).hexdigest(), trigger="hc_hero", progress=progress, processes=processes,
        )  # fmt: skip

    return run


@pytest.fixture
def uneven(options: Training, few: tuple[TrainingSet, ...]) -> Training:
    """Seven pictures a step: shares of four and three, and last steps of which the second process has nothing."""
    chosen = options.model_copy(
        update={"batch": 7, "epochs": 1, "network": options.network.model_copy(update={"module_dropout": 0.2})}
    )
    assert any(bucket.samples % 7 == 1 for bucket in plan(few, chosen).buckets)
    return chosen


def test_two_processes_make_what_one_makes_and_go_on_to_the_same_bytes(
    run: Run, store: Store, uneven: Training
) -> None:
    def stop(done: int, total: int, note: str = "") -> None:
        if done == 2 and note.startswith("loss "):
            raise KeyboardInterrupt

    often = uneven.model_copy(update={"checkpoint_minutes": 1e-9})
    refs = [run(f"{count}", often, count) for count in (1, 2)]
    with pytest.raises(KeyboardInterrupt):
        run("stopped", often, 2, stop)
    assert _no_trainers()
    assert run("stopped", often, 2) == refs[1]

    one, two = (read_lora(store.tree(ref.sha256)["hero.safetensors"]) for ref in refs)
    assert one.modules.keys() == two.modules.keys()
    for name, module in one.modules.items():
        torch.testing.assert_close(two.modules[name].up, module.up, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(two.modules[name].down, module.down, rtol=1e-3, atol=1e-5)


def test_the_end_of_one_process_is_told_and_ends_all(run: Run, uneven: Training) -> None:
    def kill(done: int, total: int, note: str = "") -> None:
        if done == 2 and note.startswith("loss "):
            for child in _trainers():
                child.kill()

    with pytest.raises(
        TrainingError, match=r"one of the 2 processes .* \(it was killed\); the last good state is kept"
    ):
        run("parted", uneven, 2, kill)
    assert _no_trainers()


def test_a_killed_first_process_leaves_none_behind(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import torch, time, sys\n"
        "from lora_core.training.group import Group, process_group\n"
        "def follow(group: Group) -> None:\n"
        "    while True: group.add_up([], torch.zeros(()))\n"
        "if __name__ == '__main__':\n"
        "    with process_group(2, follow, torch.device('cpu')) as group:\n"
        "        group.add_up([], torch.zeros(()))\n"
        "        print('begun', flush=True)\n"
        "        while True: group.add_up([], torch.zeros(())); time.sleep(0.1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        everyone = psutil.Process(parent.pid).children(recursive=True)
        assert everyone
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(everyone, timeout=30)
    assert not alive


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_the_batch_in_order(size: int) -> None:
    batch = drawn_batch()
    shares = [Group(rank, size).share(batch) for rank in range(size)]
    assert [caption for share in shares for caption in share.captions] == list(batch.captions)
    assert torch.equal(torch.cat([share.noise for share in shares]), batch.noise)


def _trainers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]


def _no_trainers() -> bool:
    return not [each for each in _trainers() if each.status() != psutil.STATUS_ZOMBIE]
