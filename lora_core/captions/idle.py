"""Rules that do nothing on a set of pictures, most often because a tag is misspelt."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lora_core.captions import taxonomy, vocabulary
from lora_core.captions.edit import Edited
from lora_core.captions.rules import Rules, matches
from lora_core.captions.tags import spaced


def idle_rules(rules: Rules, trigger: str, edited: Sequence[Edited]) -> Iterator[str]:
    """What each of them is, with what was probably meant.

    Args:
        rules: that made the captions.
        trigger: better no tag that models know.
        edited: the captions.
    """
    seen = Counter(tag for one in edited for tag in one.before)
    if trigger in vocabulary.known_tags():
        yield f"trigger {trigger}: a tag that models know already; better a word of your own"
    here = {taxonomy.family_of(tag) for tag in seen}
    for tag in rules.memorize:
        known = tag in taxonomy.families() or tag in taxonomy.groups()
        if not known and tag not in seen and taxonomy.family_of(tag) not in here - {None}:
            yield _does_nothing("memorize", tag, seen)
    before = {*seen, *rules.replace.values()}
    for where, patterns in (
        ("outfit", rules.outfit), ("keep", rules.keep), ("drop", rules.drop), ("replace", tuple(rules.replace)),
    ):  # fmt: skip
        idle = (pattern for pattern in patterns if not any(matches(tag, pattern) for tag in before))
        yield from (_does_nothing(where, pattern, seen) for pattern in idle)
    for where, tags in (("add", rules.add), ("face", rules.face), ("replace", tuple(rules.replace.values()))):
        for tag in tags:
            if near := vocabulary.misspelt(tag, seen):
                yield f"{where}: unknown tag {spaced(tag)}: did you mean {spaced(near)}?"


def _does_nothing(where: str, tag: str, seen: Mapping[str, int]) -> str:
    near = vocabulary.nearest(tag, seen)
    hint = f"; did you mean {spaced(near)}, on {seen[near]}?" if near in seen else ""
    return f"{where}: {spaced(tag)} is on no picture{hint}"
