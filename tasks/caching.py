"""The only key function: when is a step's result still good? And who does it, when several ask at once?

A key is the SHA-256 of (step name, step version, canonical JSON of the inputs). Where a step runs (`At`) is no input:
it does not change what comes out. A record whose artifacts are gone is dropped before Prefect looks at it, so that just
that step runs again; what hangs on it stays cached, because its content hash comes out the same.

While a step runs, nobody else who shares the store runs the same one: they wait and take what it came to.
"""

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from prefect import Task
from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.context import TaskRunContext
from prefect.results import ResultRecord  # type: ignore[attr-defined]
from prefect.transactions import get_transaction
from pydantic import BaseModel

from lora_core.digests import canonical_json, digest_of
from lora_core.refs import Ref
from lora_core.store import Store
from tasks.runtime import At, Step, say_when_cached
from tasks.sharing import once

P = ParamSpec("P")
R = TypeVar("R")


def step_key(step: str, version: int, inputs: Mapping[str, Any]) -> str:
    """The key of one piece of work: equal inputs, equal key, in every process and on every machine."""
    return digest_of(canonical_json([step, version, {name: _plain(value) for name, value in inputs.items()}]))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


class LookedUp(NamedTuple):
    """A step of a run, and whether it was found finished."""

    step: str
    key: str
    cached: bool

    def seconds(self, store: Store) -> float | None:
        """How long it took when it was done; of one that was killed, its last piece."""
        known = store.record(_seconds_key(self.key))
        return float(known) if isinstance(known, int | float) else None


_looked_up: dict[str, dict[str, LookedUp]] = {}


def steps_of_run(flow_run_id: str) -> tuple[LookedUp, ...]:
    """The steps that a run has come to so far, in order, as this process saw them."""
    return tuple(_looked_up.get(flow_run_id, {}).values())


def _seconds_key(key: str) -> str:
    return digest_of(canonical_json(["seconds", key]))


@dataclass
class StepPolicy(CachePolicy):
    """Prefect's cache policy for a step, by `step_key`."""

    step: str = ""
    version: int = 1

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """The step's key; drops the record under it when it is forced or when its artifacts are gone."""
        at = next(value for value in inputs.values() if isinstance(value, At))
        key = step_key(self.step, self.version, {name: value for name, value in inputs.items() if value is not at})
        store = at.open_store()
        missing = self.step in at.force or recorded(store, key) is None
        if missing:
            (store.results / key).unlink(missing_ok=True)
        run = str(task_ctx.task_run.flow_run_id)
        _looked_up.setdefault(run, {}).setdefault(key, LookedUp(self.step, key, cached=not missing))
        return key


def recorded(store: Store, key: str) -> Ref | None:
    """What a step under this key came to, if everything it refers to is still in the store."""
    try:
        result = ResultRecord[Any].deserialize((store.results / key).read_bytes()).result
    except (OSError, ValueError):
        return None
    return result if isinstance(result, Ref) and store.has_all(result) else None


def found_finished(task: Task[..., R], *inputs: object) -> R | None:
    """What a step with these inputs came to, without running anything; None if it would have to run."""
    policy = task.cache_policy
    if not isinstance(policy, StepPolicy):
        raise TypeError(f"{task.name} is no cached step")
    bound = inspect.signature(task.fn).bind(*inputs).arguments
    at = next(value for value in bound.values() if isinstance(value, At))
    if policy.step in at.force:
        return None
    key = step_key(policy.step, policy.version, {name: value for name, value in bound.items() if value is not at})
    return cast(R | None, recorded(at.open_store(), key))


def step(name: Step, *, version: int) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a cached step. Raise `version` when the same inputs give another output.

    The function takes one `At` (where it runs) and otherwise refs and option models, and returns a ref.
    """

    def make(function: Callable[P, R]) -> Task[P, R]:
        return prefect_task(
            name=name,
            task_run_name=name,
            cache_policy=StepPolicy(step=name, version=version),
            persist_result=True,
            result_serializer="json",
            cache_result_in_memory=False,
            on_completion=[say_when_cached],
        )(_timed(once(name, function)))

    return make


def _timed(function: Callable[P, R]) -> Callable[P, R]:
    """Remember how long a step took, for the report."""

    @functools.wraps(function)
    def timed(*args: P.args, **kwargs: P.kwargs) -> R:
        started = time.monotonic()
        result = function(*args, **kwargs)
        at = next((value for value in (*args, *kwargs.values()) if isinstance(value, At)), None)
        transaction = get_transaction()
        if at is not None and transaction is not None:
            at.open_store().set_record(_seconds_key(str(transaction.key)), round(time.monotonic() - started, 2))
        return result

    return timed


def look(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a step that is never cached, because it looks at something outside the store."""

    def make(function: Callable[P, R]) -> Task[P, R]:
        return prefect_task(name=name, task_run_name=name, persist_result=False, cache_policy=NO_CACHE)(function)

    return make


def current_key() -> str:
    """The key of the step that is running: where a long step keeps its unfinished work."""
    transaction = get_transaction()
    if transaction is None or not isinstance(transaction.key, str):
        raise RuntimeError("current_key() was called outside of a step")
    return transaction.key
