"""Where a run in Prefect begins and ends: a user's mistake is one line there, not a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.states import Failed

from lora_core.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")


def telling_user_errors(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Let a flow end as Failed with the message alone when the user can mend it."""

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            return Failed(message=" ".join(str(error).split()))

    return told
