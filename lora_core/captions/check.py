"""Are captions fit for training? What fails, what a person should look at, and for each what to do."""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lora_core.captions import taxonomy
from lora_core.captions.caption import texts
from lora_core.captions.edit import Edited
from lora_core.captions.reading import caption_tags, read_caption
from lora_core.captions.rules import Override, Rules, matches
from lora_core.captions.tags import canonical, escaped, half_width, spaced, unescaped
from lora_core.dataset import HEIGHTS, SIDES
from lora_core.printable import clipped, one_line, some
from lora_core.recipe import COMPOSITIONS, Outfit

_ALWAYS_THE_CHARACTER = ("hair_color", "eye_color")
_FEW_PICTURES = 3

MOST_TOKENS = 225
"""Of a caption, unless the recipe says otherwise: three of CLIP's chunks."""


@dataclass(frozen=True)
class Finding:
    """A matter of one picture's caption or of "caption rules"; one that `fails` must not be trained on."""

    where: str
    what: str
    fails: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def examine(
    edited: Sequence[Edited],
    rules: Rules,
    trigger: str,
    count_tokens: Callable[[str], int],
    most_tokens: int = MOST_TOKENS,
) -> tuple[Finding, ...]:
    """Check edited captions and the rules that made them; CLIP's own start and end tokens are not counted."""
    made = texts(edited, trigger)
    seen = {tag for one in edited for tag in one.before}
    return (
        *check_captions(made, rules, trigger, seen),
        *check_lengths(made, count_tokens, most_tokens),
        *_forgotten(edited, rules),
        *(Finding("caption rules", what, fails=False) for what in idle_rules(rules, trigger, edited)),
    )


def _forgotten(edited: Sequence[Edited], rules: Rules) -> Iterator[Finding]:
    """A colour of hair or eyes on most captions: prompts would have to say it, for the trigger does not learn it."""
    counts = Counter(tag for one in edited for tag in one.tags if taxonomy.family_of(tag) in _ALWAYS_THE_CHARACTER)
    for tag, count in counts.items():
        kept = any(matches(tag, pattern) for pattern in rules.keep)
        if rules.prune and not kept and count >= max(_FEW_PICTURES, len(edited) / 2):
            what = (
                f"{spaced(tag)} stands in {count} of {len(edited)} captions, so that the trigger does not learn it: "
                "put it under memorize, or under keep if prompts are to say it"
            )
            yield Finding("caption rules", what, fails=True)


