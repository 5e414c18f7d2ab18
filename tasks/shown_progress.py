"""How far a step is, for everybody who looks at the server: one progress artifact a step, from its first second.

Prefect's UI shows it as a bar, the studio page reads its figures. It is brought up to date by a thread of its own: a
server that is slow, or away, holds no step up.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import cast
from uuid import UUID

from PIL import Image
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import TaskRunContext
from prefect.settings import PREFECT_API_URL

from lora_core.images.preview import data_uri, small_jpeg
from lora_core.printable import duration
from lora_core.progress import Countdown, Progress
from lora_core.progress import silent as _silent
from lora_core.training.curves import WIDTH, curves_svg, read_curves
from tasks.time_left import run_clock

KEY = "progress"
"""Of the artifacts, with the step's name behind it."""
_EVERY_SECONDS = 2.0
_LAST_SECONDS = 5.0
_SHOWN_EVERY_SECONDS = 10.0  # a page of pictures is some 100 kB
_SIDE_PX = 320
_MOST_POINTS = 300


@contextlib.contextmanager
def shown_progress(step: str, unit: str, curves: Path | None = None) -> Iterator[Progress]:
    """A listener whose figures the server shows while the block runs; none where there is no server that stays.

    Args:
        step: what is being done.
        unit: what is counted.
        curves: folder with the training's curves and samples, which the studio page finds by its name.
    """
    context = TaskRunContext.get()
    if context is None or not PREFECT_API_URL.value():  # a command's own server ends with it
        yield _silent
        return
    shown = _Shown(step, unit, curves, context.task_run.flow_run_id, context.task_run.id)
    thread = threading.Thread(target=copy_context().run, args=(shown.keep,), daemon=True)
    thread.start()
    try:
        yield shown.tell
    finally:
        shown.ended.set()
        thread.join(_LAST_SECONDS)


class _Shown:
    """One step's artifact."""

    def __init__(self, step: str, unit: str, curves: Path | None, flow_run: UUID | None, task_run: UUID) -> None:
        self._step, self._unit, self._curves = step, unit, curves
        self._flow_run, self._task_run = flow_run, task_run
        self._countdown = Countdown()
        self._now = (0, 0, "")
        self._page, self._shown_at, self._training = "", 0.0, cast(UUID | None, None)
        self.ended = threading.Event()

    def tell(self, done: int, total: int, note: str = "") -> None:
        """How far the step is."""
        self._countdown.tell(done, total)
        self._now = (done, total, note)

    def keep(self) -> None:
        """Make the artifact, and bring it up to date until the step has ended."""
        with contextlib.suppress(Exception), get_client(sync_client=True) as client:  # no step fails for its bar
            made = self._made(client)
            while not self.ended.wait(_EVERY_SECONDS):
                self._update(client, made)
                self._show_training(client)
            self._update(client, made)
            self._show_training(client, at_last=True)

    def _show_training(self, client: SyncPrefectClient, *, at_last: bool = False) -> None:
        """One artifact with the newest pictures and the loss so far, replaced now and then."""
        if self._curves is None or (time.monotonic() - self._shown_at < _SHOWN_EVERY_SECONDS and not at_last):
            return
        page = training_page(self._curves)
        if not page or page == self._page:
            return
        self._page, self._shown_at = page, time.monotonic()
        if self._training is None:
            self._training = client.create_artifact(
                ArtifactCreate(
                    key=f"training-{self._step.replace(' ', '-')}",
                    type="markdown",
                    description="The newest epoch, and the loss so far",
                    data=page,
                    flow_run_id=self._flow_run,
                    task_run_id=self._task_run,
                )
            ).id
        else:
            client.update_artifact(self._training, ArtifactUpdate(data=page))

    def _made(self, client: SyncPrefectClient) -> UUID:
        return client.create_artifact(
            ArtifactCreate(
                key=f"{KEY}-{self._step.replace(' ', '-')}",
                type="progress",
                description=self._text(),
                data=self._share(),
                metadata_=self._figures(),
                flow_run_id=self._flow_run,
                task_run_id=self._task_run,
            )
        ).id

    def _update(self, client: SyncPrefectClient, made: UUID) -> None:
        update = ArtifactUpdate(description=self._text(), data=self._share(), metadata_=self._figures())
        client.update_artifact(made, update)

    def _share(self) -> float:
        done, total, _ = self._now
        return round(100 * done / total, 1) if total else 0.0

    def _figures(self) -> dict[str, str]:
        """For programs; Prefect keeps texts only."""
        done, total, note = self._now
        return {
            "step": self._step, "unit": self._unit, "done": str(done), "total": str(total), "note": note,
            "seconds_left": f"{self._countdown.seconds_left:.0f}", "curves": self._curves.name if self._curves else "",
            "run_left": run_clock().text,
        }  # fmt: skip

    def _text(self) -> str:
        done, total, note = self._now
        if not total:
            return f"{self._step}: starting"
        left = f", about {duration(self._countdown.seconds_left)} left" if done < total else ""
        note = " · ".join(filter(None, (note, run_clock().text)))
        return f"{self._step}: {self._unit} {done:,} of {total:,}{left}" + (f" · {note}" if note else "")


def training_page(curves: Path) -> str:
    """The loss, and the newest epoch that is drawn over the base, as Markdown; empty: there is nothing yet.

    Args:
        curves: folder of the training's; `samples/` in it holds `epoch-0001-01.png` …, `base-01.png` ….
    """
    points = read_curves(curves, _MOST_POINTS)
    rows = "".join(_newest_samples(curves / "samples"))
    curve = _picture(data_uri(curves_svg(points).encode(), "image/svg+xml"), WIDTH) if points else ""
    return curve + (f"\n\n<table>{rows}</table>" if rows else "")


def _newest_samples(samples: Path) -> Iterator[str]:
    if drawn := sorted(samples.glob("epoch-*.png")):
        epoch = drawn[-1].stem.rpartition("-")[0]
        for name in (epoch, "base"):
            pictures = (_picture(_thumbnail(path), 200) for path in sorted(samples.glob(f"{name}-*.png")))
            cells = "".join(f"<td>{picture}</td>" for picture in pictures)
            yield f"<tr><th>{name.replace('-', ' ')}</th>{cells}</tr>"


def _thumbnail(path: Path) -> str:
    with Image.open(path) as opened:
        return data_uri(small_jpeg(opened, (_SIDE_PX, _SIDE_PX)))


def _picture(uri: str, width_px: int) -> str:
    return f'<img width="{width_px}" src="{uri}">'
