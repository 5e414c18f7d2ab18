"""Prefect's server or worker as a child that ends with its parent, however that ends: `python -m flows.service …`.

The parent holds the other end of this process' standard input. When it is gone, killed or not, that pipe closes.
"""

import os
import signal
import sys
import threading
from importlib import import_module

from flows.environment import keep_what_runs_need


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the server behind our door, or a worker of ours by Prefect's command line, with this process' arguments."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if sys.argv[1:3] == ["server", "start"]:
        import_module("flows.server").main(sys.argv[3:])
        return
    keep_what_runs_need(os.environ)
    from prefect.cli import app

    import_module("flows.worker")
    sys.argv[0] = "prefect"
    app()


if __name__ == "__main__":
    main()
