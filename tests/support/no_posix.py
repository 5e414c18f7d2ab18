"""Imported first: what Python lacks on Windows is lacking for our modules too, once the libraries are loaded.

Windows itself is not emulated: paths, file locks and processes stay this machine's.
"""

import os
import signal
import sys

import filelock  # noqa: F401
import httpx  # noqa: F401
import psutil  # noqa: F401
import starlette.responses  # noqa: F401

for _name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[_name] = None  # type: ignore[assignment]
for _name in ("killpg", "setsid", "fchmod", "getpgid", "mkfifo", "O_NONBLOCK", "O_NOFOLLOW"):
    delattr(os, _name)
for _name in ("SIGHUP", "SIGKILL", "pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK"):
    delattr(signal, _name)
