"""Which words for the 3D look a base knows: how far each moves its pictures towards the screenshots.

A base that knows a word draws the look when it is asked for it, so that captions with the word can keep it out of the
trigger. What sees the look in the screenshots is found as for leak (`leak.find_look`): the tagger's words, else an
auxiliary classifier, else an embedder. A word's share is how far the pictures with it are on the way from those without
to the screenshots: 0 not at all, 1 as the screenshots.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from lora_core.captions.tags import canonical
from lora_core.dataset import Frozen, Manifest, TagTable
from lora_core.judging.bootstrap import Score, nested
from lora_core.judging.character import CHARACTER
from lora_core.judging.leak import Look, LookWord
from lora_core.judging.onnx_models import class_probabilities
from lora_core.judging.similarity import embed
from lora_core.judging.verdict import find_instruments
from lora_core.methods import Method
from lora_core.progress import Progress
from lora_core.recipe import Captions, Sampling
from lora_core.refs import CheckpointRef
from lora_core.sampling.samples import Sample, Samples, samples_manifest, together
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.tag import tag

if TYPE_CHECKING:
    from lora_core.sampling.sampler import SamplerConfig

LOOK_WORDS = (
    "3d", "realistic", "nose, lips", r"blender \(medium\)", r"koikatsu \(medium\)", r"mikumikudance \(medium\)",
    "honey select", "3d, realistic, nose, lips",
)  # fmt: skip
"""What is tried: Danbooru's words for the look and for what makes it, and the usual ones together."""
_KNOWN = 0.2
"""Of the way: a word is known when its whole interval is above. Chosen: nothing in between was measured."""


SEEDS = 4
"""Pictures of each prompt, of a word that fewer leave in doubt."""
_FEWEST = 2
"""Nothing is known, or beyond measure, by fewer pictures of a prompt: six values make too narrow an interval."""

Drawn = Mapping[str, Samples]
"""The base's pictures by the word behind their prompts; under "" those without any."""


def asking(sampling: Sampling) -> Sampling:
    """How the base is asked: the recipe's prompts without the trigger, one seed of each, nothing finer."""
    stripped = (prompt.replace("{trigger}", "").strip(", ") for prompt in sampling.prompts)
    prompts = tuple(prompt for prompt in stripped if prompt) or ("1girl, solo",)
    plain = {"prompts": prompts, "seeds": (1,), "weights": (1.0,), "hires": 1.0}
    return sampling.on_one_base.model_copy(update=plain)


def usual_pictures(prompts: int) -> int:
    """How many are drawn where one seed shows that the base knows no word."""
    return prompts * (2 + len(LOOK_WORDS))


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

    @property
    def known(self) -> tuple[WordMove, ...]:
        """The words that the base knows, the one that goes farthest first."""
        return tuple(sorted((move for move in self.moves if move.is_known), key=lambda move: -move.share.mean))

    def captions(self, own: Captions) -> Captions:
        """The caption rules, and a word that the base knows where it does not know their own (the first asked)."""
        if not self.known or self.moves[0].is_known:
            return own
        more = tuple(tag for tag in map(canonical, self.known[0].word.split(",")) if tag not in (*own.add, *own.face))
        return own.model_copy(update={"add": (*own.add, *more)})


class Instruments(NamedTuple):
    """The files of what reads pictures.

    Attributes:
        tagger: asked first.
        classifier: asked where the tagger sees no look; None: there is none.
        label: the classifier's class for the look.
        embedder: asked where both see none; None: there is none.
    """

    tagger: Mapping[str, Path]
    classifier: Mapping[str, Path] | None = None
    label: str = ""
    embedder: Mapping[str, Path] | None = None


def ask(
    store: Store,
    base: CheckpointRef,
    screenshots: tuple[Manifest, TagTable],
    groups: Sequence[Sequence[str]],
    drawing: tuple[Sampling, "SamplerConfig"],
    by: Instruments,
    watch: Callable[[str, str], AbstractContextManager[Progress]],
    most: int = SEEDS,
) -> tuple[LookReport, Drawn]:
    """What a base knows of the look of screenshots, and the pictures that show it.

    Args:
        store: keeps the pictures, so that none is drawn twice.
        base: that is asked.
        screenshots: squares of them, and the tagger's scores of these.
        groups: of words, the likeliest first (`in_turn`).
        drawing: the prompts (`asking`), and how the base is read.
        by: what reads pictures.
        watch: shows a bar for what is done, and what is counted.
        most: seeds of each prompt.

    Raises:
        CheckpointError: the base cannot be loaded.
        TaggerError: one of the instruments cannot be used.
    """
    from lora_core.sampling.words import draw_words  # heavy: a plan asks this module only how much is drawn

    options, config = drawing
    shots, seen = screenshots

    def draw(words: Sequence[str], seeds: Sequence[int]) -> Drawn:
        with watch("look", "step") as listen:
            return draw_words(store, base, words, options.model_copy(update={"seeds": tuple(seeds)}), config, listen)

    def judge(drawn: Drawn) -> LookReport:
        with watch("read look", "sample") as listen:
            scores = tag(store, samples_manifest(together(list(drawn.values()))), by.tagger, listen)
        samples = {word: one.samples for word, one in drawn.items()}
        return judged(_seen(store, drawn, shots, (scores, seen), by), samples)

    return in_turn(groups, draw, judge, most)


