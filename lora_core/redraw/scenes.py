"""A small grammar of scenes: which prompt and seed every redrawn picture has.

A picture's scene depends on its number, the seed and the lists alone, never on how many there are: drawing more keeps
those that are drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import floor
from typing import NamedTuple

from pydantic import Field

from lora_core.captions import taxonomy
from lora_core.captions.edit import Edited, is_people
from lora_core.captions.tags import escaped, spaced
from lora_core.dataset import Frozen
from lora_core.recipe import COMPOSITIONS, Composition, Redraw, ShotPlan
from lora_core.store.digests import digest_of

_COMMON = 0.5
"""Share of captions that have a tag which all of them are meant to have."""


class Scene(Frozen):
    """What one picture is to show.

    Attributes:
        framing: its composition.
        clothes: its entry of the recipe's list; empty: none.
        pose: likewise.
        place: likewise, of the scenes.
        prompt: as drawn.
        seed: of its noise.
        screenshot: the one that it begins with; empty: it begins with noise alone.
    """

    framing: Composition
    clothes: str
    pose: str
    place: str
    prompt: str
    seed: int
    screenshot: str = Field(default="", exclude_if=lambda name: not name)


class Seen(NamedTuple):
    """A screenshot as pictures begin with it.

    Attributes:
        name: its own.
        framing: its composition.
        tags: canonical tags of its caption, without words for the look.
    """

    name: str
    framing: Composition
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """Who is drawn: what every prompt says, and what the screenshots show.

    Attributes:
        trigger: the character's.
        people: such as 1girl, solo.
        traits: canonical tags.
        has_outfit: clothes are among the traits.
        seen: what the tagger reads on the screenshots, but for what may be a mistake.
    """

    trigger: str
    people: tuple[str, ...]
    traits: tuple[str, ...]
    has_outfit: bool = False
    seen: tuple[str, ...] = ()


def people_of(edited: Sequence[Edited]) -> tuple[str, ...]:
    """Who is in the pictures, as at least half of the captions say: 1girl, solo."""
    tags = dict.fromkeys(tag for one in edited for tag in one.tags if is_people(tag))
    return tuple(tag for tag in tags if sum(tag in one.tags for one in edited) >= _COMMON * len(edited))


def scenes(figure: Figure, plan: ShotPlan, options: Redraw, screenshots: Sequence[Seen] = ()) -> tuple[Scene, ...]:
    """The scenes of all pictures: compositions by the plan's shares, and every entry of a list about equally often.

    Pictures that begin with a screenshot are spread evenly among the others, and have all screenshots in turn.
    """
    free, begun = _free(figure, plan, options), _begun(figure, options, screenshots)
    share = options.from_screenshots if screenshots else 0.0
    numbers = range(options.candidates)
    found = (next(begun if whole_share(number + 1, share) > whole_share(number, share) else free) for number in numbers)
    return tuple(
        scene.model_copy(update={"seed": options.seed + number}) for number, scene in zip(numbers, found, strict=True)
    )


def whole_share(count: int, share: float) -> int:
    """So large a share of a count of pictures, rounded; Python's own `round` would spread halves unevenly."""
    return floor(count * share + 0.5)


def _free(figure: Figure, plan: ShotPlan, options: Redraw) -> Iterator[Scene]:
    """Scenes that begin with noise, without end."""
    clothes = () if figure.has_outfit else options.clothes
    slots = (_in_turn(clothes, "clothes", options), _in_turn(options.poses, "poses", options))
    places = _in_turn(options.scenes, "scenes", options)
    for composition, worn, pose, place in zip(compositions(plan), *slots, places, strict=False):
        yield _scene(figure, options, composition, worn, pose, place)


def _begun(figure: Figure, options: Redraw, screenshots: Sequence[Seen]) -> Iterator[Scene]:
    """Scenes that begin with a screenshot, without end: its own caption, and the traits that can be seen there."""
    by_name = {one.name: one for one in screenshots}
    for name in _in_turn(tuple(by_name), "screenshots", options):
        seen = by_name[name]
        traits = (trait for trait in figure.traits if not taxonomy.is_hidden(trait, seen.tags))
        tags = (*figure.people, seen.framing, *traits, *seen.tags)
        prompt = ", ".join(dict.fromkeys((figure.trigger, *map(_in_prompt, tags))))
        yield Scene(framing=seen.framing, clothes="", pose="", place="", prompt=prompt, seed=0, screenshot=name)


def compositions(plan: ShotPlan) -> Iterator[Composition]:
    """As many as are taken: their shares are the plan's to within one picture."""
    planned = {each: plan.count(each) for each in COMPOSITIONS if plan.count(each)}
    total = sum(planned.values())
    had = dict.fromkeys(planned, 0)
    for taken in count(1):
        most = max(planned, key=lambda each: planned[each] * taken / total - had[each])
        had[most] += 1
        yield most


def screenshots_beside(pictures: int, share: float) -> int:
    """How many screenshots stand beside redrawn pictures, so that so large a share of the whole, below 1, are such."""
    return round(pictures * share / (1 - share))


def quotas(plan: ShotPlan, pictures: int) -> dict[Composition, int]:
    """How many of each composition make so many pictures in the plan's shares; 0 pictures: the plan itself."""
    if not pictures:
        return {each: plan.count(each) for each in COMPOSITIONS}
    taken = list(islice(compositions(plan), pictures))
    return {each: taken.count(each) for each in COMPOSITIONS}


def _in_turn(entries: Sequence[str], slot: str, options: Redraw) -> Iterator[str]:
    """All entries in an order that the seed decides, then all of them in another order, without end."""
    if not entries:
        entries = ("",)
    for turn in count():
        yield from sorted(entries, key=lambda entry: digest_of(f"{options.seed} {slot} {turn} {entry}".encode()))


def _in_prompt(tag: str) -> str:
    """A tag as a prompt names it: its brackets are no emphasis."""
    return escaped(spaced(tag))


def _scene(figure: Figure, options: Redraw, composition: Composition, clothes: str, pose: str, place: str) -> Scene:
    filled = options.prompt.format(
        trigger=figure.trigger,
        people=", ".join(map(_in_prompt, figure.people)),
        framing=spaced(composition),
        traits=", ".join(map(_in_prompt, figure.traits)),
        clothes=clothes,
        pose=pose,
        scene=place,
    )
    parts = (part.strip() for part in filled.split(","))
    return Scene(
        framing=composition,
        clothes=clothes,
        pose=pose,
        place=place,
        prompt=", ".join(dict.fromkeys(part for part in parts if part)),
        seed=0,
    )
