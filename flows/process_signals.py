"""Asking processes to end, and ending them, on POSIX and on Windows.

On Windows no signal reaches a process group, and `os.kill` and `terminate` end a process at once, so that it saves
nothing. There a process started in a group of its own hears Ctrl-Break, and one of ours ends by itself when its
standard input closes (`flows/service.py`).
"""

import contextlib
import os
import signal
import subprocess

import psutil

NEW_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""`creationflags` of a process that Ctrl-C at the terminal is not to reach; on POSIX `start_new_session` does that."""


def ask_self(number: int) -> None:
    """Send this process a signal that its own handlers hear."""
    if hasattr(os, "killpg"):
        os.kill(os.getpid(), number)
    else:
        signal.raise_signal(number)


def ask_to_end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process of `flows.service` to end; it may take its time."""
    with contextlib.suppress(ProcessLookupError, OSError):
        if hasattr(os, "killpg") or process.stdin is None:
            process.terminate()
        else:
            process.stdin.close()


def ask_group_to_end(leader: int) -> None:
    """Ask a process that leads a group, and all in the group, to end."""
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
        if hasattr(os, "killpg"):
            os.killpg(leader, signal.SIGTERM)
        else:
            psutil.Process(leader).send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined]


def kill_group(leader: int) -> None:
    """End a process that leads a group, and all in the group, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
        if hasattr(os, "killpg"):
            os.killpg(leader, signal.SIGKILL)
        else:
            psutil.Process(leader).kill()
