"""Retraining on new screenshots: a run for every character whose folder changed and then rested."""

import time
from typing import Annotated

from prefect import flow
from prefect.events import emit_event
from pydantic import Field

from flows.edge import telling_user_errors
from flows.inbox import MEMORY, Change, Inbox
from flows.place import CHARACTERS, Place
from flows.start import start_character
from lora_core.store import open_store
from tasks.runtime import say

Minutes = Annotated[float, Field(ge=0, le=10_080)]


@flow(name="watch-inbox", persist_result=False, validate_parameters=False)
@telling_user_errors
def watch_inbox(quiet_minutes: Minutes = 10, preset: str = "") -> int:
    """Start a run for every folder of characters/ whose screenshots have changed; returns how many.

    Args:
        quiet_minutes: How long nothing in a folder may have changed, so that no half-copied set is trained on.
        preset: The recipe in recipes/ for characters that have none of their own. Empty: "default".
    """
    place = Place()
    # The memory lies beside the folders it is about, where every worker sees it.
    inbox = Inbox(place.folder / CHARACTERS, open_store(place.store), place.folder / ".headcanon" / MEMORY)
    started = 0
    for change in inbox.changes(quiet_minutes * 60, time.time()):
        _start(change, preset)
        inbox.done(change)
        started += 1
    return started


def _start(change: Change, preset: str) -> None:
    """Remembered only afterwards: if this is cut short, the key gives the same run the next time, not a second one."""
    run = start_character(change.character, preset, change.key, "inbox")
    emit_event(
        "headcanon.inbox.changed",
        resource={
            "prefect.resource.id": f"headcanon.character.{change.character}",
            "prefect.resource.name": change.character,
        },
        payload={"pictures": change.pictures, "content": change.content, "run": str(run.id)},
    )
    say(f"{change.character}: {change.pictures} pictures, new since the last run; started {run.name}")
