"""A real Prefect server for the length of a block."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from running import free_port

_STARTS_SECONDS = 400


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Start one with a database of its own; yields its API's address."""
    port = free_port()
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _healthy(f"http://127.0.0.1:{port}/api", server)
    finally:
        server.terminate()
        server.wait(timeout=60)


def _healthy(address: str, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _STARTS_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended while starting"
        try:
            if httpx.get(f"{address}/health").is_success:
                return address
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(f"the server did not start within {_STARTS_SECONDS} s")
