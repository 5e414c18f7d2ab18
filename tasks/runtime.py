"""Where a step runs, and how it says what it is doing: a bar in the terminal, a line in Prefect's log now and then."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import get_run_logger
from prefect.concurrency.sync import concurrency
from prefect.exceptions import MissingContextError
from pydantic import BaseModel, ConfigDict, Field
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lora_core.printable import duration, one_line
from lora_core.progress import Countdown, silent
from lora_core.progress import Progress as Listener
from lora_core.recipe import Recipe, Speed
from lora_core.refs import CheckpointRef
from lora_core.store import Store, open_store
from tasks.groups import Drawing, Shown
from tasks.shown_progress import shown_progress
from tasks.steps import ON_ACCELERATOR, Branch, Step
from tasks.stopping import stop_if_asked as stop_if_asked
from tasks.stopping import working
from tasks.terminal import Terminal, styled
from tasks.time_left import is_aside, run_clock

__all__ = ("ON_ACCELERATOR", "Step")

P = ParamSpec("P")
R = TypeVar("R")

LOG_EVERY_SECONDS = 30.0
GPU_LEASE_SECONDS = 60.0
_GPU_LOOKS_SECONDS = 10.0


class RunContext(BaseModel):
    """Where steps run. Changes nothing that comes out, so it is no part of any key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    device: str = "auto"
    force: tuple[Step, ...] = ()
    processes: int = Field(default=1, ge=1)
    speed: Speed = Speed()
    branch: Branch = ""
    shown: Shown | None = None
    """What a training draws of its epochs, for whoever watches."""

    @classmethod
    def of(cls, recipe: Recipe, force: tuple[str, ...] = ()) -> "RunContext":
        """Where a recipe's steps run.

        Raises:
            ValidationError: there is no step of such a name.
        """
        place = recipe.runtime
        return cls.model_validate(
            {
                "store": place.store,
                "device": place.device,
                "processes": place.processes,
                "speed": place.speed,
                "force": force,
            }
        )

    def on(self, branch: Branch) -> "RunContext":
        """The same for a step that is done for both sets, as the dry run tells them apart."""
        return self.model_copy(update={"branch": branch})

    def showing(self, base: CheckpointRef, trigger: str, drawing: Drawing) -> "RunContext":
        """The same for a training that shows its epochs, if the options of the drawing want to see them."""
        wanted = Shown(base, trigger, drawing) if drawing.options.while_training else None
        return self.model_copy(update={"shown": wanted})

    def open_store(self, step: Step | None = None) -> Store:
        """The store; for a step that is forced, one that remembers no records."""
        return open_store(self.store, forgetful=step in self.force)


def holding(function: Callable[P, R]) -> Callable[P, R]:
    """Let `store gc` know, before anything is put into the store, that this process works on it."""

    @wraps(function)
    def held(*args: P.args, **kwargs: P.kwargs) -> R:
        if at := next((value for value in (*args, *kwargs.values()) if isinstance(value, RunContext)), None):
            at.open_store().hold()
        return function(*args, **kwargs)

    return held


@contextlib.contextmanager
def accelerator(step: Step, at: RunContext) -> Iterator[None]:
    """Hold this host's GPU while the block runs, if the step uses it; wait for it before.

    The limit is Prefect's and has a lease: a run that is killed gives the GPU back after a minute or two. Where no
    limit of that name exists (no server, no `headcanon up`), nothing is held.

    Raises:
        Stopped: this process was asked to end.
    """
    stop_if_asked(step)
    if step not in ON_ACCELERATOR or at.device == "cpu":
        yield
        return
    from lora_core.device import pick_device

    if pick_device(at.device).type != "cuda":
        yield
        return
    with contextlib.ExitStack() as held:
        with working():
            _wait_for_gpu(step, held)
        yield


def _wait_for_gpu(step: Step, held: contextlib.ExitStack) -> None:
    """Hold the limit as soon as it is free; look now and then whether somebody asked for the end."""
    while True:
        stop_if_asked(step)
        limit = concurrency(
            gpu_limit(), lease_duration=GPU_LEASE_SECONDS, strict=False, timeout_seconds=_GPU_LOOKS_SECONDS
        )
        with contextlib.suppress(TimeoutError):
            held.enter_context(limit)
            return


def gpu_limit() -> str:
    """Name of the limit for this host's GPU: one for each set of visible GPUs, as workers that share a host have."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"gpu:{socket.gethostname()}" + (f":{visible.replace(',', '+')}" if visible else "")


console = Terminal(stderr=True)
_bars = Progress(
    TextColumn("  {task.description:<24}", markup=False),
    BarColumn(bar_width=28),
    MofNCompleteColumn(),
    TextColumn("{task.fields[note]}", markup=False),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
    TextColumn("{task.fields[rest]}", markup=False),
    console=console,
    transient=True,
)


@contextlib.contextmanager
def progress(step: str, unit: str, curves: Path | None = None) -> Iterator[Listener]:
    """A listener that shows a bar while the block runs, and what it came to when it ends.

    Args:
        step: what is being done, such as "train style".
        unit: what is counted, such as "step" or "image".
        curves: folder of a training's curves; the last note is then about all its steps: a mean loss.
    """
    if is_aside():
        yield silent
        return
    started = logged = time.monotonic()
    bar = _bars.add_task(f"{step} ({unit})", total=None, note="", rest="")
    if console.is_terminal:
        _bars.start()
    seen, countdown, clock = (0, 0, ""), Countdown(), run_clock()

    def listen(done: int, total: int, note: str = "") -> None:
        nonlocal logged, seen
        stop_if_asked(step)
        note = one_line(note)
        seen = (done, total, note)
        countdown.tell(done, total)
        show(done, total, note)
        _bars.update(bar, completed=done, total=total, note=note, rest=clock.short_text)
        now = time.monotonic()
        if now - logged >= LOG_EVERY_SECONDS:
            logged = now
            left = "; ".join(filter(None, (f"{duration(countdown.seconds_left)} left", clock.text)))
            _log(f"{step}: {unit} {done}/{total} {note} ({left})")

    try:
        with clock.timing(countdown), shown_progress(step, unit, curves) as show, working():
            yield listen
    finally:
        _bars.remove_task(bar)
        if not _bars.tasks and console.is_terminal:
            _bars.stop()
    done, total, note = seen
    spent = time.monotonic() - started
    counted = f"{done} {unit}{'' if done == 1 else 's'}, " if total else ""
    figure = f"{note}, " if note and curves else ""
    say(f"{step}: {counted}{figure}{spent:.1f} s", mark="✓")


def say(text: str, *, mark: str = "·") -> None:
    """One line for the person at the terminal, and for Prefect's log."""
    if is_aside():
        return
    text = one_line(text)
    console.print(styled((mark, "yellow" if mark == "!" else "green"), f" {text}"), highlight=False)
    _log(text)


def say_when_cached(task: Any, task_run: Any, state: Any) -> None:
    """Prefect hook: tell which steps were found finished."""
    if state.name == "Cached":
        console.print(styled(("=", "blue"), f" {task_run.name}: cached"), highlight=False)


def _log(text: str) -> None:
    with contextlib.suppress(MissingContextError):
        logger = get_run_logger()
        logger.log(logging.INFO, text)


class _ToPerson(logging.Handler):
    """What the library remarks and warns of, for the person at the terminal: Prefect keeps it to itself."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), mark="!" if record.levelno >= logging.WARNING else "·")


logging.getLogger("lora_core").addHandler(_ToPerson(logging.INFO))
logging.getLogger("lora_core").setLevel(logging.INFO)
