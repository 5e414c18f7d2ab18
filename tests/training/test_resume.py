import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import epochs
from lora_core.training.run import TrainingSet, plan, train

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("killed_run.py")


def key(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


class Job(NamedTuple):
    """One training: its name, its options, what is trained on, and when it is killed."""

    name: str
    options: Training
    sets: tuple[TrainingSet, ...]
    kills: list[tuple[str, float]]


class End(NamedTuple):
    """The digest of the result, and how each child ended that was killed before."""

    digest: str
    children: list[str]


def run_killed(store: Store, base: CheckpointRef, jobs: list[Job]) -> dict[str, End]:
    path = store.root / "jobs.json"
    path.write_text(json.dumps([_as_json(store, base, job) for job in jobs]))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = iter(done.stdout.splitlines())
    results = {}
    for job in jobs:
        ends = [next(lines).rpartition(" ")[2] for _ in job.kills]
        results[job.name] = End(next(lines), ends)
    return results


def _as_json(store: Store, base: CheckpointRef, job: Job) -> dict[str, Any]:
    sets = [{**dataclasses.asdict(each), "manifest": each.manifest.model_dump(mode="json")} for each in job.sets]
    return {
        "store": str(store.root), "base": base.sha256, "sets": sets, "clip_skip": 2, "kills": job.kills,
        "options": job.options.model_dump(mode="json"), "key": key(job.name),
    }  # fmt: skip


SETS = {
    "captions": {"shuffle_caption": True, "caption_dropout": 0.3, "warmup_steps": 5},
    "lion": {
        "optimizer": "lion",
        "scheduler": "cosine",
        "batch": 1,
        "accumulation": 2,
        "ema_decay": 0.9,
        "network": {"dropout": 0.2, "rank_dropout": 0.2, "module_dropout": 0.1, "max_norm": 0.05, "conv_rank": 2},
        "noise": {"offset": 0.1, "input_perturbation": 0.1},
    },
    "prodigy": {
        "optimizer": "prodigy",
        "unet_lr": 1.0,
        "text_encoder_lr": 1.0,
        "prior_preservation": "teacher",
        "network": {"kind": "dora", "dropout": 0.2},
        "noise": {"multires_iterations": 4},
    },
    "adafactor": {
        "optimizer": "adafactor",
        "scheduler": "cosine_with_restarts",
        "restarts": 2,
        "gradient_checkpointing": True,
        "network": {"kind": "loha", "rank_dropout": 0.2, "module_dropout": 0.2},
    },
}
"""Options of every kind that keeps something between steps or draws numbers."""


def saving(options: Training, **more: object) -> Training:
    """The options with a state behind every step."""
    return Training.model_validate({**options.model_dump(), "checkpoint_minutes": 1e-9, **more})


def many_kills(sets: tuple[TrainingSet, ...], options: Training) -> list[tuple[str, float]]:
    latents = 2 * 7  # of every picture an object and its record
    kills: list[tuple[str, float]] = [
        ("rename", 3),  # a latent known, not renamed
        ("rename", latents),  # the state before the first step
        ("rename", plan(sets, options).steps_per_epoch + 1),  # the end of the first epoch: its last states, its file
        ("step", 2),
    ]
    dice = random.Random(20)
    while len(kills) < 19:
        # A child comes a step further, or dies over a state that is written and not renamed.
        kills.append(dice.choice((("step", 1), ("rename", 1), ("rename", 2))))
    return [*kills, ("seconds", 0.5)]  # anywhere: loading, training or writing


OF_EVERY_KIND = ("lion", "prodigy", "adafactor")


@pytest.fixture(scope="module")
def ends(new_base: Any, new_sets: Any, usual: Training, tmp_path_factory: pytest.TempPathFactory) -> dict[str, End]:
    """All trainings by one process that has imported everything: that takes longer than most of them."""
    store = Store(tmp_path_factory.mktemp("killed") / "store")
    sets = new_sets(store)
    captions = saving(usual, **SETS["captions"])
    jobs = [Job("many", captions, sets, many_kills(sets, captions)), Job("many undisturbed", captions, sets, [])]
    few = (dataclasses.replace(sets[0], repeats=1), sets[2])
    for name in OF_EVERY_KIND:
        chosen = saving(usual, epochs=2, **SETS[name])
        assert plan(few, chosen).epoch_steps == (3, 3)
        jobs += [Job(name, chosen, few, [("step", 2), ("step", 3)]), Job(f"{name} undisturbed", chosen, few, [])]
    return run_killed(store, new_base(store), jobs)


def test_a_run_killed_twenty_times_ends_in_the_same_bytes(ends: dict[str, End]) -> None:
    assert ends["many"].children[:-1] == ["-9"] * 19
    assert ends["many"].digest == ends["many undisturbed"].digest


@pytest.mark.parametrize("name", OF_EVERY_KIND)
def test_every_option_that_keeps_or_draws_something_survives_two_kills(ends: dict[str, End], name: str) -> None:
    """Six steps; killed behind the second and, an epoch later, behind the fifth."""
    assert ends[name].children == ["-9", "-9"]
    assert ends[name].digest == ends[f"{name} undisturbed"].digest
    assert len({end.digest for end in ends.values()}) == 1 + len(OF_EVERY_KIND)


def test_states_between_epochs_do_not_change_the_result(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    refs = [
        train(
            store,
            base,
            drawn_sets,
            options.model_copy(update={"checkpoint_minutes": minutes, "epochs": 2}),
            name="hero",
            clip_skip=1,
            device="cpu",
            key=key(str(minutes)),
            trigger="",
            progress=silent,
        )
        for minutes in (1e-9, 600.0)
    ]
    assert refs[0] == refs[1]


def test_a_resumed_run_counts_on(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[int] = []

    def until(last: int) -> None:
        def progress(done: int, total: int, note: str = "") -> None:
            if note.startswith("loss "):
                heard.append(done)
                if done == last:
                    raise KeyboardInterrupt

        train(
            store,
            base,
            drawn_sets,
            options,
            name="hero",
            clip_skip=1,
            device="cpu",
            key=key("counted"),
            trigger="",
            progress=progress,
        )

    figures = plan(drawn_sets, options)
    monkeypatch.setattr(epochs, "_LOSS_POINTS", 1)
    first = figures.steps_per_epoch
    for last in (first + 1, 2 * first + 1):
        with pytest.raises(KeyboardInterrupt):
            until(last)
    until(-1)
    assert heard == [*range(1, first + 2), *range(first + 1, 2 * first + 2), *range(2 * first + 1, 3 * first + 1)]
