"""Which words for the 3D look a base knows: how far each moves its pictures towards the screenshots.

A base that knows a word draws the look when it is asked for it, so that captions with the word can keep it out of the
trigger. What sees the look in the screenshots is found as for leak (`leak.find_look`): the tagger's words, else an
auxiliary classifier, else an embedder. A word's share is how far the pictures with it are on the way from those without
to the screenshots: 0 not at all, 1 as the screenshots.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from lora_core.dataset import Frozen, Manifest, TagTable
from lora_core.judging.bootstrap import Score, nested
from lora_core.judging.leak import Look, LookWord
from lora_core.judging.onnx_models import class_probabilities, find_classifier_files, find_embedder_files
from lora_core.judging.similarity import embed
from lora_core.judging.verdict import find_instruments
from lora_core.recipe import Judging, Method
from lora_core.sampling.samples import Sample, Samples, samples_manifest
from lora_core.store import Store
from lora_core.tagging.labels import read_labels

LOOK_WORDS = (
    "3d", "realistic", "nose, lips", r"blender \(medium\)", r"koikatsu \(medium\)", r"mikumikudance \(medium\)",
    "honey select", "3d, realistic, nose, lips",
)  # fmt: skip
"""What is tried: Danbooru's words for the look and for what makes it, and the usual ones together."""
_KNOWN = 0.2
"""Of the way: a word is known when its whole interval is above. Chosen: nothing in between was measured."""


class WordMove(Frozen):
    """What one word does."""

    word: str
    share: Score = Field(description="Of the way from the base's own pictures to the screenshots.")

    @property
    def is_known(self) -> bool:
        """Whether the base draws the look when asked for it by this word."""
        return self.share.low > _KNOWN


class LookReport(Frozen):
    """What a base knows of the look of a set of screenshots."""

    tried: tuple[LookWord, ...] = Field(description="All that could have measured the look, with what it read.")
    measured_by: tuple[str, ...] = Field(description="Those of them that see it in the screenshots; none: none does.")
    moves: tuple[WordMove, ...] = Field(default=(), description="By word; none where nothing can be measured.")
    method: Method = Field(description="That suits this base.")
    reason: str


def judged(look: Look, own: Sequence[Sample], with_word: Mapping[str, Sequence[Sample]]) -> LookReport:
    """Every word's share, and the method that suits.

    Args:
        look: what sees the look in the screenshots.
        own: the base's pictures without a word.
        with_word: by word, pictures of the same prompts and seeds in the same order.

    Raises:
        DatasetError: a picture was not tagged.
    """
    measured_by = tuple(one.word.name for one in look.instruments)
    moves = tuple(
        WordMove(word=word, share=_share(look, own, those)) for word, those in with_word.items() if measured_by
    )
    known = sorted((move for move in moves if move.is_known), key=lambda move: -move.share.mean)
    method: Method = "note"
    if not measured_by:
        reason = (
            "cannot be measured: nothing sees more of the look in the screenshots than in the base's own pictures; the "
            "style stage needs no word for the look"
        )
    elif known:
        method, best = "captions-only", known[0]
        reason = (
            f"the base knows the look by name ('{best.word}' goes {best.share.mean:.0%} of the way to the "
            "screenshots), so captions that name it can keep it out of the trigger"
        )
    else:
        reason = "no word moves the base's pictures towards the screenshots for sure, so the look must be taught first"
    return LookReport(tried=look.tried, measured_by=measured_by, moves=moves, method=method, reason=reason)


def see_look(
    store: Store, own: Sequence[Sample], drawn: Samples, screenshots: Manifest, scores: tuple[TagTable, TagTable],
    tagger: Mapping[str, Path], models: Judging,
) -> Look:  # fmt: skip
    """What sees the look in the screenshots: the tagger, else the classifier or the embedder of the options.

    Args:
        store: where the pictures are.
        own: the base's pictures without a word.
        drawn: all that it drew.
        screenshots: squares of them.
        scores: the tagger's, of what was drawn and of the screenshots.
        tagger: its files.
        models: names classifier and embedder.

    Raises:
        TaggerError: one of them cannot be used.
    """
    labels = frozenset(label.name for label in read_labels(tagger["selected_tags.csv"]))
    classes: list[Mapping[str, float]] = [{}, {}]
    if models.classifier:
        files = find_classifier_files(Path(models.classifier))
        sets = (samples_manifest(drawn), screenshots)
        classes = [class_probabilities(store, each, files, models.classifier_label) for each in sets]
    encoder = find_embedder_files(Path(models.embedder)) if models.embedder else None
    embedded = embed(store, drawn, screenshots, encoder) if encoder else None
    return find_instruments(own, *scores, labels, (classes[0], classes[1]), embedded, asked=lambda _: ())


def _share(look: Look, own: Sequence[Sample], those: Sequence[Sample]) -> Score:
    """Of each picture's way; prompts resampled first."""
    shares = look.together(list(zip(those, own, strict=True)))
    return nested([share or 0.0 for share in shares], [(before.prompt_index,) for before in own])
