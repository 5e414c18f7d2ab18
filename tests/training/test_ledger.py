"""Figures that are read later are the same figures."""

from collections.abc import Sequence

import pytest
import torch
from short_training import trained

from lora_core.errors import TrainingError
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import loop
from lora_core.training.batch import Batch
from lora_core.training.loop import Launched
from lora_core.training.overlap import Done, MetricsQueue
from lora_core.training.plan import plan
from lora_core.training.samples import Sample, TrainingSet


def launched(number: int) -> Launched:
    figures = torch.tensor([number / 7, number + 0.5, 1.0])
    return Launched(number, figures, rates=(1e-4, 0.0), overflows=False)


def numbers(steps: Sequence[Done]) -> list[int]:
    return [step.number for step in steps]


def test_without_lag_every_step_comes_back_at_once() -> None:
    ledger = MetricsQueue(lags=False)
    for number in range(5):
        assert numbers(ledger.add(launched(number), ())) == [number]
    assert len(ledger) == 0
    assert ledger.flush() == []


def test_with_lag_all_steps_come_back_in_order_with_their_own_figures_and_samples() -> None:
    ledger, back = MetricsQueue(lags=True), list[Done]()
    for number in range(200):
        back += ledger.add(launched(number), (Sample(number, number),))
        assert len(back) + len(ledger) == number + 1
    assert len(ledger) > 0, "nothing was read while later steps ran"
    back += ledger.flush()
    assert numbers(back) == list(range(200))
    for step in back:
        assert step.figures == tuple(launched(step.number).figures.tolist())
        assert step.samples == (Sample(step.number, step.number),)
    assert len(ledger) == 0


def test_windows_hold_a_bounded_number_of_steps() -> None:
    ledger, most = MetricsQueue(lags=True), 0
    for number in range(500):
        ledger.add(launched(number), ())
        most = max(most, len(ledger))
    assert most <= 2 * 64


@pytest.fixture
def lagging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop as for a GPU: no step is waited for."""
    monkeypatch.setattr(loop, "is_synchronous", lambda device: False)


@pytest.mark.usefixtures("lagging")
def test_a_training_that_waits_for_no_step_makes_the_same_bytes(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lagged = trained(store, base, drawn_sets, options, "lagged")
    monkeypatch.undo()
    assert lagged == trained(store, base, drawn_sets, options, "plain")


@pytest.mark.usefixtures("lagging")
def test_a_loss_that_is_not_finite_is_named_exactly_though_it_is_seen_later(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = plan(drawn_sets, options).steps_per_epoch
    whole = loop.Stepper.loss
    batches: list[Batch] = []

    def breaking(self: loop.Stepper, batch: Batch) -> torch.Tensor:
        batches.append(batch)
        return whole(self, batch) * (float("nan") if len(batches) == first + 2 else 1)

    saved = dict[int, bytes]()

    def state() -> bytes:
        return next(store.root.glob("work/*/state.safetensors")).read_bytes()

    def listen(done: int, total: int, note: str = "") -> None:
        if note.startswith("loss "):
            saved[done] = state()

    monkeypatch.setattr(loop.Stepper, "loss", breaking)
    with pytest.raises(TrainingError, match=rf"^step {first + 2} of .*loss nan.*pictures in the batch: (.*\.png)"):
        trained(store, base, drawn_sets, options, "broken", listen)
    assert len(batches) > first + 2, "the step was waited for"
    assert max(saved) == first + 1
    assert state() == saved[first + 1], "a state behind the broken step was saved"
    monkeypatch.undo()
    resumed = trained(store, base, drawn_sets, options, "broken")
    assert resumed == trained(store, base, drawn_sets, options, "undisturbed")
