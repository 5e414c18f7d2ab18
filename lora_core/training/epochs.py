"""From where a training stands to its last epoch's file, keeping its state on the way."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from lora_core.errors import TrainingError
from lora_core.lora.file import write_lora
from lora_core.lora.inject import LoraLayer
from lora_core.lora.module import LoraModule
from lora_core.progress import Progress, Stopped
from lora_core.store.digests import canonical_json
from lora_core.store.files import write_atomically
from lora_core.training.batch import Batch, Validation, draw_batch
from lora_core.training.curves import AVERAGED_STEPS, Curves, Figures
from lora_core.training.group import Group
from lora_core.training.loop import Outcome, Stepper
from lora_core.training.metadata import Metadata, lora_metadata
from lora_core.training.overlap import Done, MetricsQueue, prefetched
from lora_core.training.plan import Plan, steps_by_shape
from lora_core.training.resume import Position, State
from lora_core.training.samples import Sample, epoch_batches, epoch_repeats
from lora_core.training.word import write_word

STATE_FILE = "state.safetensors"
LOSS_FILE = "loss.json"

_LOSS_POINTS = 400
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def epoch_file(name: str, epoch: int, epochs: int) -> str:
    """The file of an epoch counted from 0, named as sd-scripts does: the last one has no number."""
    return f"{name}.safetensors" if epoch + 1 == epochs else f"{name}-{epoch + 1:06d}.safetensors"


@dataclass(frozen=True)
class TrainerParts:
    """What trains: the models' step, what it moves, and what it learns from.

    Attributes:
        stepper: runs steps.
        layers: are moved.
        optimizer: moves them.
        latents: one a picture, (4, h, w).
        masks: one a picture, (1, h, w); none: every place counts.
        validation: measures what is held out, if anything is.
    """

    stepper: Stepper
    layers: Sequence[LoraLayer]
    optimizer: torch.optim.Optimizer
    latents: Sequence[torch.Tensor]
    masks: Sequence[torch.Tensor] = ()
    validation: Validation | None = None

    @property
    def state(self) -> State:
        """All that a run consists of besides where it stands."""
        average = self.stepper.average
        return State(self.layers, self.optimizer, () if average is None else average.values)


class Saved(Protocol):
    """Who wants to see every epoch that is saved."""

    def __call__(self, epoch: int, path: Path, progress: Progress) -> None:
        """Look at an epoch, counted from 1, in its file; and call the listener now and then."""


class Run:
    """One training under way."""

    saved: Saved | None = None
    """Who wants to see its epochs."""

    def __init__(self, folder: Path, metadata: Metadata, parts: TrainerParts, numerics: dict[str, str]) -> None:
        self._folder, self._metadata, self._parts, self._numerics = folder, metadata, parts, numerics
        self._queue = MetricsQueue(lags=not parts.stepper.checks_before_step)
        self._reported = 0.0
        self._losses: list[float] = []
        self._validation: list[float] = []
        self._curves: Curves | None = None
        self._leads = True
        self._stopped: Stopped | None = None
        self._epoch, self._batch = 0, 0

    def resume(self, position: Position) -> None:
        """Go back to a saved state.

        Raises:
            TrainingError: the state file is damaged.
        """
        self._parts.state.restore(self._folder / STATE_FILE)
        if position.scaler:
            self._parts.stepper.scaler.load_state_dict(dict(position.scaler))
        self._losses, self._validation = list(position.losses), list(position.validation)
        self._epoch, self._batch = position.epoch, position.batch

    @property
    def step(self) -> int:
        """Steps done so far."""
        return len(self._losses)

    def finish(self, progress: Progress, curves: Curves | None = None, group: Group | None = None) -> None:
        """Train to the end.

        Args:
            progress: told about every step.
            curves: told more about it.
            group: the processes that train this run together; all but the first write and measure nothing.

        Raises:
            TrainingError: the loss is not finite; the state saved last stays.
            Stopped: `progress` asked for the end; the state was saved at the last step that is over.
        """
        metadata, self._curves = self._metadata, curves
        self._parts.stepper.group, self._leads = group, group is None or group.rank == 0
        self._parts.stepper.expected = steps_by_shape(metadata.pictures, metadata.options, self._epoch)
        self._validate(epochs=0)
        self._save()
        for epoch in range(self._epoch):  # of one that was killed before it was shown
            self._show(epoch, progress)
        for epoch, repeats in enumerate(epoch_repeats(metadata.pictures, metadata.options.epochs)):
            if epoch == self._epoch:
                self._finish_epoch(repeats, progress)
                self._end_if_stopped()
                self._validate(epochs=epoch + 1)
                self._write_epoch()
                self._epoch, self._batch = epoch + 1, 0
                self._save()
                self._show(epoch, progress)

    def _finish_epoch(self, repeats: Sequence[int], progress: Progress) -> None:
        options, stepper = self._metadata.options, self._parts.stepper
        batches = epoch_batches(
            self._metadata.pictures, repeats, batch=options.step_batch, seed=options.seed, epoch=self._epoch
        )[self._batch :]
        saved = self._reported = time.monotonic()
        for samples, batch in zip(batches, prefetched(map(self._drawn, batches), stepper.device), strict=True):
            number = len(self._losses) + len(self._queue)
            with self._naming(number, samples):
                launched = stepper.launch(batch, number)
            self._report(self._queue.add(launched, samples), progress)
            if self._stopped:
                break
            if time.monotonic() - saved >= options.checkpoint_minutes * 60:
                self._report(self._queue.flush(), progress)
                self._save()
                saved = time.monotonic()
        self._report(self._queue.flush(), progress)

    def _end_if_stopped(self) -> None:
        """Save the state and end, if the last report was answered with that."""
        if self._stopped:
            self._save()
            self._stopped.kept = f"step {self.step} of {self._metadata.layout.total_steps}"
            raise self._stopped

    def _drawn(self, samples: Sequence[Sample]) -> Batch:
        metadata, parts = self._metadata, self._parts
        return draw_batch(samples, metadata.pictures, parts.latents, metadata.options, self._epoch, parts.masks)

    def _report(self, steps: Sequence[Done], progress: Progress) -> None:
        """Steps are over: count them and tell. Nothing is saved of a run before all its steps have been looked at."""
        now = time.monotonic()
        rate = sum(len(step.samples) for step in steps) / max(now - self._reported, 1e-9)
        for step in steps:
            with self._naming(step.number, step.samples):
                outcome = step.launched.outcome(*step.figures)
            self._losses.append(outcome.loss)
            self._batch += 1
            self._draw_curves(outcome, rate)
            try:
                progress(len(self._losses), self._metadata.layout.total_steps, f"loss {_average(self._losses):.4f}")
            except Stopped as stopped:  # steps that a GPU has begun are counted first
                self._stopped = stopped
        if steps:
            self._reported = time.monotonic()

    @contextlib.contextmanager
    def _naming(self, number: int, samples: Sequence[Sample]) -> Iterator[None]:
        """Say which step and which pictures gave a loss that is not finite."""
        try:
            yield
        except FloatingPointError as error:
            sources = ", ".join(self._metadata.pictures[sample.picture].entry.source for sample in samples)
            raise TrainingError(
                f"step {number + 1} of {self._metadata.layout.total_steps}: {error}; pictures in the batch: {sources}; "
                f"lower the learning rates. The last good state is kept in {self._folder}"
            ) from error

    def _validate(self, epochs: int) -> None:
        """Measure what is held out, behind so many epochs; a resumed run may have done it."""
        parts = self._parts
        if parts.validation is None or not self._leads or len(self._validation) > epochs:
            return
        self._validation.append(parts.validation.loss())
        if self._curves is not None:
            self._curves.add_validation(len(self._losses), self._validation[-1])

    def _draw_curves(self, outcome: Outcome, samples_per_second: float) -> None:
        if self._curves is not None:
            self._curves.add(
                Figures(
                    step=len(self._losses),
                    epoch=self._epoch + 1,
                    loss=outcome.loss,
                    average_loss=_average(self._losses),
                    gradient_norm=outcome.gradient_norm,
                    weight_norm=outcome.weight_norm,
                    unet_lr=outcome.rates[0],
                    text_encoder_lr=outcome.rates[1],
                    samples_per_second=samples_per_second,
                )
            )

    def _save(self) -> None:
        if not self._leads:
            return
        scaler = {key: float(value) for key, value in self._parts.stepper.scaler.state_dict().items()}
        losses, validation = tuple(self._losses), tuple(self._validation)
        position = Position(self._epoch, self._batch, losses, self._numerics, scaler, validation)
        self._parts.state.save(self._folder / STATE_FILE, position)

    def _write_epoch(self) -> None:
        """The epoch's file goes before the state: a run killed between the two writes the same file again."""
        if not self._leads:
            return
        options = self._metadata.options
        path = self._folder / epoch_file(self._metadata.name, self._epoch, options.epochs)
        dtype, steps = _DTYPES[options.save_precision], len(self._losses)
        metadata = lora_metadata(self._metadata, epoch=self._epoch + 1, steps=steps)
        if options.trains_word:
            write_word(path, self._values(), dtype, metadata)
        else:
            write_lora(path, self._modules(), dtype=dtype, metadata=metadata)
        if self._epoch + 1 == options.epochs:
            table = _loss_table(self._losses, self._metadata.layout) | _validation_table(self._validation)
            write_atomically(self._folder / LOSS_FILE, canonical_json(table))

    def _show(self, epoch: int, progress: Progress) -> None:
        """Let whoever wants to see an epoch draw it; all of it is saved by then."""
        if self.saved is None or not self._leads:
            return
        steps, every = self.step, self._metadata.layout.total_steps

        def listen(done: int, total: int, note: str = "") -> None:
            progress(steps, every, f"loss {_average(self._losses):.4f}, drawing epoch {epoch + 1}")

        try:
            self.saved(
                epoch + 1, self._folder / epoch_file(self._metadata.name, epoch, self._metadata.options.epochs), listen
            )
        except Stopped as stopped:
            stopped.kept = f"step {steps} of {every}"
            raise

    def _modules(self) -> dict[str, LoraModule]:
        """The layers as they go into a file."""
        values = self._values()
        return {layer.name: layer.in_file(values[layer.name]) for layer in self._parts.layers}

    def _values(self) -> dict[str, dict[str, torch.Tensor]]:
        """What is trained, by layer: the moving average's values if there is one."""
        average = self._parts.stepper.average
        values = iter(self._parts.stepper.matrices if average is None else average.values)
        return {layer.name: {key: next(values) for key in layer.matrices} for layer in self._parts.layers}


def _average(losses: Sequence[float]) -> float:
    """Mean of the last steps' losses; a single one says little, for it depends on the timestep drawn."""
    last = losses[-AVERAGED_STEPS:]
    return sum(last) / len(last)


def _loss_table(losses: Sequence[float], layout: Plan) -> dict[str, object]:
    """The moving average at some hundred points, for a curve; steps and epochs are counted from 1."""
    every = max(1, len(losses) // _LOSS_POINTS)
    ends = [sum(layout.epoch_steps[: epoch + 1]) for epoch in range(len(layout.epoch_steps))]
    return {
        "averaged_steps": AVERAGED_STEPS,
        "points": [
            {
                "step": step,
                "epoch": next(epoch for epoch, end in enumerate(ends, 1) if step <= end),
                "loss": _average(losses[:step]),
            }
            for step in range(every, len(losses) + 1, every)
        ],
    }


def _validation_table(losses: Sequence[float]) -> dict[str, object]:
    """Nothing where nothing was held out; epoch 0 is before the first step."""
    return {"validation": [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses)]} if losses else {}
