"""Prefect's server or worker as a child that ends with its parent, however that ends: `python -m flows.service …`.

The parent holds the other end of this process' standard input. When it is gone, killed or not, that pipe closes.
`private-server FD` is no command of Prefect's, but its API for one run, on a socket that the parent listens at already.
"""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module

from flows.environment import keep_what_runs_need

_ENDS_SECONDS = 10.0


def _end_with_parent(at_once: bool) -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    if at_once:
        time.sleep(_ENDS_SECONDS)
        os._exit(1)


def main() -> None:
    """Run the server behind our door, or a worker of ours by Prefect's command line, with this process' arguments."""
    private = sys.argv[1] == "private-server"
    threading.Thread(target=_end_with_parent, args=(private,), daemon=True).start()
    if private:
        _serve(int(sys.argv[2]))
        return
    if sys.argv[1:3] == ["server", "start"]:
        import_module("flows.server").main(sys.argv[3:])
        return
    keep_what_runs_need(os.environ)
    from prefect.cli import app

    import_module("flows.worker")
    sys.argv[0] = "prefect"
    app()


def _serve(socket_number: int) -> None:
    """As `prefect.server.api.server.SubprocessASGIServer` does."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            with _alone():  # two that make or upgrade the same database get in each other's way
                await super().startup(sockets)

    config = uvicorn.Config("flows.server:guarded", factory=True, log_level="error", lifespan="on")
    server = Server(config)
    server.run(sockets=[socket.socket(fileno=socket_number)])
    sys.exit(0 if server.started else 1)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One server of this Prefect home starts at a time, where its disk keeps locks."""
    from prefect.settings import PREFECT_HOME

    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            home = PREFECT_HOME.value()
            home.mkdir(parents=True, exist_ok=True)
            fcntl.flock(held.enter_context((home / "starting.lock").open("w")), fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
