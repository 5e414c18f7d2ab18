"""A PostgreSQL server of the test's own, which can be restarted."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import free_port, wait_for

_USERS = ("postgres", "nobody")


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs: Debian keeps them out of PATH."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "postgres").exists()), None)


class Postgres:
    """One server with its data in a folder."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self._programs, self._data, self._user, self._port = programs, folder / "data", user, free_port()
        self._server: subprocess.Popen[bytes] | None = None
        options = ["-U", "prefect", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run(
            [programs / "initdb", "-D", self._data, *options], user=user, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr

    @property
    def url(self) -> str:
        """As `headcanon up --database` takes it."""
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = ["-p", str(self._port), "-h", "127.0.0.1", "-k", "", "-F"]
        with (self._data.parent / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options], user=self._user, stdout=log, stderr=log
            )
        ask = [self._programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self._port)]
        wait_for(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "Postgres")

    def stop(self) -> None:
        """Cut all connections and end it, as an upgrade does."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(60)
            self._server = None


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; skips the test where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    user = None
    if os.getuid() == 0:  # as which it refuses to run
        user = next(name for name in _USERS if name in {one.pw_name for one in pwd.getpwall()})
    with tempfile.TemporaryDirectory(prefix="headcanon-postgres-") as name:
        if user is not None:
            shutil.chown(name, user)
        server = Postgres(programs, Path(name), user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
