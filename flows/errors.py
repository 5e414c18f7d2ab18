"""Errors of a run, in its state and in the Logs tab of Prefect's UI; damaged bytes in the store are computed again.

A user error is one line there, wherever it was raised; Prefect would log it with forty lines of traceback, in the step
and again in the run. Of an internal error the traceback is kept, once, under a line that says what happened.
"""

import inspect
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun, MissingContextError
from prefect.states import Failed
from pydantic import ValidationError, validate_call

from lora_core.bounded import name_fault
from lora_core.errors import DamagedError, HeadcanonError, RecipeError
from lora_core.printable import one_line
from lora_core.recipe import Recipe
from lora_core.recipe_file import explain
from tasks.runtime import say

P = ParamSpec("P")
R = TypeVar("R")

# A disk that damages more than that in one run should be replaced, and its owner should know.
_MOST_DAMAGED = 10
_RUNS = ("prefect.flow_runs", "prefect.task_runs")
# What Prefect tells of itself: a run's and a step's state is shown beside the log, and an error has a line of its own.
_OF_PREFECT = re.compile(r"Finished in state |Running hook |Hook '.*' finished |Beginning \w+ run ")
_LOGGED = "_headcanon_logged"


class OneLine(logging.Filter):
    """Rewrite what Prefect logs of a failed step or run, and drop its own steps; for its loggers of runs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, unless its error was logged before, or it says nothing of the work."""
        if isinstance(record.msg, str) and _OF_PREFECT.match(record.msg):
            return False
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is None:
            return True
        if isinstance(error, FailedRun) or getattr(error, _LOGGED, False):  # FailedRun: a state that was logged, raised
            return False
        setattr(error, _LOGGED, True)
        record.msg, record.args = one_line(error), ()
        if isinstance(error, HeadcanonError):
            record.exc_info = None
        else:
            record.msg = f"{type(error).__name__}: {record.msg}"
        return True


for _name in _RUNS:
    _logger = logging.getLogger(_name)
    if not any(isinstance(one, OneLine) for one in _logger.filters):
        _logger.addFilter(OneLine())


def report_user_errors(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Decorate a flow so that it ends as Failed on a user error, with one line in its state and in Logs.

    A form's parameters are checked here too, so that the flow itself need not (`validate_parameters=False`).
    """
    checked: Callable[..., Any] = validate_call(function)
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            by_name: Any = signature.bind(*args, **kwargs).arguments  # so that an error names its parameter
            return cast(R, checked(**by_name))
        except ValidationError as error:
            if error.title != function.__qualname__:  # of something else than the form
                raise
            user_error: HeadcanonError = RecipeError(explain(error, Recipe))
        except HeadcanonError as error:
            user_error = error
        except OSError as error:
            if (named := name_fault(error)) is None:
                raise
            user_error = named
        with suppress(MissingContextError):
            get_run_logger().error("", exc_info=user_error)  # nobody else logs it, unless its step did
        return Failed(message=one_line(user_error))

    return wrapper


def recompute_damaged(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a flow so that it starts over when a step met damaged bytes in the store.

    They are deleted by then, so that only the step they came from is not found finished.

    Raises:
        DamagedError: it happened again and again.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(_MOST_DAMAGED):
            try:
                return function(*args, **kwargs)
            except DamagedError as error:
                say(f"{error}", mark="!")
        return function(*args, **kwargs)

    return wrapper
