"""What `headcanon up` was asked for, and what it sets its server and its worker to.

Imports nothing of Prefect: the server is started before that, since Prefect takes seconds to import.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.door import reached_at

POOL = "headcanon"
"""The work pool that runs go to."""
ASIDE = 2
"""A worker's places for runs that look after others: watch-inbox and janitor, of which there is one at a time."""
HEARTBEAT_SECONDS = 30
"""The longest that a living run is silent: its flows send an event so often."""

# Our own commands silence Prefect at the terminal (flows/cli); a child speaks into its log file.
_HEARD = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING", "PREFECT_LOGGING_SERVER_LEVEL": "WARNING"}
# Most of all events, and of use to nobody after a day: the states that follow them stay.
_NOISE = (
    "prefect.flow-run.heartbeat",
    "prefect.flow-run.Pending",
    "prefect.flow-run.Submitting",
    "prefect.task-run.Pending",
    "prefect.task-run.Running",
    "prefect.worker.submitted-flow-run",
    "prefect.worker.executed-flow-run",
)


@dataclass(frozen=True)
class Wanted:
    """What `headcanon up` was asked for.

    Attributes:
        home: the folder of recipes, characters, results and the store.
        also: further folders that forms may name.
        host: address the server listens at.
        port: its port.
        origins: further addresses that browsers open it under, such as a reverse proxy's.
        database: URL of a Postgres database; empty: SQLite in Prefect's own folder.
        api: a server that runs elsewhere; empty: one of our own.
        runs: how many runs the worker works on at once.
        notify: a webhook to call when a run needs a person or has published; empty: none.
    """

    home: Path
    also: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 4200
    origins: tuple[str, ...] = ()
    database: str = ""
    api: str = ""
    runs: int = 2
    notify: str = ""

    @property
    def address(self) -> str:
        """URL of the server's API."""
        return self.api or f"http://{self.reached_at}:{self.port}/api"

    @property
    def reached_at(self) -> str:
        """Address at which the server is reached from here."""
        return reached_at(self.host)

    @property
    def logs(self) -> Path:
        """Where server and worker write what they say."""
        return self.home / ".headcanon" / "logs"

    def server_settings(self) -> Mapping[str, str]:
        """Settings of the server's process."""
        database = {"PREFECT_API_DATABASE_CONNECTION_URL": self.database} if self.database else {}
        return {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **_HEARD,
            **retention_settings(),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            **self._folders(),
            **database,
        }

    def worker_settings(self) -> Mapping[str, str]:
        """Settings of the worker's process, which its runs inherit."""
        return {
            **_HEARD,
            "PREFECT_API_URL": self.address,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            "PREFECT_WORKER_QUERY_SECONDS": "3",  # a person waits for the run that the form started
            # A server that is started again, or loses its database for a moment, ends no run: four minutes of patience.
            "PREFECT_CLIENT_MAX_RETRIES": "7",
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
            **self._folders(),
            **({} if self.api else {"HEADCANON_PAGE": "/studio"}),
            "DO_NOT_TRACK": "1",
            **self.password(),
        }

    def _folders(self) -> dict[str, str]:
        """What forms and the studio page may touch."""
        return {
            "HEADCANON_HOME": str(self.home),
            "HEADCANON_ALSO": os.pathsep.join(str(path) for path in self.also),
        }

    def password(self) -> dict[str, str]:
        """A server of ours and its clients take the same one, from the server's own setting."""
        from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

        text = PREFECT_SERVER_API_AUTH_STRING.value()
        return {"PREFECT_API_AUTH_STRING": str(text)} if text and not self.api else {}


def retention_settings() -> dict[str, str]:
    """Settings of a Prefect server that forgets: its own defaults, 90 days for runs and 7 for events; a user's win."""
    wanted = {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": json.dumps(dict.fromkeys(_NOISE, 86_400)),
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}
