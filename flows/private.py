"""Prefect's own folder holds what runs were given and said, tokens in it included: its owner's alone."""

import contextlib
import os
from pathlib import Path

# Of the server's process: what it writes nobody else may read.
UMASK = 0o077


def prefect_home() -> Path:
    """Prefect's own folder, by its environment."""
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect")


def keep_private(home: Path) -> None:
    """Take all rights to Prefect's folder and its database from others; what is not there or not ours stays."""
    with contextlib.suppress(OSError, RuntimeError):
        there = home.expanduser()
        for path, mode in ((there, 0o700), *((file, 0o600) for file in there.glob("prefect.db*"))):
            if path.stat().st_mode & 0o077:
                path.chmod(mode)
