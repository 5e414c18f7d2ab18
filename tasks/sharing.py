"""Workers that share a store: each step is done by one of them, and the others take what it came to."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from prefect.context import FlowRunContext
from prefect.filesystems import LocalFileSystem
from prefect.transactions import get_transaction

from lora_core.digests import canonical_json, digest_of
from lora_core.refs import Ref
from lora_core.store import Store
from tasks.runtime import At, Step, accelerator, say, stop_if_asked

P = ParamSpec("P")
R = TypeVar("R")


def once(name: Step, function: Callable[P, R]) -> Callable[P, R]:
    """The function of a step, run by one process at a time for the same key.

    Whoever comes second waits and takes the first one's result. The lock ends with its holder, killed or not.
    """

    @wraps(function)
    def shared(*args: P.args, **kwargs: P.kwargs) -> R:
        at = next(value for value in (*args, *kwargs.values()) if isinstance(value, At))
        transaction = get_transaction()
        if transaction is None or not isinstance(transaction.key, str):
            raise RuntimeError(f"{name} was called outside of a step")
        store, key = at.open_store(), transaction.key
        with store.alone(key, _waiting(name)):
            # Not only after waiting: another may have finished between Prefect's look at the cache and ours.
            known = None if name in at.force else _known(store, key, inspect.signature(function).return_annotation)
            if known is not None:
                say(f"{name}: found finished by another run", mark="=")
                return cast(R, known)
            with accelerator(name, at):
                result = function(*args, **kwargs)
            store.set_record(_record_of(key), cast(Ref, result).model_dump(mode="json"))
            return result

    return shared


def _record_of(key: str) -> str:
    return digest_of(canonical_json(["step", key]))


def _known(store: Store, key: str, kind: type[Ref]) -> Ref | None:
    """What a step came to by a record of our own: Prefect's is written only after the lock was given back."""
    known = store.record(_record_of(key))
    found = kind.model_validate(known) if known else None
    return found if found and store.has_all(found) else None


def _waiting(name: Step) -> Callable[[float], None]:
    told = False

    def tell(seconds: float) -> None:
        nonlocal told
        stop_if_asked(name)
        if not told:
            told = True
            say(f"{name}: another run is doing this; waiting for it")

    return tell


@contextlib.contextmanager
def results_in(store: Store) -> Iterator[None]:
    """Keep Prefect's records of the block's steps in a store that is known only inside the flow.

    As `flow.with_options(result_storage=…)`, for flows that a deployment starts.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("results_in() was used outside of a flow")
    storage = LocalFileSystem(basepath=str(store.results))
    results = context.result_store.model_copy(update={"result_storage": storage})
    with context.model_copy(update={"result_store": results}):
        yield
