"""The method's caption edits, in its order: pure, idempotent, every change with its reason.

Each edit takes a set of canonical tags and what is known of the picture, and returns the new set with its changes.
The order of tags is decided once, at the end, so no edit can depend on it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from lora_core.captions import taxonomy
from lora_core.captions.rules import Override, Rules, matches
from lora_core.captions.tags import canonical
from lora_core.dataset import HEIGHTS, SIDES, Entry, Scores
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS, Composition, Outfit


def framing_of(entry: Entry, override: Composition | None) -> tuple[Composition, str]:
    """The framing, and where it comes from.

    Raises:
        CaptionError: nobody said it; a wrong framing teaches the wrong picture, so none is guessed here.
    """
    if override is not None:
        return override, f"{override}, as the rule file says"
    if entry.composition is not None:
        return entry.composition, f"{entry.composition} is the screenshot's composition"
    raise CaptionError(
        f"{entry.source}: its composition is unknown, and the tagger is not sure; say it in composition.csv, by a "
        f"sub-folder, at the start of the file name ({', '.join(COMPOSITIONS)}), or as images.{entry.name}.framing in "
        "the rule file"
    )


Tags = frozenset[str]
Select = Callable[[Scores], Mapping[str, float]]
"""Which of a picture's scores are tags to begin with."""

_PEOPLE = re.compile(r"\d\+?(girl|boy|other)s?")
# The method's source gives no number; below this the tagger sees no nose at all at this size.
_FACE_SCORE = 0.15


def is_people(tag: str) -> bool:
    """Whether a tag says who is in the picture: 1girl, 2boys, solo."""
    return tag == "solo" or _PEOPLE.fullmatch(tag) is not None


EditKind = Literal["replace", "traits", "outfit", "foreign", "framing", "look", "face", "override", "trigger"]
"""Which edit changed a tag: what code decides by (the judge measures identity on what `traits` removed).
`Change.reason` is the same in words, for people."""


Action = Literal["removed", "added"]


@dataclass(frozen=True)
class Change:
    """One tag that went or came, and the rule that did it, as it is stored."""

    tag: str
    action: Action
    kind: EditKind
    rule: str

    @property
    def reason(self) -> str:
        """The rule without its number in the method, which is stored with it."""
        return self.rule.lstrip("123456 ")


@dataclass(frozen=True)
class Edited:
    """One picture's caption before and after.

    Attributes:
        name: the picture's.
        before: what the tagger said, best first.
        tags: the caption in training order.
        changes: in the order of the edits.
    """

    name: str
    before: tuple[str, ...]
    tags: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Picture:
    """What the edits know of a picture besides its tags."""

    entry: Entry
    scores: Scores
    rules: Rules
    trigger: str

    @property
    def outfit(self) -> Outfit | None:
        """What the character wears on it, where that has words of its own."""
        outfit = self.rules.outfit_of(self.entry.source)
        return outfit if outfit and outfit.words else None

    @property
    def override(self) -> Override:
        """What this picture is told apart from the rest."""
        return self.rules.images.get(self.entry.name, Override())

    def score(self, tag: str) -> float:
        """The tagger's probability, 0 below its floor."""
        return self.scores.of(tag) or 0.0


def edit(entry: Entry, scores: Scores, rules: Rules, trigger: str, select: Select) -> Edited:
    """Caption one picture from its raw scores: those that `select` takes are its tags to begin with.

    Raises:
        CaptionError: nobody has said the composition.
    """
    said = select(scores)
    before = tuple(dict.fromkeys(canonical(tag) for tag in sorted(said, key=lambda tag: (-said[tag], tag))))
    picture = Picture(entry, scores, rules, trigger)
    tags, changes = edit_tags(frozenset(before), picture)
    return Edited(entry.name, before, ordered(tags, picture), changes)


def edit_tags(tags: Tags, picture: Picture) -> tuple[Tags, tuple[Change, ...]]:
    """All edits, in the method's order; a change that a later edit takes back is not reported."""
    changes: dict[str, Change] = {}
    start = tags
    for kind, edit_one in EDITS.items():
        after, rule_of = edit_one(tags, picture)
        for tag in sorted(tags - after):
            changes.pop(tag, None)
            changes[tag] = Change(tag, "removed", kind, rule_of(tag))
        for tag in sorted(after - tags):
            changes.pop(tag, None)
            changes[tag] = Change(tag, "added", kind, rule_of(tag))
        tags = after
    real = (change for change in changes.values() if (change.tag in start) == (change.action == "removed"))
    return tags, tuple(real)


RuleOf = Callable[[str], str]
Edit = Callable[[Tags, Picture], tuple[Tags, RuleOf]]


