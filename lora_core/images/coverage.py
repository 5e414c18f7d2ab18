"""What a set has of each composition and view, against the plan, and one set against the other.

The method asks for the same compositions and angles in both sets: what only one of them shows, the character LoRA takes
for the character.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from pydantic import Field

from lora_core.dataset import Entry, Frozen, Manifest, View
from lora_core.errors import DatasetError
from lora_core.recipe import COMPOSITIONS, Composition, ShotPlan


class ViewCounts(Frozen):
    """How often each set shows a composition from one side or height."""

    view: View
    there: tuple[int, ...]


class CompositionCounts(Frozen):
    """How often each set shows a composition."""

    composition: Composition | None = Field(description="None: nobody knows.")
    planned: int
    there: tuple[int, ...]
    views: tuple[ViewCounts, ...] = Field(description="Empty: not every set was looked at by a tagger.")

    @property
    def against_plan(self) -> tuple[int, ...]:
        """What each set has more than planned; missing ones are negative."""
        return tuple(count - self.planned for count in self.there)

    @property
    def difference(self) -> int:
        """What the last set has more than the first."""
        return self.there[-1] - self.there[0]


class Coverage(Frozen):
    """A table: one row a composition, one column a set."""

    sets: tuple[str, ...] = Field(description="What the sets are called.")
    settled: bool = Field(description="A tagger has looked at every picture: what is unknown now stays unknown.")
    rows: tuple[CompositionCounts, ...]


def coverage(plan: ShotPlan, sets: Mapping[str, Manifest]) -> Coverage:
    """Count sets, by what messages call them, against the plan that holds for each."""
    every = [entry for manifest in sets.values() for entry in manifest.entries]
    known = all(entry.view is not None for entry in every)
    rows = []
    for composition in (*COMPOSITIONS, None):
        shown = [[one for one in each.entries if one.composition == composition] for each in sets.values()]
        if composition is None and not any(shown):
            continue
        rows.append(
            CompositionCounts(
                composition=composition,
                planned=plan.count(composition) if composition else 0,
                there=tuple(map(len, shown)),
                views=_views(shown) if known else (),
            )
        )
    settled = all(entry.view is not None or entry.composition is not None for entry in every)
    return Coverage(sets=tuple(sets), settled=settled, rows=tuple(rows))


def _views(shown: list[list[Entry]]) -> tuple[ViewCounts, ...]:
    counts = (
        ViewCounts(view=view, there=tuple(sum(view in seen_from(one) for one in each) for each in shown))
        for view in get_args(View)
    )
    return tuple(each for each in counts if any(each.there))


def seen_from(entry: Entry) -> tuple[View, ...]:
    """A picture's views; one that nobody says is from the side or behind is straight-on."""
    views = entry.view or ()
    return views if {"straight-on", "from_side", "from_behind"} & set(views) else ("straight-on", *views)


def warnings(found: Coverage) -> tuple[str, ...]:
    """What a person should know before training, a line a set and kind: what is missing, what only the other shows."""
    return (
        *_told("missing", _missing, found),
        *_told("without a composition:", _unknown, found),
        *unequal_views(found),
    )


def unequal_views(found: Coverage) -> tuple[str, ...]:
    """Views that one set lacks and another one has, where both have the composition at all."""
    return tuple(_told("lacks", _lacking, found))


def _told(what: str, find: Callable[[Coverage, int], Iterable[str]], found: Coverage) -> Iterator[str]:
    """A line for every set of which there is something to tell."""
    for place, name in enumerate(found.sets):
        if told := ", ".join(find(found, place)):
            yield f"{name}: {what} {told}"


def _missing(found: Coverage, place: int) -> Iterator[str]:
    for row in found.rows:
        if row.against_plan[place] < 0 and row.composition:
            yield f"{-row.against_plan[place]} of {row.planned} {row.composition}"


def _unknown(found: Coverage, place: int) -> Iterator[str]:
    return (str(row.there[place]) for row in found.rows if row.composition is None and row.there[place])


def _lacking(found: Coverage, place: int) -> Iterator[str]:
    for row in found.rows:
        for view in row.views if all(row.there) else ():
            most = max(view.there)
            if not view.there[place]:
                yield f"{row.composition} {view.view} ({found.sets[view.there.index(most)]} has {most})"


def signed(more: int) -> str:
    """How many more, with its sign; nothing where there are as many."""
    return f"{more:+d}".replace("-", "−") if more else ""


def refuse_empty(found: Coverage) -> None:
    """Stop at a set that lacks a planned composition altogether, once it is clear that it does.

    Raises:
        DatasetError: naming the set and the composition.
    """
    empty = [
        (name, row)
        for row in found.rows
        for name, there in zip(found.sets, row.there, strict=True)
        if found.settled and row.composition and row.planned and not there
    ]
    if empty:
        name, row = empty[0]
        more = "".join(f"; {other}: no {each.composition} either" for other, each in empty[1:])
        raise DatasetError(
            f"{name}: no {row.composition} picture, {row.planned} planned{more}; "
            f"take some, or set plan.{row.composition} = 0"
        )
