"""Whether a tagger can see what the content rule looks for. One that cannot would let everything pass."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lora_core.captions.signs import names, rating_kind
from lora_core.digests import file_digest
from lora_core.errors import TaggerError
from lora_core.tagging.labels import RATING, Label, read_labels

_MODEL, _TABLE = "model.onnx", "selected_tags.csv"
# The demo's tagger knows the 80 words of a world that this project draws itself, of one clothed figure (demo/world):
# there is nothing else in it to be seen. It is the only exception, known by its bytes.
_DRAWN_WORLD = {
    _MODEL: "cd0b6b14c9e70bfb3d4e34c8135cc96571676c5cab6ff5599f7f68c6b5f2d338",
    _TABLE: "16c02b7d6fc61c2aaeec03ca08a8842262e00d915e465a0b0c6a870ea6636e61",
}
# And only beside a base as small as the demo's and the tests' own: the smallest model that draws people has ten times
# as many bytes, so this tagger lets nothing pass that such a one would be trained on.
_LARGEST_DRAWN_BASE_BYTES = 128 * 1024**2


def check_tagger(tagger: Mapping[str, Path], base: Mapping[str, Path], name: str) -> None:
    """Refuse a tagger that has no words for a minor, or none for what is sexual.

    Args:
        tagger: model.onnx and selected_tags.csv.
        base: the files of the model to be trained; none where nothing is.
        name: what the user calls the tagger.

    Raises:
        TaggerError: what the rule forbids could not be seen; or the label table cannot be read.
    """
    lacks = tuple(_lacks(read_labels(tagger[_TABLE])))
    if lacks and not (_is_of_drawn_world(tagger) and _is_small(base.values())):
        raise TaggerError(
            f"{name}: this tagger has {' and '.join(lacks)}, so the content rule could not see what it must; take one "
            "of general vocabulary, such as SmilingWolf/wd-v1-4-swinv2-tagger-v2"
        )


def _lacks(labels: Iterable[Label]) -> Iterator[str]:
    known = [label for label in labels if label.name]
    if not any(names(label.name, "minor") for label in known):
        yield "no tag that names a minor"
    if not any(names(label.name, "sexual") or _is_sexual_rating(label) for label in known):
        yield "neither sexual ratings nor a tag of nudity"


def _is_sexual_rating(label: Label) -> bool:
    return rating_kind(label.name, head=label.category == RATING) == "sexual"


def _is_of_drawn_world(tagger: Mapping[str, Path]) -> bool:
    return all(file_digest(tagger[part]) == digest for part, digest in _DRAWN_WORLD.items())


def _is_small(files: Iterable[Path]) -> bool:
    return sum(path.stat().st_size for path in files) <= _LARGEST_DRAWN_BASE_BYTES
