"""Compositions that no author gave, and views, from the tagger's scores; what stays in doubt is for a person."""

from collections.abc import Mapping

from lora_core.dataset import Entry, Manifest, Rejected, Scores, TagTable
from lora_core.errors import DatasetError
from lora_core.images.composition import LIST_NAME, composition_by_scores, view_by_scores
from lora_core.recipe import COMPOSITIONS, Composition

_HOW = f"say it in {LIST_NAME}, by a sub-folder or at the start of the file name ({', '.join(COMPOSITIONS)})"
# An author is only doubted aloud when the tagger is this sure, and sees nothing of what the author says.
_SURE, _NOTHING = 0.6, 0.1


def settle(manifest: Manifest, tags: TagTable, said: Mapping[str, Composition]) -> Manifest:
    """Every picture with its views, and with a composition if its author or the tagger's scores give one.

    A picture whose scores are not clear keeps none and is flagged, as is one whose author the tagger contradicts.

    Args:
        manifest: square pictures, with what their authors say.
        tags: their raw scores.
        said: compositions by the pictures' names that go before everything else.

    Raises:
        DatasetError: the scores were made for other pictures.
    """
    entries = tuple(_settled(entry, tags.of(entry), said.get(entry.name)) for entry in manifest.entries)
    return manifest.model_copy(update={"entries": entries})


def _settled(entry: Entry, scores: Scores, said: Composition | None) -> Entry:
    looked = entry.model_copy(update={"view": view_by_scores(scores.general)})
    if said is not None:
        return looked.model_copy(
            update={"composition": said, "notes": (*entry.notes, f"{said}: from the caption rules")}
        )
    reading = composition_by_scores(scores.general)
    if entry.composition is None and reading.composition is None:
        return looked.model_copy(update={"flags": (*entry.flags, f"composition in doubt ({reading.figures})")})
    if entry.composition is None:
        note = f"{reading.composition}: as the tagger sees it ({reading.figures})"
        return looked.model_copy(update={"composition": reading.composition, "notes": (*entry.notes, note)})
    if _contradicts(scores.general, entry.composition):
        told = f"said to be {entry.composition}, but the tagger sees {reading.figures}"
        return looked.model_copy(update={"flags": (*entry.flags, told)})
    return looked


def _contradicts(scores: Mapping[str, float], composition: Composition) -> bool:
    return scores.get(composition, 0.0) < _NOTHING and any(
        scores.get(other, 0.0) >= _SURE for other in COMPOSITIONS if other != composition
    )


def refuse_doubtful(manifest: Manifest) -> None:
    """Stop at pictures that have no composition.

    Raises:
        DatasetError: naming the first of them, and how many there are.
    """
    doubtful = [entry for entry in manifest.entries if entry.composition is None]
    if doubtful:
        some = ", ".join(f"{entry.source}: {_why(entry)}" for entry in doubtful[:3])
        more = f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
        raise DatasetError(f"{some}{more}; {_HOW}, or set preprocess.bad_pictures = 'leave_out'")


def without_doubtful(manifest: Manifest) -> Manifest:
    """The pictures that have a composition; the others are left out with their reason."""
    left_out = tuple(
        Rejected(source=entry.source, reason=f"{_why(entry)}; {_HOW}", image=entry.image)
        for entry in manifest.entries
        if entry.composition is None
    )
    return Manifest(
        entries=tuple(entry for entry in manifest.entries if entry.composition is not None),
        rejected=tuple(sorted((*manifest.rejected, *left_out), key=lambda one: one.source)),
    )


def _why(entry: Entry) -> str:
    return next((flag for flag in entry.flags if flag.startswith("composition")), "composition unknown")
