"""What `headcanon up` does beside keeping its children: tell when the schedules are there, and when they stop."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectException

from flows.place import CHARACTERS
from flows.schedules import Silence, announce, announce_resumed, next_run, silences, watched

_SCHEDULED_SECONDS = 120.0  # two minutes: its slower look is every minute
_LOOK_EVERY_SECONDS = 30.0
# The server may be started anew, or be busy: only a longer silence is told.
_AWAY = timedelta(minutes=15)
_INBOX = "watch-inbox"


class Watch:
    """A look at the schedules now and then, in the background, until `ended` is set."""

    def __init__(
        self,
        settings: Callable[[], AbstractContextManager[object]],
        home: Path,
        ended: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        """Set up; nothing is looked at yet.

        Args:
            settings: Prefect's client settings for the length of a block.
            home: the folder that `headcanon up` was given.
            ended: says that it is time to end.
            tell: says one line to the person at the terminal.
        """
        self._settings, self._home, self._ended, self._tell = settings, home, ended, tell
        self._since: dict[str, datetime] = {}
        self._silent: dict[str, Silence] = {}
        self._answered, self._away = datetime.now(UTC), False
        self._told = False

    def start(self) -> None:
        """Begin; the thread ends with the process at the latest."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with self._settings():
            deadline = time.monotonic() + _SCHEDULED_SECONDS
            while not self._ended.wait(1.0) and not self._told:
                self._answering(lambda client: self._tell_when_scheduled(client, time.monotonic() > deadline))
            while not self._ended.wait(_LOOK_EVERY_SECONDS):
                self._answering(self._look)

    def _answering(self, what: Callable[[SyncPrefectClient], None]) -> None:
        """Ask the server; one that does not answer is told of when that lasts."""
        try:
            with get_client(sync_client=True) as client:
                what(client)
        except (httpx.HTTPError, PrefectException, OSError, ValueError):
            if not self._away and datetime.now(UTC) - self._answered > _AWAY:
                self._away = True
                self._tell(f"Prefect's server has not answered since {self._answered.astimezone():%H:%M}")
            return
        self._answered, self._away = datetime.now(UTC), False

    def _tell_when_scheduled(self, client: SyncPrefectClient, late: bool) -> None:
        """Say that all is ready when Prefect's scheduler has made a run of every schedule, or that it has not."""
        due = {one.name: next_run(client, one.id) for one in watched(client)}
        missing = ", ".join(name for name, moment in due.items() if not moment)
        if not missing:
            self._tell(self._ready(due.get(_INBOX)))
        elif late:
            self._tell(
                f"Not ready: Prefect's scheduler made no run of {missing} in two minutes; forms work, but nothing "
                "starts by itself; what the server said is in server.log"
            )
        self._told = late or not missing

    def _ready(self, due: datetime | None) -> str:
        folders = self._home / CHARACTERS
        if due is None:
            return f"Ready; {_INBOX} is paused, so that the folders in {folders} start no run by themselves"
        return f"Ready: the next look at the folders in {folders} is at {due.astimezone():%H:%M:%S}"

    def _look(self, client: SyncPrefectClient) -> None:
        deployments, now = watched(client), datetime.now(UTC)
        self._since = {one.name: self._since.get(one.name, now) for one in deployments}
        before = self._silent
        self._silent = {
            one.deployment: one
            for one in silences(client, deployments, self._since)
            if not self._are_made_again(one, before)
        }
        for name, silence in self._silent.items():
            if name not in before or before[name].scheduled != silence.scheduled:
                self._tell(silence.message)
                announce(client, silence)
        for name in (before.keys() - self._silent.keys()) & self._since.keys():  # one that was paused is not resumed
            self._tell(f"{name}: scheduled runs start again")
            announce_resumed(client, before[name])

    def _are_made_again(self, silence: Silence, before: Mapping[str, Silence]) -> bool:
        """Whether runs that were not even made have come back: they get their time to start."""
        again = silence.scheduled and silence.deployment in before and not before[silence.deployment].scheduled
        if again:
            self._since[silence.deployment] = datetime.now(UTC)
        return again
