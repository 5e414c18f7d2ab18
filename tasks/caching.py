"""The only key function: when is a step's result still good? And who does it, when several ask at once?

Keys are made by `lora_core.store.memo`. Where a step runs (`RunContext`) is no input: it does not
change what comes out. What a step came to is a record of the store; one whose artifacts are gone counts for nothing, so
that just that step runs again; what hangs on it stays cached, because its content hash comes out the same. Prefect
keeps no results of its own: it shows a step that was found finished as Cached.

While a step runs, nobody else who shares the store runs the same one: they wait and take what it came to.
"""

import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Generic, Literal, NamedTuple, ParamSpec, TypeVar, cast

from prefect import Task
from prefect import task as prefect_task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.tasks import TaskRunNameCallbackWithParameters
from prefect.transactions import TransactionState, get_transaction
from pydantic import BaseModel, ConfigDict

from lora_core.refs import Ref, pending
from lora_core.store import Store
from lora_core.store.memo import memo_key
from lora_core.store.records import earlier_records, recorded_earlier
from tasks.runtime import RunContext, Step, accelerator, holding, say, say_when_cached, stop_if_asked
from tasks.walking import Walk, idle_walk, is_waiting, walking

P = ParamSpec("P")
R = TypeVar("R")


class StepRecord(BaseModel):
    """What a step came to, and how long it took; of one that was killed, its last piece."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: Ref
    seconds: float
    step: str = ""


class LookedUp(NamedTuple):
    """A step of a run, and whether it was found finished."""

    step: str
    key: str
    cached: bool

    def seconds(self, store: Store) -> float | None:
        """How long it took when it was done."""
        known = store.record(self.key, StepRecord)
        return known.seconds if known else None


_looked_up: dict[str, dict[str, LookedUp]] = {}


def steps_of_run(flow_run_id: str) -> tuple[LookedUp, ...]:
    """The steps that a run has come to so far, in order, as this process saw them."""
    return tuple(_looked_up.get(flow_run_id, {}).values())


def recorded(store: Store, key: str) -> Ref | None:
    """What a step under this key came to, if everything it refers to is still in the store."""
    known = store.record(key, StepRecord)
    ref = known.ref if known else recorded_earlier(store.root, key)
    return ref if ref and store.has_all(ref) else None


def _record(store: Store, step: Step, key: str, result: object, seconds: float) -> None:
    record = StepRecord(ref=cast(Ref, result), seconds=round(seconds, 2), step=step)
    store.set_record(key, record.model_dump(mode="json"))
    (earlier_records(store.root) / key).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Definition(Generic[P, R]):
    """A step as it was declared."""

    name: Step
    function: Callable[P, R]
    kind: type[Ref]

    def key(self, *args: P.args, **kwargs: P.kwargs) -> tuple[RunContext, str]:
        """Where it runs, and the key of its result."""
        at, inputs = inputs_of(self.function, *args, **kwargs)
        return at, memo_key(self.name, inputs)

    def found(self, store: Store, key: str, at: RunContext) -> R | None:
        """What it came to, if that is recorded and it is not forced."""
        known = None if self.name in at.force else recorded(store, key)
        if known is None or known.kind != self.kind.model_fields["kind"].default:
            return None
        return cast(R, self.kind.model_validate(known.model_dump()))

    def once(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Find the result, wait for another who works on it, or work on it and record what comes out."""
        at, key = self.key(*args, **kwargs)
        store = at.open_store()
        known = self.found(store, key, at)
        _remember(self.name, key, cached=known is not None)
        if known is not None:
            if store.record(key, StepRecord) is None:  # an earlier version's is made ours
                _record(store, self.name, key, known, -1)
            _show_as_cached()
            return known
        with store.alone(key, _waiting(self.name)):
            # Not only after waiting: another may have finished between our look and our lock.
            known = self.found(store, key, at)
            if known is not None:
                say(f"{self.name}: found finished by another run", mark="=")
                return known
            started = time.monotonic()
            with accelerator(self.name, at):
                result = _under_key(key, self.function, *args, **kwargs)
            _record(store, self.name, key, result, time.monotonic() - started)
            return result


