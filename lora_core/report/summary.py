"""A run at a glance, for Prefect's UI: one markdown page with thumbnails, and the metrics as a table."""

import base64
from html import escape
from io import BytesIO

from PIL import Image

from lora_core.judging.verdict import Verdict
from lora_core.sampling.grid import Cell, contact_grid
from lora_core.sampling.samples import NO_LORA, Column, Samples
from lora_core.store import Store

_CELL_PX = 192
_MOST_ROWS = 6
_QUALITY = 80


def markdown(store: Store, verdict: Verdict, samples: Samples, name: str, folder: str, pushed: str = "") -> str:
    """The choice, a contact sheet of it beside the base without the LoRA, and where everything is.

    Args:
        store: where the pictures are.
        verdict: what was measured and chosen.
        samples: what was drawn.
        name: of the LoRA.
        folder: where it was published.
        pushed: the hub's address of the commit; empty: none.
    """
    choice = verdict.choice
    sheet = base64.b64encode(_sheet(store, samples, Column(choice.epoch, choice.weight))).decode()
    lines = [
        f"## {escape(name)}: epoch {choice.epoch} at weight {choice.weight:g}",
        escape(choice.reason),
        *(["**Look before you use it:** the metrics alone don't settle this choice."] if choice.flagged else []),
        f'<img alt="without the LoRA and with it" width="100%" src="data:image/jpeg;base64,{sheet}">',
        f"Report: `{folder}/report.html`",
        *([f"Published: {pushed}"] if pushed else []),
    ]
    return "\n\n".join(lines)


def table(verdict: Verdict) -> list[dict[str, str]]:
    """A row for every epoch × weight."""
    return [
        {
            "epoch": one.epoch,
            "weight": f"{one.weight:g}",
            **{metric.label: metric.text(one.score(metric)) for metric in verdict.columns},
            "why": ruling.reason,
        }
        for one, ruling in verdict.rows
    ]


def _sheet(store: Store, samples: Samples, chosen: Column) -> bytes:
    """JPEG: a row for each prompt and seed, at most six; without the LoRA, and with it."""
    columns = (Column(NO_LORA), chosen)
    places = samples.seeds_by_prompt[:_MOST_ROWS]
    cells, rows = [], {}
    for sample in samples.samples:
        column, place = Column(sample.epoch, sample.weight), (sample.prompt_index, sample.seed)
        if column in columns and place in places:
            picture = Image.open(BytesIO(store.get_bytes(sample.image))).convert("RGB")
            picture.thumbnail((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            cells.append(Cell(row=places.index(place), column=columns.index(column), picture=picture))
            rows[place] = (sample.prompt, f"seed {sample.seed}")
    sheet = contact_grid([rows[place] for place in places], [column.title for column in columns], cells, "")
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
