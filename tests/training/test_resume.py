import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import epochs
from lora_core.training.run import TrainingSet, plan, train

SCRIPT = Path(__file__).with_name("killed_run.py")


def key(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


Job = tuple[str, Training, list[tuple[str, float]]]
"""Its name, its options, and when it is killed."""


def run_killed(
    store: Store, base: CheckpointRef, sets: tuple[TrainingSet, ...], jobs: list[Job]
) -> list[tuple[str, list[str]]]:
    """Of each job the digest of the result, and how each child ended."""
    common = {
        "store": str(store.root),
        "base": base.sha256,
        "sets": [{**dataclasses.asdict(each), "manifest": each.manifest.model_dump(mode="json")} for each in sets],
        "clip_skip": 2,
    }
    path = store.root / "jobs.json"
    path.write_text(
        json.dumps(
            [
                {**common, "options": options.model_dump(mode="json"), "key": key(name), "kills": kills}
                for name, options, kills in jobs
            ]
        )
    )
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
    results = []
    for _, _, kills in jobs:
        ends = [next(lines).rpartition(" ")[2] for _ in kills]
        results.append((next(lines), ends))
    return results


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


def test_a_run_killed_twenty_times_ends_in_the_same_bytes(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    captions = saving(options, **SETS["captions"])
    layout = plan(drawn_sets, captions)
    latents = 2 * 7  # of every picture an object and its record
    kills: list[tuple[str, float]] = [
        ("rename", 3),  # a latent known, not renamed
        ("rename", latents),  # the state before the first step
        ("rename", layout.steps_per_epoch + 1),  # around the end of the first epoch: its last states, its file
        ("step", 2),
    ]
    dice = random.Random(20)
    while len(kills) < 19:
        # A child comes a step further, or dies over a state that is written and not renamed.
        kills.append(dice.choice((("step", 1), ("rename", 1), ("rename", 2))))
    kills.append(("seconds", 0.5))  # anywhere: loading, training or writing
    killed, undisturbed = run_killed(
        store, base, drawn_sets, [("killed", captions, kills), ("undisturbed", captions, [])]
    )
    assert killed[1][:-1] == ["-9"] * 19
    assert killed[0] == undisturbed[0]


def test_every_option_that_keeps_or_draws_something_survives_two_kills(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    """Six steps each; killed behind the second and, an epoch later, behind the fifth."""
    few = (dataclasses.replace(drawn_sets[0], repeats=1), drawn_sets[2])
    jobs: list[Job] = []
    for name in ("lion", "prodigy", "adafactor"):
        chosen = saving(options, epochs=2, **SETS[name])
        assert plan(few, chosen).epoch_steps == (3, 3)
        jobs += [(name, chosen, [("step", 2), ("step", 3)]), (f"{name} undisturbed", chosen, [])]
    results = run_killed(store, base, few, jobs)
    for killed, undisturbed in zip(results[::2], results[1::2], strict=True):
        assert killed[1] == ["-9", "-9"]
        assert killed[0] == undisturbed[0]
    assert len({digest for digest, _ in results}) == 3


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