def inputs_of(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> tuple[RunContext, dict[str, object]]:
    """Where a step runs, and what its key is made of: a group (`tasks/groups.py`) is its fields.

    A field that is left at its default does not count, so that a group can grow and known keys stay.
    """
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    at = next(value for value in bound.values() if isinstance(value, RunContext))
    inputs: dict[str, object] = {}
    for name, value in bound.items():
        if value is not at:
            fields: Callable[[], dict[str, object]] | None = getattr(value, "_asdict", None)
            usual: dict[str, object] = getattr(value, "_field_defaults", {})
            given = fields() if fields else {name: value}
            own = {field: each for field, each in given.items() if field not in usual or each != usual[field]}
            if twice := own.keys() & inputs.keys():
                raise RuntimeError(f"two inputs are named {min(twice)!r}, so the key would miss one of them; rename it")
            inputs |= own
    return at, inputs


class Node(Generic[P, R]):
    """A node of the graph: a task of Prefect's; where nothing may run (`tasks.walking`), what is known of it."""

    def __init__(self, task: Task[P, R], idle: Callable[Concatenate[Walk, P], R]) -> None:
        self._task, self._idle = task, idle
        self.name, self.fn = task.name, task.fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it, or say what it came to."""
        if walk := idle_walk():
            return self._idle(walk, *args, **kwargs)
        return self._task(*args, **kwargs)

    def begin(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
        """Run it in the background; returns what waits for the result."""
        future: PrefectFuture[R] = self._task.submit(*args, **kwargs)
        return future.result

    def is_finished(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether it has nothing to do with these inputs."""
        with walking(peeking=True) as walk:
            self(*args, **kwargs)
        return walk.visits[-1].ref is not None


def step(name: Step) -> Callable[[Callable[P, R]], Node[P, R]]:
    """Make a function a cached step. Raise its version in lora_core/versions.py when its output changes.

    The function takes one `RunContext` (where it runs) and otherwise refs and option models, and returns a ref.
    """

    def make(function: Callable[P, R]) -> Node[P, R]:
        kind: type[Any] = inspect.signature(function).return_annotation
        definition = _Definition(name, function, kind)

        @wraps(function)
        def once(*args: P.args, **kwargs: P.kwargs) -> R:
            return definition.once(*args, **kwargs)

        def idle(walk: Walk, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if walk.arrived:
                return cast(R, pending(kind))
            found = None
            inputs = (*args, *kwargs.values())
            at = next(value for value in inputs if isinstance(value, RunContext))
            if not is_waiting(inputs):
                found = definition.found(at.open_store(), definition.key(*args, **kwargs)[1], at)
            return cast(R, walk.visited(name, at.branch, kind, inputs, cast(Ref | None, found)))

        return Node(_task(name, once, on_completion=[say_when_cached]), idle)

    return make


def uncached(name: Literal["publish", "draw more"]) -> Callable[[Callable[P, R]], Node[P, R]]:
    """Make a function a node that is done in every run, because its result lies outside the store."""

    def make(function: Callable[P, R]) -> Node[P, R]:
        returns = inspect.signature(function).return_annotation

        def idle(walk: Walk, /, *args: P.args, **kwargs: P.kwargs) -> R:
            inputs = (*args, *kwargs.values())
            walk.uncached.append((name, walk.behind(inputs)))
            return cast(R, walk.waiting(returns, inputs))

        return Node(_task(name, function), idle)

    return make


def _task(name: str, function: Callable[P, R], **hooks: Any) -> Task[P, R]:
    def named(parameters: dict[str, Any]) -> str:
        at = next((value for value in parameters.values() if isinstance(value, RunContext)), None)
        return f"{name} {at.branch}" if at and at.branch else name

    of_set = cast(TaskRunNameCallbackWithParameters, named)
    return prefect_task(name=name, task_run_name=of_set, persist_result=False, cache_policy=NO_CACHE, **hooks)(
        holding(function)
    )


_key: ContextVar[str] = ContextVar("key")


def current_key() -> str:
    """The key of the step that is running: where a long step keeps its unfinished work."""
    try:
        return _key.get()
    except LookupError:
        raise RuntimeError("current_key() was called outside of a step") from None


def _under_key(key: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    token = _key.set(key)
    try:
        return function(*args, **kwargs)
    finally:
        _key.reset(token)


def _remember(step: str, key: str, *, cached: bool) -> None:
    context = TaskRunContext.get()
    run = str(context.task_run.flow_run_id) if context else ""
    _looked_up.setdefault(run, {}).setdefault(key, LookedUp(step, key, cached))


def _show_as_cached() -> None:
    """Let Prefect name the state of the running task as it names those that it finds finished itself."""
    if transaction := get_transaction():
        transaction.state = TransactionState.COMMITTED


def _waiting(name: Step) -> Callable[[float], None]:
    told = False

    def tell(seconds: float) -> None:
        nonlocal told
        stop_if_asked(name)
        if not told:
            told = True
            say(f"{name}: another run is doing this; waiting for it")

    return tell