def in_turn(
    groups: Sequence[Sequence[str]],
    draw: Callable[[Sequence[str], Sequence[int]], Drawn],
    judge: Callable[[Drawn], LookReport],
    most: int = SEEDS,
) -> tuple[LookReport, Drawn]:
    """What a base knows, by no more pictures than that takes.

    One seed of every prompt rules most words out. Those above the bound on average are drawn with a second, and where
    their interval still holds it with all. The next group is asked where the base knows no word of the one before.

    Args:
        groups: of words, the likeliest first.
        draw: the pictures of some words and those without any, with these seeds.
        judge: what pictures say of the words.
        most: seeds of each prompt.
    """
    drawn: dict[str, Samples] = {}
    report = LookReport(tried=(), measured_by=(), method="note", reason="")
    for group in groups:
        words = tuple(group)
        for seeds in ((1,), (2,), tuple(range(_FEWEST + 1, most + 1))):
            if words and seeds and seeds[0] <= most:
                for word, samples in draw(words, seeds).items():
                    drawn[word] = _with_more(drawn.get(word, samples), samples)
                report = judge(drawn)
                words = _in_doubt(words, report, seeds[-1])
        if report.known or not report.measured_by:
            break
    return report, drawn


def _with_more(there: Samples, more: Samples) -> Samples:
    """Those without a word are there already when another group is asked."""
    known = {(one.prompt_index, one.seed) for one in there.samples}
    new = (one for one in more.samples if (one.prompt_index, one.seed) not in known)
    return there.model_copy(update={"samples": (*there.samples, *new)})


def _in_doubt(words: Sequence[str], report: LookReport, seeds: int) -> tuple[str, ...]:
    """Those of which more pictures may say something else."""
    if not report.measured_by:
        return tuple(words) if seeds < _FEWEST else ()
    moves = {move.word: move for move in report.moves}
    maybe = (word for word in words if moves[word].share.mean > _KNOWN)
    return tuple(word for word in maybe if seeds < _FEWEST or not moves[word].is_known)


def judged(look: Look, drawn: Mapping[str, Sequence[Sample]]) -> LookReport:
    """Every word's share, and the method that suits.

    Args:
        look: what sees the look in the screenshots.
        drawn: pictures by word; those without a word at least of the same prompts and seeds.

    Raises:
        DatasetError: a picture was not tagged.
    """
    measured_by = tuple(one.word.name for one in look.instruments)
    own = {(one.prompt_index, one.seed): one for one in drawn[""]}
    moves = tuple(
        WordMove(word=word, share=_share(look, own, those)) for word, those in drawn.items() if word and measured_by
    )
    report = LookReport(tried=look.tried, measured_by=measured_by, moves=moves, method="note", reason="")
    method: Method = "note"
    if not measured_by:
        reason = (
            "cannot be measured: nothing sees more of the look in the screenshots than in the base's own pictures; the "
            "style stage needs no word for the look"
        )
    elif report.known:
        method, best = "captions-only", report.known[0]
        reason = (
            f"the base knows the look by name ('{best.word}' goes {best.share.mean:.0%} of the way to the "
            "screenshots), so captions that name it can keep it out of the trigger"
        )
    else:
        reason = "no word moves the base's pictures towards the screenshots for sure, so the look must be taught first"
    return report.model_copy(update={"method": method, "reason": reason})


def _seen(
    store: Store, drawn: Drawn, screenshots: Manifest, scores: tuple[TagTable, TagTable], by: Instruments
) -> Look:
    """What sees the look in the screenshots: the tagger, else the classifier or the embedder."""
    labels, every = (
        frozenset(label.name for label in read_labels(by.tagger["selected_tags.csv"])),
        together(list(drawn.values())),
    )
    classes: list[Mapping[str, float]] = [{}, {}]
    if by.classifier:
        sets = (samples_manifest(every), screenshots)
        classes = [class_probabilities(store, each, by.classifier, by.label) for each in sets]
    # A character model's files, which may lie there too, say nothing of a look.
    encoder = {name: path for name, path in (by.embedder or {}).items() if not name.startswith(CHARACTER)}
    embedded = embed(store, every, screenshots, encoder) if encoder else None
    return find_instruments(drawn[""].samples, *scores, labels, (classes[0], classes[1]), embedded, asked=lambda _: ())


def _share(look: Look, own: Mapping[tuple[int, int], Sample], those: Sequence[Sample]) -> Score:
    """Of each picture's way from the one without the word; prompts resampled first."""
    pairs = [(one, own[one.prompt_index, one.seed]) for one in those]
    return nested([share or 0.0 for share in look.together(pairs)], [(one.prompt_index,) for one in those])
