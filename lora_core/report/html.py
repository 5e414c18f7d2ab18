"""The report of a run: one HTML file with everything in it."""

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import jinja2
from PIL import Image

from lora_core.images import coverage, preview
from lora_core.judging.choice import RULE
from lora_core.judging.leak import LEAST_WAY
from lora_core.judging.metrics import headlines
from lora_core.printable import duration
from lora_core.report.card import lora_call
from lora_core.report.data import Drawn, ReportData
from lora_core.report.plots import identity_against_leak, loss_curve, weight_shapes
from lora_core.sampling.samples import Column

_OPEN_CAPTIONS = 6
# The largest side that the format has room for.
_WEBP_MOST_PX = 16383


def render(data: ReportData) -> str:
    """The report as HTML; everything that comes from names, prompts, captions or the recipe is escaped."""
    chosen = data.verdict.chosen.metrics
    columns = list(dict.fromkeys(_column(drawn) for drawn in data.samples))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            verdict=data.verdict,
            chosen=chosen,
            chosen_column=Column(chosen.epoch, chosen.weight),
            headlines=headlines(),
            metrics=data.verdict.columns,
            call=f"{lora_call(data.file, data.verdict.choice.weight)} {data.trigger}",
            rule=RULE,
            drawn_words={one.tag: one.epoch for one in chosen.tags},
            least_way=LEAST_WAY,
            epochs=len({row.metrics.epoch for row in data.verdict.rows}),
            columns=columns,
            weights=sorted({column.weight for column in columns if column.weight}),
            prompts=list(dict.fromkeys(drawn.prompt for drawn in data.samples)),
            seeds=list(dict.fromkeys(drawn.seed for drawn in data.samples)),
            rows=_rows(data.samples),
            plot=identity_against_leak(data.verdict),
            shapes=weight_shapes(data.verdict.rows),
            curves=[(curve.label, loss_curve(curve)) for curve in data.curves],
            first_captions=data.captions[:_OPEN_CAPTIONS],
            more_captions=data.captions[_OPEN_CAPTIONS:],
        )
    )


def data_uri(picture: bytes, longest_px: int = _WEBP_MOST_PX) -> str:
    """A picture as a WebP `data:` address, reduced so that no side is longer than `longest_px`."""
    with Image.open(BytesIO(picture)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=86, method=4)
    return preview.data_uri(buffer.getvalue(), "image/webp")


def _column(drawn: Drawn) -> Column:
    return Column(drawn.epoch, drawn.weight)


def _rows(samples: Sequence[Drawn]) -> list[tuple[str, int, dict[Column, Drawn]]]:
    """Prompt, seed, and the pictures by column."""
    rows: dict[tuple[str, int], dict[Column, Drawn]] = {}
    for drawn in samples:
        rows.setdefault((drawn.prompt, drawn.seed), {})[_column(drawn)] = drawn
    return [(prompt, seed, pictures) for (prompt, seed), pictures in rows.items()]


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Templates and filters of all pages."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        uri=data_uri, duration=duration,
        difference=coverage.signed, warnings=coverage.warnings,
    )  # fmt: skip
    return made
