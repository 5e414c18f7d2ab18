"""TensorBoard's event files, written where they are asked for.

tensorboardX's own writer has a thread: when the disk refuses, the thread dies, and soon whoever adds a figure waits for
it for ever. Here the refusal reaches the caller.
"""

import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

_FLUSH_SECONDS = 30.0
_VERSION = "brain.Event:2"


class EventWriter:
    """One event file."""

    def __init__(self, folder: Path, *, steps: int, suffix: str) -> None:
        """Begin a file behind a run's first `steps` steps; TensorBoard forgets what other files say of later ones.

        Args:
            folder: of all the run's event files.
            steps: done so far.
            suffix: tells files of the same second from one another.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}{suffix}"
        self._records = RecordWriter(str(folder / name))
        self._write(Event(file_version=_VERSION))
        self._write(Event(step=steps + 1, session_log=SessionLog(status=SessionLog.START)))
        self._flush()

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Figures of a step, by name.

        Raises:
            OSError: the disk is full.
        """
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(Event(step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self._flush()

    def close(self) -> None:
        """Nothing more will come.

        Raises:
            OSError: the disk is full; the file is closed all the same.
        """
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())

    def _flush(self) -> None:
        self._records.flush()
        self._flushed = time.monotonic()
