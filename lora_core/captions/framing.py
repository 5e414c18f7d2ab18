"""The one framing of a picture, and who says it."""

from lora_core.dataset import Entry
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS, Composition


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
