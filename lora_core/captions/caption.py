"""The caption step, and every caption before and after with the reasons."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import Field

from lora_core.captions import content
from lora_core.captions.edit import Action, Edited, Select, edit
from lora_core.captions.rules import Rules, check_names
from lora_core.captions.tags import caption_text, spaced
from lora_core.captions.wardrobe import dressed
from lora_core.dataset import Frozen, Manifest, TagTable
from lora_core.errors import CaptionError
from lora_core.recipe import Outfit
from lora_core.refs import CaptionsRef
from lora_core.store import Store


class EditedCaptions(Frozen):
    """What the caption step puts out; of every picture the caption before, and the reason of each change."""

    trigger: str
    manifest: Manifest
    edited: tuple[Edited, ...]
    outfits: tuple[Outfit, ...] = Field(default=(), exclude_if=lambda given: not given)


def save_captions(store: Store, captions: EditedCaptions) -> CaptionsRef:
    """Store edited captions and return their ref."""
    return CaptionsRef(sha256=store.put_json(captions.model_dump(mode="json")))


def load_captions(store: Store, ref: CaptionsRef) -> EditedCaptions:
    """The edited captions behind a ref."""
    return EditedCaptions.model_validate(store.get_json(ref.sha256))


def caption(
    manifest: Manifest, tags: TagTable, rules: Rules, trigger: str, select: Select
) -> tuple[Manifest, tuple[Edited, ...]]:
    """Caption every picture, after the content rule has let the set pass; a trigger of the rules goes first.

    Raises:
        ContentRuleError: the set is sexual and codes a minor.
        CaptionError: no trigger, a composition that nobody said, or an override for a picture that is not there.
        DatasetError: the scores were made for other pictures.
    """
    called = rules.trigger or trigger
    if not called:
        raise CaptionError('no trigger: write trigger = "a_word_no_model_knows" into the rule file')
    content.check([(manifest, tags)], (called, *rules.words()))
    check_names(rules, tuple(entry.name for entry in manifest.entries))
    edited = tuple(edit(entry, tags.of(entry), rules, called, select) for entry in manifest.entries)
    entries = tuple(
        entry.model_copy(update={"caption": one.tags}) for entry, one in zip(manifest.entries, edited, strict=True)
    )
    captioned = dressed(manifest.model_copy(update={"entries": entries}), rules)
    content.check([(captioned, tags)], (called,))
    return captioned, edited


def caption_each(
    manifest: Manifest, tags: TagTable, rules: Rules, trigger: str, select: Select
) -> tuple[tuple[Edited, ...], dict[str, str]]:
    """Caption every picture on its own, so that one in doubt hides no other: captions, and name → why there is none.

    Raises:
        ContentRuleError: the set is sexual and codes a minor.
        CaptionError: an override for a picture that is not there.
        DatasetError: the scores were made for other pictures.
    """
    content.check([(manifest, tags)], (trigger, *rules.words()))
    check_names(rules, tuple(entry.name for entry in manifest.entries))
    edited: list[Edited] = []
    doubtful: dict[str, str] = {}
    for entry in manifest.entries:
        try:
            edited.append(edit(entry, tags.of(entry), rules, trigger, select))
        except CaptionError as error:
            doubtful[entry.name] = str(error)
    made = {one.name: one.tags for one in edited}
    entries = tuple(
        entry.model_copy(update={"caption": made[entry.name]}) for entry in manifest.entries if entry.name in made
    )
    content.check([(manifest.model_copy(update={"entries": entries}), tags)], (trigger,))
    return tuple(edited), doubtful


_RARE = 3


def report(edited: Sequence[Edited], trigger: str, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    """Per picture before → after with the reason of every change, and frequency tables, as plain JSON data."""
    return {
        "images": {
            one.name: {
                "before": list(one.before),
                "after": list(one.tags),
                "tokens": count_tokens(caption_text(one.tags, trigger)),
                "changes": [
                    {"tag": change.tag, "action": change.action, "rule": change.reason} for change in one.changes
                ],
            }
            for one in edited
        },
        "frequency_before": frequencies(one.before for one in edited),
        "frequency_after": frequencies(one.tags for one in edited),
    }


def frequencies(captions: Iterable[Sequence[str]]) -> dict[str, int]:
    """How many pictures have each tag, the commonest first, equals by name."""
    counts = Counter(tag for caption in captions for tag in set(caption))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def texts(edited: Sequence[Edited], trigger: str) -> dict[str, str | None]:
    """The captions as they are written and trained, by picture."""
    return {one.name: caption_text(one.tags, trigger) for one in edited}


def lines(one: Edited, trigger: str, tokens: int) -> Iterator[str]:
    """One picture's story for a terminal: its name, before, after, and each change with its rule."""
    yield f"{one.name}  ({tokens} tokens)"
    yield f"  before  {caption_text(one.before, trigger)}"
    yield f"  after   {caption_text(one.tags, trigger)}"
    for action, rule, tags in reasons(one):
        yield f"  {'−' if action == 'removed' else '+'} {', '.join(_shown(tag, trigger) for tag in tags)}  ({rule})"


Reason = tuple[Action, str, tuple[str, ...]]
"""Whether tags went or came, by which rule, and which tags."""


def reasons(one: Edited) -> tuple[Reason, ...]:
    """A picture's changes, gathered by what was done and why."""
    gathered: dict[tuple[Action, str], tuple[str, ...]] = {}
    for change in one.changes:
        key = (change.action, change.reason)
        gathered[key] = (*gathered.get(key, ()), change.tag)
    return tuple((*why, tags) for why, tags in gathered.items())


def frequency_rows(edited: Sequence[Edited]) -> list[tuple[str, int, int]]:
    """Tag, on how many pictures before, on how many after; the commonest first."""
    before, after = (frequencies(side) for side in ((one.before for one in edited), (one.tags for one in edited)))
    both = sorted({*before, *after}, key=lambda tag: (-max(before.get(tag, 0), after.get(tag, 0)), tag))
    return [(tag, before.get(tag, 0), after.get(tag, 0)) for tag in both]


def rare(edited: Sequence[Edited]) -> dict[str, tuple[str, ...]]:
    """Tags that few captions have, and which: often the tagger's slips.

    Few: at most three, and at most a tenth of all.
    """
    most = min(_RARE, len(edited) // 10)
    where: dict[str, tuple[str, ...]] = {}
    for one in edited:
        where |= {tag: (*where.get(tag, ()), one.name) for tag in one.tags}
    return {tag: names for tag, names in where.items() if len(names) <= most}


def _shown(tag: str, trigger: str) -> str:
    return tag if tag == trigger else spaced(tag)
