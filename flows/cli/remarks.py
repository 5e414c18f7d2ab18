"""What is to be said of single pictures of a set, for a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from lora_core.dataset import Manifest

_NAMED = 3
# Of a thousand pictures with something each, only so many lines.
_MOST_LINES = 40


def remarks(manifest: Manifest) -> tuple[str, ...]:
    """What was left out, then what a person should look at: a line for each reason, with the files that it is about."""
    left_out = _gathered((one.reason, one.source) for one in manifest.rejected if one.image or not one.harmless)
    flagged = _gathered(("; ".join(entry.flag_texts), entry.source) for entry in manifest.entries if entry.flags)
    lines = (*_lines("left out", left_out), *_lines("look at", flagged))
    more = len(lines) - _MOST_LINES
    return (*lines[:_MOST_LINES], f"and {more} more lines of this kind") if more > 0 else lines


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _gathered(reasons: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Sources by reason."""
    found: dict[str, list[str]] = {}
    for reason, source in reasons:
        found.setdefault(reason, []).append(source)
    return found


def _lines(what: str, gathered: dict[str, list[str]]) -> Iterator[str]:
    return (f"{what} {some(sources)}: {reason}" for reason, sources in gathered.items())