def replace(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """Before the others: one tag for another, as the rule file says."""
    pairs = picture.rules.replace

    def rule(tag: str) -> str:
        return next((f"replace: {old} → {new}" for old, new in pairs.items() if tag in (old, new)), "replace")

    return frozenset(pairs.get(tag, tag) for tag in tags), rule


def remove_traits(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """1: what the character is goes, by family, so that it binds to the trigger; with it the outfit that is its own."""
    rules = picture.rules
    going = {tag for tag in tags if rules.prune and rules.is_memorized(tag)}

    def rule(tag: str) -> str:
        if taxonomy.family_of(tag) in rules.families():
            return f"1 traits: {taxonomy.family_of(tag)}"
        return "1 traits: memorized" if tag in rules.memorize else "1 traits: the character's outfit"

    return tags - going, rule


def remove_outfit(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """And what is worn on this picture, so that it binds to the outfit's words."""
    outfit, rules = picture.outfit, picture.rules
    if outfit is None or not rules.prune:
        return tags, str
    going = {tag for tag in tags if any(matches(tag, pattern) for pattern in outfit.tags)}
    return tags - (going - set(rules.keep)), lambda tag: f"1 outfit: {outfit.words}"


def drop_foreign(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """2: what does not belong goes: names of characters and works, marks of the file, what the rule file drops."""
    rules = picture.rules
    names = {canonical(tag) for tag in picture.scores.character}

    def rule(tag: str) -> str:
        if rules.drops(tag):
            return "2 does not belong: the rule file drops it"
        if tag in names:
            return "2 does not belong: a name that the tagger guessed"
        return "2 does not belong: about the file, not the picture" if taxonomy.is_foreign(tag) else ""

    return tags - {tag for tag in tags if rule(tag) and tag not in rules.keep}, rule


def set_framing(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """3: exactly one framing, at most one side and one height of view."""
    framing, reason = framing_of(picture.entry, picture.override.framing)
    views = _views(tags, picture)
    kept = frozenset(tag for tag in tags if not taxonomy.is_framing(tag) and tag not in (*SIDES, *HEIGHTS))

    def rule(tag: str) -> str:
        if taxonomy.is_framing(tag):
            return f"3 framing: {reason}"
        if picture.override.view:
            return "3 view: the rule file says so"
        return f"3 view: {'the likelier one stays' if picture.entry.view is None else 'read off the screenshot'}"

    return kept | {framing} | views, rule


def _views(tags: Tags, picture: Picture) -> Tags:
    if picture.override.view or picture.entry.view is not None:
        return frozenset(picture.override.view or picture.entry.view or ())
    found = set()
    for choices in (SIDES, HEIGHTS):
        here = [view for view in choices if view in tags]
        if here:
            found.add(min(here, key=lambda view: (-picture.score(view), view)))
    return frozenset(found)


def add_look(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """4: `realistic` on every picture, so that the 3D look binds to it."""
    return tags | set(picture.rules.add), lambda tag: "4 soaks up the 3D look: on every picture"


def add_face(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """5: `nose` and `lips` where a face shows.

    Close-up and portrait get both, an upper body those that the tagger sees at all, a cowboy shot those that it already
    has, a back view none.
    """
    face, shown = set(picture.rules.face), picture.override.face
    if shown is None and "from_behind" in tags:
        shown = False
    if shown is None and tags & {"close-up", "portrait"}:
        shown = True
    if shown is not None:
        reason = "5 face: it shows" if shown else "5 face: it does not show"
        return (tags | face if shown else tags - (face - set(picture.rules.keep))), lambda tag: reason
    seen = {tag for tag in face if "upper_body" in tags and picture.score(tag) >= _FACE_SCORE}
    return tags | seen, lambda tag: f"5 face: seen at {picture.score(tag):.2f}"


def override_one(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """What the rule file says of this one picture, after the general edits."""
    override = picture.override
    return (tags - set(override.drop)) | set(override.add), lambda tag: f"images.{picture.entry.name}"


def set_trigger(tags: Tags, picture: Picture) -> tuple[Tags, RuleOf]:
    """6: the trigger, once, and the words of the outfit; `ordered` puts them first."""
    alike = {tag for tag in tags if tag == canonical(picture.trigger)}
    worn = {canonical(picture.outfit.words)} if picture.outfit else set()
    return (tags - alike) | {picture.trigger} | worn, lambda tag: "6 trigger: first and once"


EDITS: Mapping[EditKind, Edit] = {
    "replace": replace,
    "traits": remove_traits,
    "outfit": remove_outfit,
    "foreign": drop_foreign,
    "framing": set_framing,
    "look": add_look,
    "face": add_face,
    "override": override_one,
    "trigger": set_trigger,
}
"""In the method's order."""


def ordered(tags: Tags, picture: Picture) -> tuple[str, ...]:
    """Training order: trigger, people, solo, framing, view, the rules' `add` and `face`, the rest by score and name."""
    rules = picture.rules

    def place(tag: str) -> tuple[int, float, str]:
        fixed = (*SIDES, *HEIGHTS, *rules.add, *rules.face)
        if tag == picture.trigger:
            return 0, 0.0, tag
        if picture.outfit and tag == canonical(picture.outfit.words):
            return 0, 1.0, tag
        if _PEOPLE.fullmatch(tag):
            return 1, -picture.score(tag), tag
        if tag == "solo":
            return 2, 0.0, tag
        if taxonomy.is_framing(tag):
            return 3, 0.0, tag
        if tag in fixed:
            return 4, float(fixed.index(tag)), tag
        return 5, -picture.score(tag), tag

    return tuple(sorted(tags, key=place))
