"""Where a run begins and ends: a user's mistake is one line there; damaged bytes are made again, not told of."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Failed

from lora_core.errors import DamagedError, UserError
from tasks.runtime import say

P = ParamSpec("P")
R = TypeVar("R")

# A disk that damages more than that in one run should be replaced, and its owner be told.
_MOST_DAMAGED = 10


def telling_user_errors(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Let a flow end as Failed with the message alone when the user can mend it."""

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            return Failed(message=" ".join(str(error).split()))

    return told


def making_damaged_bytes_again(function: Callable[P, R]) -> Callable[P, R]:
    """Let the graph be walked once more when a step met damaged bytes in the store.

    They are gone then, so that the step they came from is no longer found finished; all others are.

    Raises:
        DamagedError: it happened again and again.
    """

    @wraps(function)
    def mended(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(_MOST_DAMAGED):
            try:
                return function(*args, **kwargs)
            except DamagedError as error:
                say(f"{error}", mark="!")
        return function(*args, **kwargs)

    return mended
