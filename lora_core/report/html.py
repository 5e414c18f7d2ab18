"""The report of a run: one HTML file with everything in it."""

import base64
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import jinja2
from PIL import Image

from lora_core.report.card import lora_call
from lora_core.report.data import CaptionRow, Drawn, Interval, ReportData
from lora_core.report.plots import identity_against_leak, loss_curve
from lora_core.sampling.samples import column_title
from lora_core.store import write_atomically

_OPEN_CAPTIONS = 6


def write_report(data: ReportData, path: Path) -> None:
    """Write the report as one file that needs no other."""
    write_atomically(path, render(data).encode())


def render(data: ReportData) -> str:
    """The report as HTML; everything that comes from names, prompts, captions or the recipe is escaped."""
    return _template().render(
        data=data,
        chosen=next((row for row in data.epochs if row.chosen), None),
        call=f"{lora_call(data.file, data.weight)} {data.trigger}",
        columns=list(dict.fromkeys(drawn.epoch for drawn in data.samples)),
        rows=_rows(data.samples),
        plot=identity_against_leak(data.epochs, data.max_leak),
        curves=[(curve.label, loss_curve(curve)) for curve in data.curves],
        first_captions=data.captions[:_OPEN_CAPTIONS],
        more_captions=data.captions[_OPEN_CAPTIONS:],
    )


def data_uri(picture: bytes, longest_px: int) -> str:
    """A picture as a WebP `data:` address, reduced so that no side is longer than `longest_px`."""
    with Image.open(BytesIO(picture)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=86, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def reasons(row: CaptionRow) -> list[tuple[str, str, tuple[str, ...]]]:
    """A caption's changes gathered by what was done and why: (what, reason, tags)."""
    gathered: dict[tuple[str, str], tuple[str, ...]] = {}
    for change in row.changes:
        at = (change.what, change.reason)
        gathered[at] = (*gathered.get(at, ()), change.tag)
    return [(what, reason, tags) for (what, reason), tags in gathered.items()]


def _rows(samples: Sequence[Drawn]) -> list[tuple[str, int, dict[str, Drawn]]]:
    """Prompt, seed, and the pictures by epoch."""
    rows: dict[tuple[str, int], dict[str, Drawn]] = {}
    for drawn in samples:
        rows.setdefault((drawn.prompt, drawn.seed), {})[drawn.epoch] = drawn
    return [(prompt, seed, pictures) for (prompt, seed), pictures in rows.items()]


def _span(interval: Interval) -> str:
    return f"{_signed(interval.low)} to {_signed(interval.high)}"


def _signed(value: float) -> str:
    """Two digits, a true minus sign, and no negative zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _duration(seconds: float) -> str:
    """12 s, 3 min 5 s, 2 h 7 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        uri=data_uri, span=_span, signed=_signed, duration=_duration, reasons=reasons, column_title=column_title
    )
    return environment.get_template("report.html.j2")
