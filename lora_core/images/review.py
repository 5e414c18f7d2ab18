"""What shows when the pictures of a set are seen side by side: near duplicates, soft ones, one stored otherwise."""

from collections import Counter
from typing import NamedTuple

from lora_core.dataset import Entry, Rejected
from lora_core.images.alpha import AlphaKind
from lora_core.images.duplicates import BITS, near_duplicates
from lora_core.recipe import Preprocess

# A smaller share than this that stores transparency another way is rather misread than made by another program.
_ODD_SHARE = 0.25
_NAMED = 3


class Facts(NamedTuple):
    """What was measured on one picture: perceptual hash, blur from 0 to 1, how its file stores transparency."""

    perceptual_hash: str
    blur: float
    alpha: AlphaKind


def review(
    entries: list[Entry], facts: list[Facts], options: Preprocess
) -> tuple[tuple[Entry, ...], tuple[Rejected, ...]]:
    """Flag what a person should look at; leave out what the recipe says to leave out, with the reason.

    Args:
        entries: pictures of one set.
        facts: of each, in the same order.
        options: what is a near duplicate, what is soft, and whether they stay.

    Returns:
        The pictures that stay, with flags, and those that don't.
    """
    left_out = _soft(entries, facts, options)
    kept = [(entry, fact) for entry, fact in zip(entries, facts, strict=True) if entry.source not in left_out]
    flags, copies = _alike(kept, options)
    left_out |= copies
    odd = {} if options.alpha != "detect" else _stored_otherwise(kept)
    reviewed = tuple(
        entry.model_copy(
            update={
                "flags": (
                    *entry.flags,
                    *((f"soft: {_blur(fact, options)}",) if fact.blur > options.soft_above else ()),
                    *flags.get(entry.source, ()),
                    *odd.get(entry.source, ()),
                )
            }
        )
        for entry, fact in kept
        if entry.source not in left_out
    )
    images = {entry.source: entry.image for entry in entries}
    return reviewed, tuple(
        Rejected(source=source, reason=reason, harmless=True, image=images[source])
        for source, reason in left_out.items()
    )


def _blur(fact: Facts, options: Preprocess) -> str:
    return f"blur {fact.blur:.2f}, above {options.soft_above:g}"


def _soft(entries: list[Entry], facts: list[Facts], options: Preprocess) -> dict[str, str]:
    if options.soft_pictures == "flag":
        return {}
    return {
        entry.source: f"soft: {_blur(fact, options)}, and preprocess.soft_pictures = 'leave_out'"
        for entry, fact in zip(entries, facts, strict=True)
        if fact.blur > options.soft_above
    }


def _alike(kept: list[tuple[Entry, Facts]], options: Preprocess) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Near duplicates: flags by source, and the later of each pair, with a reason, if they are to be left out."""
    pairs = near_duplicates([fact.perceptual_hash for _, fact in kept], options.duplicate_bits)
    found: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for pair in pairs:
        first, second = kept[pair.first][0], kept[pair.second][0]
        alike = f"({pair.bits} of {BITS} bits differ)"
        if options.near_duplicates == "flag":
            found.setdefault(first.source, []).append(f"{second.source} {alike}")
            found.setdefault(second.source, []).append(f"{first.source} {alike}")
        elif first.source not in left_out:
            left_out.setdefault(
                second.source,
                f"nearly the same as {first.source} {alike}, and preprocess.near_duplicates = 'leave_out'",
            )
    return {source: (f"nearly the same as {_some(others)}",) for source, others in found.items()}, left_out


def _some(others: list[str]) -> str:
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return ", ".join(others[:_NAMED]) + more


def _stored_otherwise(kept: list[tuple[Entry, Facts]]) -> dict[str, tuple[str]]:
    """Pictures whose transparency is read otherwise than nearly all others': one program writes one way."""
    counts = Counter(fact.alpha for _, fact in kept if fact.alpha != "opaque")
    if len(counts) < 2:
        return {}
    (usual, most), (odd, few) = counts.most_common()
    if few / (most + few) > _ODD_SHARE:
        return {}
    told = f"transparency read as {odd}, as {usual} in {most} others: look at its edges, or set preprocess.alpha"
    return {entry.source: (told,) for entry, fact in kept if fact.alpha == odd}
