"""What all addresses of the page stand on: templates, and who is asked for an answer."""

import uuid
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote

import jinja2
from fastapi import Body, Depends, Request
from prefect.client.orchestration import SyncPrefectClient

from flows.studio.helper import Helper

ROOT = "/studio"
KEEP = {"cache-control": "private, max-age=86400"}
"""Of what never changes under its address."""


def _client(request: Request) -> Any:
    return request.app.state.client()


def _helper(request: Request) -> Any:
    return request.app.state.helper


Client = Annotated[SyncPrefectClient, Depends(_client)]
TheHelper = Annotated[Helper, Depends(_helper)]
Text = Annotated[str, Body(embed=True)]
"""A field of a form."""
Answer = dict[str, str]
"""To a form: `go` names the page to show next; without it, and without an answer, the same."""


def page(template: str, **shown: Any) -> str:
    """A page, or a part of one, as HTML."""
    return _environment().get_template(f"{template}.html.j2").render(**shown)


def quoted(text: str) -> str:
    """A text as one part of an address."""
    return quote(text, safe="")


def key() -> str:
    """Of one press of a button, however often Prefect hears of it."""
    return f"studio:{uuid.uuid4()}"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    places = jinja2.ChoiceLoader([jinja2.PackageLoader("flows.studio"), jinja2.PackageLoader("lora_core.report", "")])
    made = jinja2.Environment(
        loader=places, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    column = "epoch {0.epoch} at {0.weight:g}".format
    made.filters.update(q=quoted, path=quote, g="{:g}".format, clock=_clock, column=column)
    made.globals["m"] = made.get_template("macros.html.j2").module
    return made


def _clock(moment: datetime | None) -> str:
    return f"{moment.astimezone():%d %b %H:%M}" if moment else ""
