"""How the graph of `flows/graph.py` is walked: run to its end, run to a target, or peeked at.

A node asks here. While somebody peeks, or behind the target, it runs nothing: it answers with what it came to, or with
a pending ref of its kind. A pending ref names the nodes that it waits for, so the walk knows the graph's edges.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from types import UnionType
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar, cast, get_args

from pydantic import BaseModel

from lora_core.errors import DatasetError
from lora_core.refs import Ref, pending
from tasks.runtime import holding
from tasks.steps import Branch, Step, Until

P = ParamSpec("P")
R = TypeVar("R")


class Visit(NamedTuple):
    """A node that was peeked at.

    Attributes:
        step: its name.
        branch: the set it is done for, where it is done for both.
        ref: what it came to; None: it would have to run.
        after: numbers of the visits that its inputs come from.
    """

    step: Step
    branch: Branch
    ref: Ref | None
    after: frozenset[int]


@dataclass
class Walk:
    """One way through the graph.

    Attributes:
        until: the target.
        peeking: no step runs; only manifests of what was found are written.
        arrived: the target is there; whatever comes now is pending.
        visits: the cached nodes so far, while peeking.
        uncached: the others, and the visits that each comes after.
    """

    until: Until = "publish"
    peeking: bool = False
    arrived: bool = False
    visits: list[Visit] = field(default_factory=list)
    uncached: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    _origins: dict[str, frozenset[int]] = field(default_factory=dict)

    def visited(self, step: Step, branch: Branch, kind: type[R], inputs: Iterable[object], ref: Ref | None) -> R:
        """Note a node; returns what it came to, or a pending ref."""
        number = len(self.visits)
        self.visits.append(Visit(step, branch, ref, self.behind(inputs)))
        found = pending(cast(type[Ref], kind), str(number)) if ref is None else ref
        self._origins[found.sha256] = frozenset((number,))
        return cast(R, found)

    def derived(self, value: object, inputs: Iterable[object]) -> None:
        """Note that a ref was made of others by no node of its own."""
        for ref in refs_in(value):
            self._origins.setdefault(ref.sha256, self.behind(inputs))

    def waiting(self, annotation: Any, inputs: Iterable[object]) -> Any:
        """What stands for a result that is not there: a pending ref, or the empty value of another type."""
        kind = next((each for each in (annotation, *get_args(annotation)) if _is_ref(each)), None)
        if kind is None or isinstance(annotation, UnionType):
            return "" if annotation is str else None
        made = pending(kind, " ".join(map(str, sorted(self.behind(inputs)))))
        self.derived(made, inputs)
        return made

    def behind(self, inputs: Iterable[object]) -> frozenset[int]:
        """Numbers of the nodes that inputs come from."""
        return frozenset().union(*(self._origins.get(ref.sha256, frozenset()) for ref in refs_in(tuple(inputs))))


_walk: ContextVar[Walk | None] = ContextVar("walk", default=None)


@contextlib.contextmanager
def walking(until: Until = "publish", *, peeking: bool = False) -> Iterator[Walk]:
    """Walk the graph in this block to a target, or peek at it."""
    walk = Walk(until, peeking)
    token = _walk.set(walk)
    try:
        yield walk
    finally:
        _walk.reset(token)


def idle_walk() -> Walk | None:
    """The walk, if nothing may run now: it peeks, or its target is there."""
    walk = _walk.get()
    return walk if walk and (walk.peeking or walk.arrived) else None


def target() -> Until:
    """Where the walk is to end."""
    walk = _walk.get()
    return walk.until if walk else "publish"


@dataclass(frozen=True)
class Stage:
    """Steps that are done together, so that a run ends after all of them."""

    steps: frozenset[Until]

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Let the walk arrive at the end of a paragraph, if one of its steps is the target."""

        @wraps(function)
        def paragraph(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            walk = _walk.get()
            if walk and walk.until in self.steps:
                walk.arrived = True
            return result

        return paragraph


def stage(*steps: Until) -> Stage:
    """A paragraph of the graph, by its steps."""
    return Stage(frozenset(steps))


def helper(*, peek: Literal["run", "try", "skip"] = "skip") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a part of the graph that is no node: never cached, and not in the UI.

    Args:
        peek: what it does while somebody peeks at the graph: what it always does; the same, but what it refuses is
            pending; nothing.
    """

    def make(function: Callable[P, R]) -> Callable[P, R]:
        returns, held = inspect.signature(function).return_annotation, holding(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if (walk := idle_walk()) is None:
                return held(*args, **kwargs)
            inputs = (*args, *kwargs.values())
            if walk.arrived or peek == "skip" or is_waiting(inputs):
                return cast(R, walk.waiting(returns, inputs))
            try:
                result = held(*args, **kwargs)
            except DatasetError:
                if peek == "run":
                    raise
                return cast(R, walk.waiting(returns, inputs))
            walk.derived(result, inputs)
            return result

        return call

    return make


def refs_in(value: object) -> Iterator[Ref]:
    """Every ref in an input, however deep."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from refs_in(each)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from refs_in(getattr(value, name))
    elif is_dataclass(value):
        for one in fields(value):
            yield from refs_in(getattr(value, one.name))


def is_waiting(inputs: Iterable[object]) -> bool:
    """Whether an input is not there yet."""
    return any(ref.is_pending for ref in refs_in(tuple(inputs)))


def _is_ref(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Ref)
