"""The one cache: what a piece of work came to, by its step, the step's version and its inputs.

Whole steps and the single pictures inside them have keys of one form, and take their versions from one table.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.local import Store
from lora_core.versions import Piece, Step, version_of

T = TypeVar("T")


def memo_key(work: Step | Piece, *inputs: Any) -> str:
    """The key of one piece of work: equal inputs, equal key, in every process and on every machine."""
    return digest_of(canonical_json([work, version_of(work), *map(_plain, inputs)]))


def memo(
    store: Store, key: str, schema: type[T], make: Callable[[], T], needs: Callable[[T], Iterable[str]] = lambda _: ()
) -> T:
    """The recorded result of a piece of work, or what `make` gives now, which is recorded.

    Work on many pictures at once, as a model wants it, asks `store.record` for each and records what was missing.

    Args:
        store: where the record is.
        key: from `memo_key`.
        schema: type of the result; a record of another form is missing.
        make: does the work.
        needs: digests that a result names; where bytes of them are gone the work is done again.
    """
    known = store.record(key, schema)
    if known is not None and all(map(store.has, needs(known))):
        return known
    made = make()
    store.set_record(key, made)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
