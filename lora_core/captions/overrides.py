"""Hand edits as overrides in the rule file, so that tagging again, or another rule, doesn't lose them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from lora_core.captions import taxonomy
from lora_core.captions.edit import Select, edit
from lora_core.captions.rules import Override, Rules
from lora_core.captions.tags import canonical, caption_tags
from lora_core.dataset import HEIGHTS, SIDES, Entry, Manifest, Scores, TagTable
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS, Composition


@dataclass(frozen=True)
class Edits:
    """What somebody's text says otherwise than the rules.

    Attributes:
        override: makes the rules say the same; None: they do without one.
        added: tags that the text has and the rules, as they were, did not put on.
        removed: tags that they put on and the text has not.
    """

    override: Override | None
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Situation:
    """All that decides captions besides the picture."""

    rules: Rules
    trigger: str
    select: Select


def hand_edits(
    texts: Mapping[str, str | None], manifest: Manifest, tags: TagTable, situation: Situation
) -> dict[str, Edits]:
    """What hand-edited captions change, by picture; pictures whose text says what the rules say are not in it.

    The order of tags is not taken over: captions have an order of their own. The trigger is put on in any case.

    Args:
        texts: the edited captions, by picture; None: there is none, and the rules stand.
        manifest: the pictures.
        tags: their raw scores.
        situation: rules, trigger, selection.

    Raises:
        CaptionError: a text is empty, or has no framing or more than one.
    """
    found: dict[str, Edits] = {}
    for entry in manifest.entries:
        text = texts.get(entry.name)
        if text is not None and (edits := _edits(entry, tags.of(entry), text, situation)):
            found[entry.name] = edits
    return found


def with_overrides(rules: Rules, edits: Mapping[str, Edits]) -> Rules:
    """The rules with these edits in them."""
    images = {name: override for name, override in rules.images.items() if name not in edits}
    images |= {name: one.override for name, one in edits.items() if one.override is not None}
    return rules.model_copy(update={"images": images})


def _edits(entry: Entry, scores: Scores, text: str, situation: Situation) -> Edits | None:
    wanted = _wanted(entry.name, text, situation)
    override = _override(entry, scores, wanted, situation)
    try:
        now = _tags(entry, scores, situation)
    except CaptionError:  # the rules alone cannot tell the framing; the text can
        now = _tags(entry, scores, situation, Override(framing=override.framing))
    else:
        if now == wanted:
            return None
    return Edits(
        override=None if override == Override() else override,
        added=tuple(sorted(wanted - now)),
        removed=tuple(sorted(now - wanted)),
    )


def _wanted(name: str, text: str, situation: Situation) -> frozenset[str]:
    """The tags of a text without the trigger, as the rule file would spell them."""
    trigger, replace = situation.trigger, situation.rules.replace
    tags = frozenset(replace.get(tag, tag) for tag in caption_tags(text, trigger)) - {trigger, canonical(trigger)}
    if not tags:
        raise CaptionError(f"{name}.txt: an empty caption; write one, or delete the file to leave it to the rules")
    return tags


def _override(entry: Entry, scores: Scores, wanted: frozenset[str], situation: Situation) -> Override:
    """Framing and view first, for the face hangs on them; then what is still missing or too much."""
    framing, views = _framing(entry.name, wanted), _views(wanted)
    plain = _tags(entry, scores, situation, Override(framing=framing))
    placed = _made(
        entry.name,
        framing=None if framing == _framing_without(entry, scores, situation) else framing,
        view=() if set(views) == set(_views(plain)) else views,
    )
    rest = _tags(entry, scores, situation, placed)
    return placed.model_copy(update={"drop": tuple(sorted(rest - wanted)), "add": tuple(sorted(wanted - rest))})


def _framing_without(entry: Entry, scores: Scores, situation: Situation) -> str | None:
    """The framing that needs no override; None: nobody has said one."""
    try:
        return next(tag for tag in _tags(entry, scores, situation, Override()) if taxonomy.is_framing(tag))
    except CaptionError:
        return None


def _made(name: str, *, framing: Composition | None, view: tuple[str, ...]) -> Override:
    try:
        return Override.model_validate({"framing": framing, "view": view})
    except ValidationError as error:
        raise CaptionError(f"{name}.txt: view = {', '.join(view)}: {error.errors()[0]['ctx']['error']}") from None


def _framing(name: str, wanted: frozenset[str]) -> Composition:
    found = sorted(tag for tag in wanted if taxonomy.is_framing(tag))
    if len(found) == 1:
        for composition in COMPOSITIONS:
            if composition == found[0]:
                return composition
    said = ", ".join(found) or "none"
    raise CaptionError(f"{name}.txt: framing: {said}; write exactly one of {', '.join(COMPOSITIONS)}")


def _views(tags: Iterable[str]) -> tuple[str, ...]:
    there = set(tags)
    return tuple(view for view in (*SIDES, *HEIGHTS) if view in there)


def _tags(entry: Entry, scores: Scores, situation: Situation, override: Override | None = None) -> frozenset[str]:
    """What the rules say of a picture, with another override than theirs if one is given; without the trigger."""
    rules = situation.rules
    if override is not None:
        rules = rules.model_copy(update={"images": {**rules.images, entry.name: override}})
    return frozenset(edit(entry, scores, rules, situation.trigger, situation.select).tags) - {situation.trigger}
