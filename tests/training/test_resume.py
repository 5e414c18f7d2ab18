import dataclasses
import hashlib
import json
import os
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


def run_killed(
    store: Store,
    base: CheckpointRef,
    sets: tuple[TrainingSet, ...],
    options: Training,
    kills: list[tuple[str, float]],
    name: str,
) -> tuple[str, list[str]]:
    """The digest of the result, and how each child ended."""
    job = {
        "store": str(store.root),
        "base": base.sha256,
        "sets": [{**dataclasses.asdict(each), "manifest": each.manifest.model_dump(mode="json")} for each in sets],
        "options": options.model_dump(mode="json"),
        "clip_skip": 2,
        "key": key(name),
        "kills": kills,
    }
    path = store.root / f"{name}.json"
    path.write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *ends, digest = done.stdout.split("\n")[:-1]
    return digest, ends


def test_a_run_killed_again_and_again_ends_in_the_same_bytes(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    saving = options.model_copy(
        update={"checkpoint_minutes": 1e-9, "shuffle_caption": True, "caption_dropout": 0.3, "warmup_steps": 5}
    )
    steps = plan(drawn_sets, saving).steps_per_epoch
    kills = [
        ("rename", 1),  # latents written, not renamed
        ("rename", 3),  # the state behind the first step
        ("step", 2),
        ("rename", steps + 1),  # around the end of the first epoch: its last states, its file
        ("rename", 4),
        ("step", steps),
        ("step", 1),
        ("seconds", 0.5),  # anywhere: loading, training or writing
    ]
    found, ends = run_killed(store, base, drawn_sets, saving, kills, "killed")
    assert [each.rpartition(" ")[2] for each in ends if not each.startswith("seconds")] == ["-9"] * 7
    undisturbed, _ = run_killed(store, base, drawn_sets, saving, [], "undisturbed")
    assert found == undisturbed


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
