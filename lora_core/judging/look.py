"""Which words for the 3D look a base knows: how far each moves its pictures towards the screenshots.

A base that knows a word draws the look when it is asked for it, so that captions with the word can keep it out of the
trigger. What the tagger sees of the look in the screenshots and not in the base's own pictures gives a direction; a
word's share is how far along it the pictures with the word are from those without: 0 not at all, 1 as the screenshots.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from pydantic import Field

from lora_core.captions.tags import canonical
from lora_core.dataset import Frozen, Manifest, TagTable
from lora_core.judging.bootstrap import Score, nested
from lora_core.judging.evidence import probability
from lora_core.methods import Method
from lora_core.recipe import LEAK_TAGS, Captions, Sampling
from lora_core.sampling.samples import Sample, Samples

LOOK_WORDS = (
    "3d", "realistic", "nose, lips", r"blender \(medium\)", r"koikatsu \(medium\)", r"mikumikudance \(medium\)",
    "honey select", "3d, realistic, nose, lips",
)  # fmt: skip
"""What is tried: Danbooru's words for the look and for what makes it, and the usual ones together."""
_LEAST_SEEN = 0.1
"""Of a look tag's mean, more in the screenshots than in the base's own pictures: less is chance."""
_KNOWN = 0.2
"""Of the way: a word is known when its whole interval is above. Chosen: nothing in between was measured."""


SEEDS = 4
"""Pictures of each prompt."""


def asking(sampling: Sampling, seeds: int = SEEDS) -> Sampling:
    """How the base is asked: the recipe's prompts without the trigger, so many seeds of each, nothing finer."""
    stripped = (prompt.replace("{trigger}", "").strip(", ") for prompt in sampling.prompts)
    prompts = tuple(prompt for prompt in stripped if prompt) or ("1girl, solo",)
    plain = {"prompts": prompts, "seeds": tuple(range(1, seeds + 1)), "weights": (1.0,), "hires": 1.0}
    return sampling.on_one_base.model_copy(update=plain)


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

    base: Mapping[str, float] = Field(description="Look tag → mean in the base's own pictures.")
    screenshots: Mapping[str, float] = Field(description="Look tag → mean in the screenshots.")
    measured_by: tuple[str, ...] = Field(description="Tags that tell them apart; none: this tagger can't.")
    moves: tuple[WordMove, ...] = Field(default=(), description="By word; none where nothing can be measured.")
    method: Method = Field(description="That suits this base.")
    reason: str

    @property
    def best(self) -> WordMove | None:
        """The known word that goes farthest."""
        return max((move for move in self.moves if move.is_known), key=lambda move: move.share.mean, default=None)

    def captions(self, own: Captions) -> Captions:
        """The caption rules with words for the look that the base knows: the usual ones if any of these is known."""
        usual = {"realistic", "nose", "lips"}
        known = [set(map(canonical, move.word.split(","))) for move in self.moves if move.is_known]
        if self.best is None or "add" in own.model_fields_set or any(usual & tags for tags in known):
            return own
        return own.model_copy(update={"add": tuple(map(canonical, self.best.word.split(",")))})


def compared(
    words: Sequence[str], drawn: Sequence[Samples], scores: TagTable, shots: Manifest, seen: TagTable
) -> LookReport:
    """What a base knows of a look, from its pictures without a word and with each.

    Args:
        words: that were tried.
        drawn: of `draw_words`.
        scores: of all these pictures.
        shots: the screenshots.
        seen: their scores.

    Raises:
        DatasetError: a picture was not tagged.
    """
    own, *others = drawn
    with_word = {word: one.samples for word, one in zip(words, others, strict=True)}
    return judged(direction(own.samples, scores, shots, seen), own.samples, with_word, scores)


def direction(own: Sequence[Sample], drawn: TagTable, shots: Manifest, seen: TagTable) -> LookReport:
    """What the tagger sees in the base's own pictures and in the screenshots, before any word was tried.

    Args:
        own: the base's pictures without a word.
        drawn: their scores.
        shots: the screenshots.
        seen: their scores.

    Raises:
        DatasetError: a picture was not tagged.
    """
    base = {tag: fmean(probability(each, drawn, tag) for each in own) for tag in LEAK_TAGS}
    there = {tag: fmean(seen.of(entry).general.get(tag, 0.0) for entry in shots.entries) for tag in LEAK_TAGS}
    measured_by = tuple(tag for tag in LEAK_TAGS if there[tag] - base[tag] >= _LEAST_SEEN)
    reason = (
        "cannot be measured with this tagger: it sees no more of the look in the screenshots than in the base's own "
        "pictures; the style stage needs no word for the look"
    )
    return LookReport(base=base, screenshots=there, measured_by=measured_by, method="note", reason=reason)


def judged(
    report: LookReport, own: Sequence[Sample], with_word: Mapping[str, Sequence[Sample]], drawn: TagTable
) -> LookReport:
    """The report with every word's share, and the method that suits.

    Args:
        report: from `direction`.
        own: the base's pictures without a word.
        with_word: by word, pictures of the same prompts and seeds in the same order.
        drawn: scores of all of them.

    Raises:
        DatasetError: a picture was not tagged.
    """
    if not report.measured_by:
        return report
    moves = tuple(WordMove(word=word, share=_share(report, own, those, drawn)) for word, those in with_word.items())
    if best := report.model_copy(update={"moves": moves}).best:
        reason = (
            f"the base knows the look by name ('{best.word}' goes {best.share.mean:.0%} of the way to the "
            "screenshots), so captions that name it can keep it out of the trigger"
        )
        return report.model_copy(update={"moves": moves, "method": "captions-only", "reason": reason})
    reason = "no word moves the base's pictures towards the screenshots for certain, so the look must be taught first"
    return report.model_copy(update={"moves": moves, "method": "note", "reason": reason})


def _share(report: LookReport, own: Sequence[Sample], those: Sequence[Sample], drawn: TagTable) -> Score:
    """The projection of each picture's move on the way to the screenshots, in its length; prompts resampled first."""
    way = {tag: report.screenshots[tag] - report.base[tag] for tag in report.measured_by}
    length = sum(step * step for step in way.values())

    def moved(before: Sample, after: Sample) -> float:
        return sum(
            (probability(after, drawn, tag) - probability(before, drawn, tag)) * step for tag, step in way.items()
        ) / length  # fmt: skip

    pairs = list(zip(own, those, strict=True))
    return nested([moved(*pair) for pair in pairs], [(before.prompt_index,) for before, _ in pairs])
