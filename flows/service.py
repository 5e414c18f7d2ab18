"""A Prefect command as a child that ends with its parent, however that ends: `python -m flows.service server start …`.

The parent holds the other end of this process' standard input. When it is gone, killed or not, that pipe closes.
"""

import os
import signal
import sys
import threading
from importlib import import_module


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run Prefect's own command line with this process' arguments."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from prefect.cli import app

    if sys.argv[1] == "worker":
        import_module("flows.worker")
    else:
        import_module("flows.sqlite_in_turn")
    sys.argv[0] = "prefect"
    app()


if __name__ == "__main__":
    main()