def gathered(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a matter, those that fail first, each about all its pictures."""
    places: dict[tuple[bool, str], list[str]] = {}
    for finding in findings:
        places.setdefault((finding.fails, finding.what), []).append(finding.where)
    ranked = sorted(places.items(), key=lambda item: not item[0][0])
    return [Finding(some(where), what, fails) for (fails, what), where in ranked]


def check_captions(
    captions: Mapping[str, str | None], rules: Rules, trigger: str, seen: Collection[str] = (),
    worn: Mapping[str, Outfit | None] = {},
) -> tuple[Finding, ...]:  # fmt: skip
    """Check captions as they are written or trained.

    Args:
        captions: texts by picture; None: there is no caption file.
        rules: they should keep to.
        trigger: the character's.
        seen: tags that the tagger gave, known besides the vocabulary.
        worn: by picture, the outfit in whose folder it lies, as far as that is known.
    """
    return tuple(
        finding
        for name, text in captions.items()
        for finding in _check_one(name, text, rules, trigger, seen, worn.get(name))
    )


def check_lengths(
    captions: Mapping[str, str | None], count_tokens: Callable[[str], int], most_tokens: int = MOST_TOKENS
) -> tuple[Finding, ...]:
    """Captions of which the text encoder does not read the end."""
    counted = ((name, count_tokens(text)) for name, text in captions.items() if text)
    cut = f"only the first {most_tokens} tokens are read: drop some tags"
    return tuple(
        Finding(f"{name} ({count} tokens)", cut, fails=False) for name, count in counted if count > most_tokens
    )


def _check_one(
    name: str, text: str | None, rules: Rules, trigger: str, seen: Collection[str], outfit: Outfit | None
) -> Iterator[Finding]:
    if text is None:
        yield Finding(name, "no caption: there is no .txt or .caption beside the picture", fails=True)
        return
    tags = caption_tags(text, trigger)
    if not tags:
        yield Finding(name, "an empty caption", fails=True)
        return
    override = rules.images.get(name, Override())
    called = [one for one in rules.outfits if canonical(one.words) in tags]
    hard = (_trigger(tags, text, trigger), _outfit(tags, called, outfit), _framing(tags), _spelling(text, trigger))
    for what in itertools.chain(*hard):
        yield Finding(name, what, fails=True)
    if rules.prune:
        yield from _memorized(name, tags, rules, override, called)
    worn = {canonical(outfit.words) for outfit in rules.outfits}
    for what in _unusual(tags, text, trigger, {*seen, *rules.add, *rules.face, *worn}):
        yield Finding(name, what, fails=False)


def _trigger(tags: Sequence[str], text: str, trigger: str) -> Iterator[str]:
    there = sum(trigger in (part.text, part.tag) for part in read_caption(text).parts)
    if there == 0:
        yield f"the trigger {trigger} is missing"
    elif there > 1:
        yield f"the trigger {trigger} is there {there} times"
    elif tags[0] != trigger:
        yield f"the trigger {trigger} is not first"


def _outfit(tags: Sequence[str], called: Sequence[Outfit], outfit: Outfit | None) -> Iterator[str]:
    """The words of what is worn, and of nothing else, behind the trigger."""
    if outfit and outfit.words and outfit not in called:
        yield f"the words of its outfit are missing: {outfit.words}, behind the trigger"
    other = [one.words for one in called if one != (outfit or called[0])]
    if other:
        yield f"words of another outfit ({', '.join(other)}): one picture shows one"
    elif called and tags.index(canonical(called[0].words)) > 1:
        yield f"the words of its outfit, {called[0].words}, are not right behind the trigger"


def _framing(tags: Sequence[str]) -> Iterator[str]:
    framings = [tag for tag in tags if taxonomy.is_framing(tag)]
    if not framings:
        yield f"no framing: one of {_listed(COMPOSITIONS)} is needed"
    elif len(framings) > 1:
        yield f"{len(framings)} framings ({_listed(framings)}): one is needed"
    elif framings[0] not in COMPOSITIONS:
        yield f"framing {spaced(framings[0])}: one of {_listed(COMPOSITIONS)} is needed"
    for choices in (SIDES, HEIGHTS):
        views = [view for view in choices if view in tags]
        if len(views) > 1:
            yield f"{len(views)} views ({_listed(views)}): at most one of {_listed(choices)}"


def _spelling(text: str, trigger: str) -> Iterator[str]:
    """The same tag twice, a prompt's weights, and what is no tag at all."""
    forms: dict[str, list[str]] = {}
    reading = read_caption(text)
    for part in reading.parts:
        if trigger not in (part.text, part.tag):
            forms.setdefault(canonical(part.tag), []).append(part.text)
        if part.tag != part.text:
            yield f"{part.text}: a prompt's weight, which training reads as letters"
    for found in reading.left_out:
        yield f"{clipped(one_line(found), 60)}: of a prompt and no tag, which training reads as letters"
    if half_width(text) != text:
        yield "wide letters or commas of an East Asian keyboard: training reads them as other letters"
    for parts in forms.values():
        if len(parts) > 1:
            yield f"twice the same tag: {' and '.join(parts)}"


def _memorized(
    name: str, tags: Iterable[str], rules: Rules, override: Override, called: Sequence[Outfit]
) -> Iterator[Finding]:
    families, words = rules.families(), {canonical(one.words) for one in called}
    for tag in tags:
        family = taxonomy.family_of(tag)
        stands = next((one.words for one in called if any(matches(tag, each) for each in one.tags)), "")
        stands = "" if tag in words or tag in rules.keep else stands
        if not rules.is_memorized(tag) and not stands:
            continue
        why = f"of the memorized family {family}" if family in families else "memorized"
        why = f"what {stands} stands for" if stands else why
        if tag in override.add:
            yield Finding(name, f"{spaced(tag)} is {why}, and put on by hand: is that meant?", fails=False)
        else:
            yield Finding(name, f"{spaced(tag)} is {why}: take it off, or name it under keep", fails=True)


def _unusual(tags: Iterable[str], text: str, trigger: str, seen: Collection[str]) -> Iterator[str]:
    for tag in tags:
        if tag != trigger and (near := taxonomy.misspelt(tag, seen)) is not None:
            yield f"unknown tag {spaced(tag)}" + (f": did you mean {spaced(near)}?" if near else "")
    if len(text.strip().splitlines()) > 1:
        yield "more than one line: kohya's trainer reads the first alone"
    if text != unescaped(text) and escaped(unescaped(text)) == text:
        yield "brackets are escaped, as web UIs want them: a trainer reads the backslashes"


def _listed(tags: Iterable[str]) -> str:
    return ", ".join(spaced(tag) for tag in tags)


def known_trigger(trigger: str) -> str:
    """A word of warning for a trigger that is a tag; empty: it is none."""
    if canonical(trigger) not in taxonomy.known_tags():
        return ""
    return f"trigger {trigger}: a tag that models know already; better a word of your own"


def idle_rules(rules: Rules, trigger: str, edited: Sequence[Edited]) -> Iterator[str]:
    """Rules that do nothing on these captions, most often because a tag is misspelt, with what was probably meant."""
    seen = Counter(tag for one in edited for tag in one.before)
    if warning := known_trigger(trigger):
        yield warning
    here = {taxonomy.family_of(tag) for tag in seen}
    for tag in rules.memorize:
        known = tag in taxonomy.families() or tag in taxonomy.groups()
        if not known and tag not in seen and taxonomy.family_of(tag) not in here - {None}:
            yield _does_nothing("memorize", tag, seen)
    before = {*seen, *rules.replace.values()}
    worn = tuple(tag for outfit in rules.outfits for tag in outfit.tags)
    for where, patterns in (
        ("outfit", rules.outfit), ("outfits", worn), ("keep", rules.keep), ("drop", rules.drop),
        ("replace", tuple(rules.replace)),
    ):  # fmt: skip
        idle = (pattern for pattern in patterns if not any(matches(tag, pattern) for tag in before))
        yield from (_does_nothing(where, pattern, seen) for pattern in idle)
    for where, tags in (("add", rules.add), ("face", rules.face), ("replace", tuple(rules.replace.values()))):
        for tag in tags:
            if near := taxonomy.misspelt(tag, seen):
                yield f"{where}: unknown tag {spaced(tag)}: did you mean {spaced(near)}?"


def _does_nothing(where: str, tag: str, seen: Mapping[str, int]) -> str:
    near = taxonomy.nearest(tag, seen)
    hint = f"; did you mean {spaced(near)}, on {seen[near]}?" if near in seen else ""
    return f"{where}: {spaced(tag)} is on no picture{hint}"
