"""What a run's Logs hold of an error, the tab that opens in Prefect's UI.

A person's mistake is one line there, wherever it was met; Prefect would tell it with forty lines of traceback, in the
step and again in the run. Of a failure of ours the traceback is kept, once, under a line that says what happened.
"""

import logging
import re
from contextlib import suppress

from prefect import get_run_logger
from prefect.exceptions import FailedRun, MissingContextError

from lora_core.errors import HeadcanonError
from lora_core.printable import one_line

_RUNS = ("prefect.flow_runs", "prefect.task_runs")
_FINISHED = re.compile(r"Finished in state Failed\(.*", re.DOTALL)
_TOLD = "_headcanon_told"


class OneLine(logging.Filter):
    """Rewrites what Prefect logs of a failed step or run; to be added to its loggers of runs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is kept: an error that was told already is not told again."""
        if isinstance(record.msg, str) and record.levelno < logging.CRITICAL:
            record.msg = _FINISHED.sub("Finished in state Failed", record.msg)
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is None:
            return True
        if isinstance(error, FailedRun) or getattr(error, _TOLD, False):  # FailedRun: a state that was told, raised
            return False
        setattr(error, _TOLD, True)
        told = one_line(error) if isinstance(error, HeadcanonError) else f"{type(error).__name__}: {one_line(error)}"
        record.msg, record.args = told, ()
        if isinstance(error, HeadcanonError):
            record.exc_info = None
        return True


def tell(error: Exception) -> None:
    """Log an error of the present run that nobody logs but us, unless its step did."""
    with suppress(MissingContextError):
        get_run_logger().error("", exc_info=error)


def tell_mistakes_in_one_line() -> None:
    """Let every run of this process do so."""
    for name in _RUNS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, OneLine) for one in logger.filters):
            logger.addFilter(OneLine())
