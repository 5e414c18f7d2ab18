"""Templates of the page, and how they write numbers and times."""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from lora_core.printable import duration


def page(template: str, **shown: Any) -> str:
    """A page, or a part of one, as HTML."""
    return _environment().get_template(f"{template}.html.j2").render(**shown)


def quoted(text: str) -> str:
    """A text as one part of an address."""
    return quote(text, safe="")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(duration=duration, q=quoted, path=quote, ago=_ago, thousands=lambda number: f"{number:,}")
    return made


def _ago(moment: datetime | None) -> str:
    """How long ago, or in how long."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    size = abs(seconds)
    for each, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if size >= each:
            return f"{size // each:.0f} {unit} ago" if seconds > 0 else f"in {size // each:.0f} {unit}"
    return "just now" if seconds > 0 else "in a moment"
