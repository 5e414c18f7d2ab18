"""What a child prints, kept in a file of bounded size that only its owner may read; its first error is picked out."""

import os
import re
import threading
from io import TextIOWrapper
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

# Of one file; there are two, this one and the one before.
LARGEST_BYTES = 10_000_000
_LONGEST_LINE_BYTES = 65_536
# As Prefect writes it. Errors of a run are shown with the run, in the UI.
_ERROR = re.compile(r"\| (?:ERROR|CRITICAL) +\| (?!Flow run |Task run )(?P<what>.+)")


class LogFile:
    """A log that is written from a pipe: whatever happens to the disk, the pipe is emptied and its writer goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handler: _PrivateHandler | None = None
        self._first_error, self._taken = "", False

    def follow(self, pipe: IO[bytes]) -> None:
        """Copy lines from a pipe to the file, in the background, until the pipe ends."""
        if self._handler is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.parent.chmod(0o700)
            self._handler = _PrivateHandler(self.path, maxBytes=LARGEST_BYTES, backupCount=1, delay=True)
        threading.Thread(target=self._copy, args=(pipe, self._handler), daemon=True).start()

    def take_error(self) -> str:
        """The first error that was printed, once; empty before there is one and ever after."""
        if self._taken or not self._first_error:
            return ""
        self._taken = True
        return self._first_error

    def _copy(self, pipe: IO[bytes], handler: RotatingFileHandler) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE_BYTES):
                text = line.decode(errors="replace").rstrip("\r\n")
                handler.handle(LogRecord("", 0, "", 0, text, None, None))
                if not self._first_error and (error := _ERROR.search(text)):
                    self._first_error = error["what"]


class _PrivateHandler(RotatingFileHandler):
    """Rotates by size; the files can be read by their owner alone."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.fchmod(handle, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8")

    def handleError(self, record: LogRecord) -> None:  # noqa: N802 (logging's own name)
        """Lose the line: there is nowhere to say that the disk is full."""
