"""`headcanon up`: a Prefect server, what it needs to know, and a worker, kept running until it is told to end."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from flows import healthy
from flows.child_processes import Child, ServiceError
from flows.place import CHARACTERS, MODELS, PRESETS
from flows.wanted import ASIDE, POOL, Wanted
from lora_core.errors import UserError
from tasks.stopping import SAVES_SECONDS

if TYPE_CHECKING:
    from flows.provision import Provision

_SERVER_STARTS_SECONDS = 300.0
_END_SECONDS = 20.0
_RUNS_END_SECONDS = SAVES_SECONDS + _END_SECONDS
_POLL_SECONDS = 1.0
_STARTING_POLL_SECONDS = 0.2
_SERVER_UMASK = 0o077  # nobody else may read what the server writes


def make_home(home: Path) -> None:
    """The folders people put things into, and a preset to start from; what is there stays."""
    for name in (PRESETS, CHARACTERS, MODELS, "out"):
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
    if not wanted.api:
        refuse_taken(wanted)
    make_home(wanted.home)
    server = None if wanted.api else _server(wanted)
    worker = provision = None
    try:
        if server is not None:
            server.start()
        # Seconds of imports, in which the server starts.
        from flows.provision import Provision, client_of
        from flows.schedules import ScheduleWatch

        provision = Provision(wanted)
        _wait_for(wanted, server, ended)
        if ended.is_set():
            return
        provision.prepare()
        worker = worker_of(wanted, f"{socket.gethostname()}-{os.getpid()}")
        worker.start()
        if server is not None:
            tell(f"Studio: {wanted.address.removesuffix('/api')}")
        tell(f"Prefect's UI: {wanted.address.removesuffix('/api')}/v2/deployments?sort=CREATED_DESC")
        ScheduleWatch(lambda: client_of(wanted), wanted.home, ended, tell).start()
        _keep([child for child in (server, worker) if child], provision, ended, tell)
    finally:
        tell("Ending: runs save what they have first; they can be retried.")
        if worker is not None and provision is not None:
            _end_runs(wanted, worker, provision)
        if server is not None:
            server.end(_END_SECONDS)


def refuse_taken(wanted: Wanted) -> None:
    """Stop before anything is started when the server's address is in use.

    Raises:
        UserError: something listens there.
    """
    if not _listens(wanted):
        return
    if healthy.server(wanted.address):
        raise UserError(
            f"{wanted.address}: a Prefect server runs there already. To add a worker to it: --api {wanted.address}; "
            "for a second server: --port"
        )
    raise UserError(f"port {wanted.port}: another program listens there; choose one with --port")


def _listens(wanted: Wanted) -> bool:
    """Whether somebody has the port: asked in no time, where a question to the API takes a client."""
    try:
        socket.create_connection((wanted.reached_at, wanted.port), timeout=_POLL_SECONDS).close()
    except OSError:
        return False
    return True


def _answers(wanted: Wanted) -> bool:
    return (bool(wanted.api) or _listens(wanted)) and healthy.server(wanted.address)


def _wait_for(wanted: Wanted, server: Child | None, ended: threading.Event) -> None:
    deadline = time.monotonic() + _SERVER_STARTS_SECONDS
    while not ended.is_set() and not _answers(wanted):
        if server is not None and not server.running:
            raise ServiceError(f"the server ended while starting; its log is {server.log}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{wanted.address}: no Prefect server answered in {_SERVER_STARTS_SECONDS:.0f} s")
        ended.wait(_STARTING_POLL_SECONDS)


def _keep(
    children: Sequence[Child], provision: "Provision", ended: threading.Event, tell: Callable[[str], None]
) -> None:
    while not ended.wait(_POLL_SECONDS):
        for child in children:
            if child.keep():
                tell(f"the {child.name} had ended and was started again; its log is {child.log}")
            if error := child.take_error():
                tell(f"the {child.name} reports an error: {error}; all of them are in {child.log}")
        provision.follow_presets()


def _end_runs(wanted: Wanted, worker: Child, provision: "Provision") -> None:
    """The worker and its runs first; then what is left of these in Prefect."""
    processes = worker.processes()
    worker.end(_RUNS_END_SECONDS)
    if processes and healthy.server(wanted.address):
        provision.set_crashed(processes)


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
