"""The one framing of a picture: said by its author, else read from the tagger if that is clear."""

from lora_core.dataset import Entry, Scores
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS, Composition

# A guess needs to be likely, and clearly ahead of the next: a wrong framing teaches the wrong picture.
_LEAST_SCORE = 0.35
_LEAST_MARGIN = 0.15


def framing_of(entry: Entry, scores: Scores, override: Composition | None) -> tuple[Composition, str]:
    """The framing, and where it comes from.

    Raises:
        CaptionError: nobody said it, and the tagger's scores are low or too close to each other.
    """
    if override is not None:
        return override, f"{override}, as the rule file says"
    if entry.composition is not None:
        return entry.composition, f"{entry.composition} is the screenshot's composition"
    ranking = sorted(COMPOSITIONS, key=lambda name: -scores.general.get(name, 0.0))
    best, second = (scores.general.get(name, 0.0) for name in ranking[:2])
    if best < _LEAST_SCORE or best - second < _LEAST_MARGIN:
        raise CaptionError(
            f"{entry.source}: its composition is unknown, and the tagger is not sure "
            f"({ranking[0]} {best:.2f}, {ranking[1]} {second:.2f}); say it in composition.csv, by a sub-folder or at "
            f"the start of the file name: {', '.join(COMPOSITIONS)}"
        )
    return ranking[0], f"{ranking[0]}, as the tagger sees it ({best:.2f}, next {ranking[1]} {second:.2f})"
