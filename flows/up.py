"""`headcanon up`: a Prefect server, what it needs to know, and a worker, kept running until it is told to end."""

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    temporary_settings,
)
from pydantic import SecretStr

from flows import healthy
from flows.child_processes import Child, ServiceError
from flows.deploy import POOL, put_in_place
from flows.door import reached_at
from flows.janitor import HEARTBEAT_SECONDS, alive, forget_planned_runs, retention_settings, set_crashed
from flows.notify import put_webhook_in_place
from flows.place import CHARACTERS, PRESETS
from flows.schedules import ScheduleWatch
from flows.worker import ASIDE
from lora_core.errors import UserError
from tasks.runtime import gpu_limit
from tasks.stopping import SAVES_SECONDS

_SERVER_STARTS_SECONDS = 300.0
_END_SECONDS = 20.0
_RUNS_END_SECONDS = SAVES_SECONDS + _END_SECONDS
_POLL_SECONDS = 1.0
_SERVER_UMASK = 0o077  # nobody else may read what the server writes
# Our own commands silence Prefect at the terminal (flows/cli); a child speaks into its log file.
_HEARD = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING", "PREFECT_LOGGING_SERVER_LEVEL": "WARNING"}


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
            "DO_NOT_TRACK": "1",
            **self._password(),
        }

    def _folders(self) -> dict[str, str]:
        """What forms and the studio page may touch."""
        return {
            "HEADCANON_HOME": str(self.home),
            "HEADCANON_ALSO": os.pathsep.join(str(path) for path in self.also),
        }

    def as_client(self) -> contextlib.AbstractContextManager[object]:
        """Prefect's client settings for this server, for the length of a block."""
        settings: dict[Any, object] = {PREFECT_API_URL: self.address}
        if password := self._password():
            settings[PREFECT_API_AUTH_STRING] = SecretStr(password["PREFECT_API_AUTH_STRING"])
        return temporary_settings(settings)

    def _password(self) -> dict[str, str]:
        """A server of ours and its clients take the same one, from the server's own setting."""
        text = PREFECT_SERVER_API_AUTH_STRING.value()
        return {"PREFECT_API_AUTH_STRING": str(text)} if text and not self.api else {}


def make_home(home: Path) -> None:
    """The folders people put things into, and a preset to start from; what is there stays."""
    for name in (PRESETS, CHARACTERS, "out"):
        (home / name).mkdir(parents=True, exist_ok=True)
    if not any((home / PRESETS).glob("*.toml")):
        with resources.as_file(resources.files("deployments").joinpath("recipes/default.toml")) as preset:
            shutil.copyfile(preset, home / PRESETS / "default.toml")


def run_until(wanted: Wanted, ended: threading.Event, tell: Callable[[str], None]) -> None:
    """Keep everything running until `ended` is set, then end it all, the worker first.

    Raises:
        UserError: something else has the port.
        ServiceError: server or worker cannot be kept running.
    """
    make_home(wanted.home)
    if not wanted.api:
        refuse_taken(wanted)
    server = None if wanted.api else _server(wanted)
    worker = worker_of(wanted, f"{socket.gethostname()}-{os.getpid()}")
    try:
        if server is not None:
            server.start()
        _wait_for(wanted, server, ended)
        if ended.is_set():
            return
        with wanted.as_client(), get_client(sync_client=True) as client:
            prepare(client, own=server is not None)
            if wanted.notify:
                put_webhook_in_place(client, wanted.notify)
        worker.start()
        if server is not None:
            tell(f"Studio: {wanted.address.removesuffix('/api')}")
        tell(f"Prefect's UI: {wanted.address.removesuffix('/api')}/v2")
        ScheduleWatch(wanted.as_client, wanted.home, ended, tell).start()
        _keep([child for child in (server, worker) if child], ended, tell)
    finally:
        tell("Ending: runs save what they have first; they can be retried.")
        _end(wanted, server, worker)


def prepare(client: SyncPrefectClient, *, own: bool = False) -> None:
    """Pool, deployments, this host's GPU limit; and no heap of looks that were missed while nothing ran.

    Args:
        client: of the server.
        own: whether the server was just started: then its scheduler proves itself by making all runs ahead anew.
    """
    forget_planned_runs(client, None if own else datetime.now(UTC))
    put_in_place(client)
    if torch.cuda.is_available():
        client.upsert_global_concurrency_limit_by_name(gpu_limit(), 1)


def refuse_taken(wanted: Wanted) -> None:
    """Stop before anything is started when the server's address is in use.

    Raises:
        UserError: something listens there.
    """
    with socket.socket() as probe:
        if probe.connect_ex((wanted.reached_at, wanted.port)) != 0:
            return
    if healthy.server(wanted.address):
        raise UserError(
            f"{wanted.address}: a Prefect server runs there already. To add a worker to it: --api {wanted.address}; "
            "for a second server: --port"
        )
    raise UserError(f"port {wanted.port}: another program listens there; choose one with --port")


def _wait_for(wanted: Wanted, server: Child | None, ended: threading.Event) -> None:
    deadline = time.monotonic() + _SERVER_STARTS_SECONDS
    while not ended.is_set() and not healthy.server(wanted.address):
        if server is not None and not server.running:
            raise ServiceError(f"the server ended while starting; its log is {server.log}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{wanted.address}: no Prefect server answered in {_SERVER_STARTS_SECONDS:.0f} s")
        ended.wait(_POLL_SECONDS)


def _keep(children: Sequence[Child], ended: threading.Event, tell: Callable[[str], None]) -> None:
    while not ended.wait(_POLL_SECONDS):
        for child in children:
            if child.keep():
                tell(f"the {child.name} had ended and was started again; its log is {child.log}")
            if error := child.take_error():
                tell(f"the {child.name} reports an error: {error}; all of them are in {child.log}")


def _end(wanted: Wanted, server: Child | None, worker: Child) -> None:
    """The worker and its runs first; then what is left of these in Prefect; then the server."""
    processes = worker.processes()
    worker.end(_RUNS_END_SECONDS)
    if processes and healthy.server(wanted.address):
        with wanted.as_client(), get_client(sync_client=True) as client:
            for run in alive(client):
                if run.infrastructure_pid in processes:
                    set_crashed(client, run, "`headcanon up` was ended. Retry resumes it.")
    if server is not None:
        server.end(_END_SECONDS)


def _server(wanted: Wanted) -> Child:
    also = [word for origin in wanted.origins for word in ("--origin", origin)]
    command = ("server", "start", "--host", wanted.host, "--port", str(wanted.port), *also)
    return Child("server", command, wanted.server_settings(), wanted.logs / "server.log", _SERVER_UMASK)


def worker_of(wanted: Wanted, name: str) -> Child:
    """A worker, not started yet, under a name of its own."""
    command = (
        "worker",
        "start",
        "--pool",
        POOL,
        "--type",
        "process",
        "--name",
        name,
        "--limit",
        str(wanted.runs + ASIDE),
    )
    return Child("worker", command, wanted.worker_settings(), wanted.logs / "worker.log")
