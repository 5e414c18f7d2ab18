"""What a person watches while a training runs, and the loss on pictures that are not trained."""

import csv
import dataclasses
import hashlib
import json
import threading
from pathlib import Path

import pytest
import torch
from small_disk import SmallDisk
from tensorboard_events import scalars

from lora_core.errors import StoreError
from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.training.curves import CSV_FILE, Curves, Figures
from lora_core.training.plan import plan
from lora_core.training.run import train
from lora_core.training.samples import TrainingSet, hold_out

KEY = hashlib.sha256(b"a training").hexdigest()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / CSV_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


def figures(step: int) -> Figures:
    return Figures(step, 1, 0.5, 0.25, 2.0, 3.0, 1e-4, 0.0, 7.5)


class Interrupted:
    """Ends a training behind a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if note.startswith("loss ") and done == self.step:
            raise KeyboardInterrupt


@pytest.fixture
def run(store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], tmp_path: Path):
    def run(options: Training, progress=silent, key: str = KEY, curves: Path | None = tmp_path / "curves") -> LoraRef:
        return train(
            store, base, drawn_sets, options, name="hero", clip_skip=1, device="cpu", key=key, trigger="hc_hero",
            progress=progress, curves=curves,
        )  # fmt: skip

    return run


def _add_steps(curves: Curves) -> None:
    for step in range(1, 2000):  # more than fit
        curves.add(figures(step))


def test_a_full_disk_is_told_at_once_and_no_step_waits_for_a_writer_that_has_died(small_disk: SmallDisk) -> None:
    threads = threading.active_count()
    curves = Curves(small_disk(64) / "curves", steps=0)
    with pytest.raises(StoreError, match="disk is full"):
        _add_steps(curves)
    assert threading.active_count() == threads
    with pytest.raises(StoreError, match="disk is full"):
        curves.close()


def test_every_step_is_a_row_and_a_point_through_an_interruption(
    run, options: Training, drawn_sets: tuple[TrainingSet, ...], tmp_path: Path
) -> None:
    options = options.model_copy(update={"warmup_steps": 2})
    epoch_steps = plan(drawn_sets, options).epoch_steps
    with pytest.raises(KeyboardInterrupt):
        run(options, Interrupted(epoch_steps[0] + 2))  # goes back to the state behind the first epoch
    run(options)
    found = rows(tmp_path / "curves")
    assert [int(row["step"]) for row in found] == list(range(1, sum(epoch_steps) + 1))
    assert [int(row["epoch"]) for row in found] == [
        epoch for epoch, steps in enumerate(epoch_steps, 1) for _ in range(steps)
    ]
    assert [float(row["unet_lr"]) for row in found[:4]] == [0, 5e-4, 1e-3, 1e-3]
    assert float(found[3]["text_encoder_lr"]) == pytest.approx(1e-4)
    assert all(float(row["samples_per_second"]) > 0 for row in found)
    board = scalars(tmp_path / "curves")
    assert {step: f"{value:.6g}" for step, value in board["loss"].items()} == {
        int(row["step"]): f"{torch.tensor(float(row['loss'])).item():.6g}" for row in found
    }


def test_norms_are_those_of_all_that_is_trained(run, options: Training, tmp_path: Path) -> None:
    """Rank-4 matrices start with up = 0: a step at rate 0 moves nothing, so the second row's norm is the first's."""
    run(options.model_copy(update={"warmup_steps": 1}))
    first, second, third = rows(tmp_path / "curves")[:3]
    assert float(first["gradient_norm"]) > 0
    assert first["weight_norm"] == second["weight_norm"]
    assert third["weight_norm"] != second["weight_norm"]


def test_curves_change_nothing_of_the_result(run, options: Training) -> None:
    assert run(options) == run(options, key=KEY[::-1], curves=None)


def test_what_a_killed_run_wrote_beyond_its_state_goes_and_so_does_half_a_row(tmp_path: Path) -> None:
    curves = Curves(tmp_path, 0)
    for step in (1, 2, 3):
        curves.add(figures(step))
    curves.close()
    with (tmp_path / CSV_FILE).open("a") as file:
        file.write("4,1,0.")
    curves = Curves(tmp_path, 2)
    curves.add(dataclasses.replace(figures(3), loss=0.75))
    curves.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [("1", "0.5"), ("2", "0.5"), ("3", "0.75")]


def test_a_picture_is_held_out_with_its_small_copy_and_regularization_stays_whole(
    drawn_sets: tuple[TrainingSet, ...],
) -> None:
    large, small, style = drawn_sets
    named = tuple(
        entry.model_copy(update={"source": f"hero_{i}.png"}) for i, entry in enumerate(small.manifest.entries)
    )
    small = dataclasses.replace(small, manifest=small.manifest.model_copy(update={"entries": named}))
    rest, held = hold_out((large, small, style), 0.34, 7)
    (measured,) = held
    names = {entry.source for entry in measured.manifest.entries}
    assert len(names) == 1
    trained = {entry.source for each in rest[:2] for entry in each.manifest.entries}
    assert trained == {"hero_0.png", "hero_1.png", "hero_2.png"} - names
    assert rest[2] == style


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.34, 1), (0.5, 2)])
def test_at_least_one_picture_is_held_out_and_one_stays(
    drawn_sets: tuple[TrainingSet, ...], share: float, count: int
) -> None:
    rest, held = hold_out(drawn_sets[:1], share, 7)
    assert (len(held[0].manifest.entries), len(rest[0].manifest.entries)) == (count, 3 - count)
    one = dataclasses.replace(
        drawn_sets[0], manifest=rest[0].manifest.model_copy(update={"entries": rest[0].manifest.entries[:1]})
    )
    assert hold_out((one,), share, 7) == ((one,), ())


def test_the_plan_counts_what_is_held_out(drawn_sets: tuple[TrainingSet, ...], options: Training) -> None:
    layout = plan(drawn_sets, options.model_copy(update={"validation_share": 0.3}))
    assert layout.held_out == 2 == round(5 * 0.3)
    assert sum(each.pictures for each in layout.sets if not each.regularization) == 3


def test_validation_is_told_for_every_epoch_and_survives_an_interruption(
    run, store: Store, options: Training, tmp_path: Path
) -> None:
    options = options.model_copy(update={"validation_share": 0.2, "unet_lr": 3e-2, "epochs": 3})
    with pytest.raises(KeyboardInterrupt):
        run(options, Interrupted(4))
    resumed = run(options)
    undisturbed = run(options, key=KEY[::-1], curves=None)
    assert resumed == undisturbed
    told = json.loads(store.tree(resumed.sha256)["loss.json"].read_bytes())["validation"]
    assert [each["epoch"] for each in told] == [0, 1, 2, 3]
    assert len({each["loss"] for each in told}) == 4
    board = scalars(tmp_path / "curves")["validation_loss"]
    assert [f"{value:.5f}" for _, value in sorted(board.items())] == [f"{each['loss']:.5f}" for each in told]


def test_the_measured_loss_is_the_same_before_every_training_and_moves_with_the_lora(
    run, store: Store, options: Training
) -> None:
    def told(**more: object) -> list[float]:
        chosen = options.model_copy(update={"validation_share": 0.2, "epochs": 1, **more})
        key = "".join(sorted(KEY + str(more)))[:64]
        return [
            each["loss"]
            for each in json.loads(store.tree(run(chosen, key=key).sha256)["loss.json"].read_bytes())["validation"]
        ]

    slow, fast = told(unet_lr=1e-6), told(unet_lr=1e-2)
    assert slow[0] == fast[0]
    assert abs(fast[1] - fast[0]) > 100 * abs(slow[1] - slow[0])
