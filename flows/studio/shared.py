"""What the addresses of the page share."""

from typing import Annotated, Any

from fastapi import Body, Depends, Request

from flows.studio.helper import Helper
from flows.studio.runs import Runs

ROOT = "/studio"
KEEP = {"cache-control": "private, max-age=86400"}
"""Of what never changes under its address."""


def _runs(request: Request) -> Runs:
    found: Runs = request.app.state.runs
    return found


def _helper(request: Request) -> Helper:
    found: Helper = request.app.state.helper
    return found


TheRuns = Annotated[Runs, Depends(_runs)]
TheHelper = Annotated[Helper, Depends(_helper)]
Said = Annotated[dict[str, Any], Body()]
"""What a form or a button sends."""
Answer = dict[str, str]
"""To it: `go` names the page to show next; empty: the same."""
