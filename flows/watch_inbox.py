"""Retraining on new screenshots: a run for every character whose folder changed and then rested."""

import time
from typing import Annotated
from urllib.parse import quote

import httpx
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from pydantic import Field

from flows.deploy import start_character
from flows.errors import report_user_errors
from flows.inbox import MEMORY, Change, Inbox
from flows.notify import REFUSED
from flows.place import CHARACTERS, AllowedFolders
from flows.runs import has_read, open_run
from lora_core.store import open_store
from tasks.runtime import say

Minutes = Annotated[float, Field(ge=0, le=10_080)]


@flow(name="watch-inbox", persist_result=False, validate_parameters=False)
@report_user_errors
def watch_inbox(quiet_minutes: Minutes = 10, preset: str = "") -> int:
    """Start a run for every folder of characters/ whose screenshots have changed; returns how many.

    Args:
        quiet_minutes: How long nothing in a folder may have changed, so that no half-copied set is trained on.
        preset: The recipe in recipes/ for characters that have none of their own. Empty: "default".
    """
    place = AllowedFolders()
    # The memory lies beside the folders it is about, where every worker sees it.
    memory = place.folder / ".headcanon" / MEMORY
    inbox = Inbox(place.folder / CHARACTERS, open_store(place.store), memory, _refuse)
    started = 0
    for change in inbox.changes(quiet_minutes * 60, time.time()):
        try:
            if _is_open(change):
                continue  # not remembered: if that one does not complete, it gets its own
            if _was_read(change):
                inbox.done(change)
                continue
            _start(change, preset)
        except (httpx.HTTPStatusError, PrefectException) as error:
            inbox.refuse(change.character, f"Prefect starts no run for it: {' '.join(str(error).split())[:300]}")
        else:
            inbox.done(change)
            started += 1
    return started


def _refuse(name: str, why: str) -> None:
    """Tell of a folder that nothing can be started for: in the log, and as an event that automations can hear."""
    say(f"{name}: {why}", mark="!")
    resource = {"prefect.resource.id": f"headcanon.character.{quote(name)}", "prefect.resource.name": name}
    emit_event(REFUSED, resource=resource, payload={"message": why})


def _is_open(change: Change) -> bool:
    """Whether a run of the character is under way: a second one would train it beside that."""
    with get_client(sync_client=True) as client:
        run = open_run(client, change.character)
    if run:
        say(f"{change.character}: new screenshots wait until {run.name} ({run.state_name}) has ended")
    return run is not None


def _was_read(change: Change) -> bool:
    """Whether somebody else's run has read it as it is: that one knows which preset is meant."""
    with get_client(sync_client=True) as client:
        return has_read(client, change.character, change.touched)


def _start(change: Change, preset: str) -> None:
    """Remembered only afterwards: if this is cut short, the key gives the same run the next time, not a second one."""
    with get_client(sync_client=True) as client:
        run = start_character(client, {"character": change.character, "preset": preset}, change.key, "inbox")
    emit_event(
        "headcanon.inbox.changed",
        resource={
            "prefect.resource.id": f"headcanon.character.{change.character}",
            "prefect.resource.name": change.character,
        },
        payload={"pictures": change.pictures, "content": change.content, "run": str(run.id)},
    )
    say(f"{change.character}: {change.pictures} pictures, new since the last run; started {run.name}")
