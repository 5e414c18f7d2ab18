"""Where a run begins and ends: a user's mistake is one line there; damaged bytes are made again, not told of."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import ValidationError, validate_call

from flows.logs import tell, tell_mistakes_in_one_line
from lora_core.bounded import name_fault
from lora_core.errors import DamagedError, HeadcanonError, RecipeError
from lora_core.printable import one_line
from lora_core.recipe import Recipe
from lora_core.recipe_file import explain
from tasks.runtime import say

P = ParamSpec("P")
R = TypeVar("R")

# A disk that damages more than that in one run should be replaced, and its owner be told.
_MOST_DAMAGED = 10


tell_mistakes_in_one_line()


def telling_user_errors(function: Callable[P, R]) -> Callable[P, R | State[Any]]:
    """Let a flow that met what is raised on purpose end as Failed, with the message alone in its state and in Logs.

    What a form says is checked here too, so that the flow itself leaves it to this (`validate_parameters=False`).
    """
    checked: Callable[..., Any] = validate_call(function)
    signature = inspect.signature(function)

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            by_name: Any = signature.bind(*args, **kwargs).arguments  # so that a mistake says whose it is
            return cast(R, checked(**by_name))
        except ValidationError as error:
            if error.title != function.__qualname__:  # of something else than the form
                raise
            mistake: HeadcanonError = RecipeError(explain(error, Recipe))
        except HeadcanonError as error:
            mistake = error
        except OSError as error:
            if (named := name_fault(error)) is None:
                raise
            mistake = named
        tell(mistake)
        return Failed(message=one_line(mistake))

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
