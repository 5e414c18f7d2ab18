"""What runs are called: by what a person put into the form, from the moment they are made.

Prefect calls a run by chance until its flow begins, and then as the flow says. Our server (`flows.server`) names it
when it is made; on a server of others it has its chance name as long as it waits.
"""

from collections.abc import Mapping
from typing import Any

RUN_NAMES: Mapping[str, str] = {
    "train-character": "{character}",
    "train-character-options": "{character}",
    "train-character-full": "{name}",
    "prepare-style": "style {preset}",
    "train-cast": "cast {preset}",
    "draw-more": "{result}: more pictures",
}
"""By flow, as Prefect fills them in."""
_DEFAULTS = {"preset": "default"}


def run_name(flow: str, parameters: Mapping[str, Any]) -> str:
    """What a run of a flow is called; empty: it says nothing of itself."""
    try:
        return RUN_NAMES.get(flow, "").format_map({**_DEFAULTS, **parameters})
    except KeyError:
        return ""
