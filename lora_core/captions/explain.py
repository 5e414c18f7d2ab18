"""Every caption before and after, and why: for the report and for eyes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lora_core.captions.edit import Edited
from lora_core.captions.tags import caption_text

# CLIP reads 77 tokens, two of which are its own.
MOST_TOKENS = 75


def report(edited: Sequence[Edited]) -> dict[str, Any]:
    """Per picture before → after with the reason of every change, and frequency tables, as plain JSON data."""
    return {
        "images": {
            one.name: {
                "before": list(one.before),
                "after": list(one.tags),
                "changes": [
                    {"tag": change.tag, "action": change.action, "rule": change.rule} for change in one.changes
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


def lines(one: Edited) -> Iterator[str]:
    """One picture's story for a terminal."""
    yield f"{one.name}: {', '.join(one.before)}"
    yield f"  → {', '.join(one.tags)}"
    for change in one.changes:
        yield f"  {'-' if change.action == 'removed' else '+'} {change.tag}  ({change.rule})"


def too_long(edited: Sequence[Edited], trigger: str, count_tokens: Callable[[str], int]) -> dict[str, int]:
    """Pictures whose caption the text encoder cuts off, with their number of tokens.

    Args:
        edited: the captions.
        trigger: stays as it is in the text.
        count_tokens: tokens of a text, CLIP's own start and end not counted.
    """
    counted = {one.name: count_tokens(caption_text(one.tags, trigger)) for one in edited}
    return {name: count for name, count in counted.items() if count > MOST_TOKENS}
