"""The Prefect server of one command: on this machine only, on a port of its own, gone with the command however it ends.

Prefect starts one itself where none is named, but as a process that outlives a killed parent, hears the terminal's
Ctrl-C before the run has saved anything, and may meet another's port. This one takes its place.
"""

import atexit
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from types import ModuleType

import httpx

from flows.process_signals import NEW_GROUP, ask_to_end
from lora_core.errors import HeadcanonError, StoreError

_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""As Prefect has it for its temporary servers."""
_HANDS_SOCKETS_ON = os.name != "nt"
_LOOK_EVERY_SECONDS = 0.05
_ENDS_SECONDS = 10.0
_DATABASE_BYTES = 4 << 20
"""What Prefect's database takes at least."""


class ServerError(HeadcanonError):
    """Prefect's server does not start, or failed."""


def trouble(what: str) -> HeadcanonError:
    """What is wrong with the server: mostly its disk is full, and it can only say that something failed."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    address, home = PREFECT_API_URL.value(), PREFECT_HOME.value()
    if not address and shutil.disk_usage(home).free < _DATABASE_BYTES:
        return StoreError(
            f"{home}: Prefect keeps its database there, and the disk is full; free some space, or set PREFECT_HOME to "
            "another folder, and run the same command again"
        )
    where = f" at {address}" if address else ""
    return ServerError(f"Prefect's server{where} failed: {what}; run the same command to resume")


class PrivateServer:
    """Has what Prefect asks of its own temporary server (`SubprocessASGIServer`): an address, a start and a stop."""

    def __init__(self) -> None:
        """Start the process; `start` waits for it."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            self.port = int(listening.getsockname()[1])
            self._said = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
            self.server_process = subprocess.Popen(
                [sys.executable, "-m", "flows.service", "private-server", _handed_on(listening)],
                env={**os.environ, **_ENVIRONMENT},
                pass_fds=(listening.fileno(),) if _HANDS_SOCKETS_ON else (),
                stdin=subprocess.PIPE,
                stdout=self._said,
                stderr=self._said,
                start_new_session=True,
                creationflags=NEW_GROUP,
            )
        self._started = False

    @property
    def address(self) -> str:
        """Without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """Of its API."""
        return f"{self.address}/api"

    def start(self, timeout: int | None = None) -> None:
        """Wait until it answers.

        Raises:
            StoreError: its disk is full.
            ServerError: it ended, or does not answer in time.
        """
        if self._started:
            return
        from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

        deadline = time.monotonic() + (timeout or PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
        with httpx.Client(trust_env=False) as client:
            while not self._healthy(client, deadline):
                if self.server_process.poll() is not None:
                    raise trouble(f"it does not start: {self._last_words()}")
                if time.monotonic() > deadline:
                    raise trouble("it does not answer")
                time.sleep(_LOOK_EVERY_SECONDS)
        self._started = True

    def _healthy(self, client: httpx.Client, deadline: float) -> bool:
        try:
            return client.get(f"{self.api_url}/health", timeout=max(1.0, deadline - time.monotonic())).is_success
        except httpx.TransportError:
            return False

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with status {self.server_process.returncode} and said nothing"

    def stop(self) -> None:
        """End it; what it has been told is written first."""
        ask_to_end(self.server_process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.server_process.wait(_ENDS_SECONDS)
        self.server_process.kill()
        self.server_process.wait()


def _handed_on(listening: socket.socket) -> str:
    """How the child is told where to listen; where it cannot inherit the socket, its port is free again for it."""
    if _HANDS_SOCKETS_ON:
        return str(listening.fileno())
    port = int(listening.getsockname()[1])
    listening.close()
    return f":{port}"


def start_private_server() -> None:
    """Start this process' server, unless there is one, or the user has named another; nobody waits for it here."""
    if _started:
        return
    # It takes longest of all to start, so it begins before Prefect is imported here, which tells whether it is wanted.
    server = None if os.environ.get("PREFECT_API_URL") else PrivateServer()
    from prefect.client.base import ServerType, determine_server_type

    if determine_server_type() != ServerType.EPHEMERAL:
        if server:
            server.stop()
        return
    server = server or PrivateServer()
    _started.append(server)
    atexit.register(server.stop)  # now, so that it is the last to go: what Prefect has to tell is told at the exit
    # Prefect's client takes its temporary server from this module, and would import a whole server for that: seconds.
    prefects = sys.modules["prefect.server.api.server"] = ModuleType("prefect.server.api.server")
    vars(prefects)["SubprocessASGIServer"] = lambda: server


_started: list[PrivateServer] = []
