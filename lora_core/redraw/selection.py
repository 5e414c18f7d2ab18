"""Which redrawn pictures are trained on: those that show the whole character and nothing of the 3D look."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lora_core.captions import taxonomy
from lora_core.dataset import Scores
from lora_core.images.composition import composition_by_scores, view_by_scores
from lora_core.judging.evidence import tags_of_prompt
from lora_core.recipe import COMPOSITIONS, Composition, Redraw, ShotPlan
from lora_core.redraw.judgement import Code, Judgement, Selection
from lora_core.redraw.scenes import Scene, quotas
from lora_core.refs import Digest

_UNCLEAR = 0.2
"""A framing that the prompt asks for is believed at this score where the tagger is not sure of any."""
LIKELY_CLASS = 0.5
"""Above it a picture is rather of the look's class than not."""
_USED_BEFORE = 0.05
"""So much of the worst trait's score one more use of the same clothes, pose or scene weighs."""


@dataclass(frozen=True)
class Candidate:
    """What is known of one redrawn picture.

    Attributes:
        name: of the picture.
        image: its bytes.
        size: width and height in pixels.
        scene: what it was to show.
        scores: what the tagger sees.
        hash: its perceptual hash, 256 bits.
        copied: the screenshot that it is nearly the same as; empty: none.
        forbidden: why the content rule refuses it; empty: it does not.
        look_class: the auxiliary classifier's probability of the look; 0 without one.
    """

    name: str
    image: Digest
    size: tuple[int, int]
    scene: Scene
    scores: Scores
    hash: int
    copied: str = ""
    forbidden: str = ""
    look_class: float = 0.0


@dataclass(frozen=True)
class Bounds:
    """What a picture is held to.

    Attributes:
        options: the recipe's.
        plan: compositions of the set.
        traits: canonical tags that the tagger knows.
        look: tags of the 3D look that the tagger knows.
        own: what the character may show: its traits, and what is read on the screenshots.
        copy_bits: two pictures that differ by at most so many bits of their hashes are the same.
        left_out: names that a person took out.
    """

    options: Redraw
    plan: ShotPlan
    traits: tuple[str, ...]
    look: tuple[str, ...]
    own: frozenset[str]
    copy_bits: int
    left_out: Collection[str] = ()


def select_pictures(candidates: Sequence[Candidate], bounds: Bounds) -> Selection:
    """Refuse what misses a bound, with the reason; of the rest, choose by the plan, each scene about equally often.

    Of two that pass, the one whose worst trait is read better goes first, less .05 for every time that its clothes,
    pose or scene were chosen before. A composition that too few pass of is made up for by others.
    """
    judged = {one.name: _judged(one, bounds) for one in candidates}
    hashes = {one.name: one.hash for one in candidates}
    wanted = quotas(bounds.plan, bounds.options.pictures)
    spare = [one for one in judged.values() if one.code == "spare"]
    shelf = _Shelf(spare, hashes, bounds.copy_bits, bounds.options.from_screenshots)
    for composition in sorted(COMPOSITIONS, key=lambda each: shelf.count(each) - wanted[each]):  # the scarcest first
        for _ in range(wanted[composition]):
            shelf.take(composition)
    total = sum(wanted.values())
    while len(shelf.taken) < total and shelf.take(None):
        pass
    judged |= {one.name: one for one in (*shelf.taken, *shelf.refused)}
    return Selection(pictures=tuple(judged.values()), wanted=total, scores=_means(candidates, bounds))


def _judged(one: Candidate, bounds: Bounds) -> Judgement:
    general = one.scores.general
    seen = seen_traits(one, bounds.traits)
    worst = min(seen, key=lambda trait: general.get(trait, 0.0), default="")
    score = general.get(worst, 0.0) if worst else 1.0
    look = fmean(general.get(tag, 0.0) for tag in bounds.look) if bounds.look else 0.0
    composition = _composition(one)
    code, values = _refused(one, bounds, composition, worst, score, look)
    return Judgement(
        name=one.name, image=one.image, width=one.size[0], height=one.size[1], scene=one.scene, composition=composition,
        view=view_by_scores(general), worst_trait=worst, worst_score=score, look=look, code=code, values=values,
    )  # fmt: skip


def _refused(
    one: Candidate, bounds: Bounds, composition: Composition | None, worst: str, score: float, look: float
) -> tuple[Code, tuple[str, ...]]:
    """The first bound that is missed; "spare" if none is."""
    options = bounds.options
    if one.forbidden:
        return "content", (one.forbidden,)
    if one.name in bounds.left_out:
        return "by_hand", ()
    if look > options.max_look:
        return "look", (f"{look:.2f}", f"{options.max_look:g}")
    if one.look_class > LIKELY_CLASS:
        return "look", (f"{one.look_class:.2f} by the classifier", f"{LIKELY_CLASS:g}")
    if worst and score < options.worst_trait:
        return "trait", (worst, f"{score:.2f}", f"{options.worst_trait:g}")
    other, read = _other_trait(one, bounds.own)
    if read > options.max_other_trait:
        return "other", (other, f"{read:.2f}")
    if composition is None:
        return "framing", (one.scene.framing.replace("_", " "),)
    if one.copied:
        return "copy", (one.copied,)
    return "spare", ()


def seen_traits(one: Candidate, traits: Sequence[str]) -> tuple[str, ...]:
    """The traits that can be seen in a picture, by what its prompt asks for and the tagger reads."""
    read = {tag for tag, score in one.scores.general.items() if score >= 0.5}
    beside = {*tags_of_prompt(one.scene.prompt), *read}
    return tuple(trait for trait in traits if not taxonomy.is_hidden(trait, beside))


def _other_trait(one: Candidate, own: Collection[str]) -> tuple[str, float]:
    """What tells another character and is read best, with its score.

    What the prompt asks for is no mistake, nor what the character's own bring along: a fox girl has a tail, though no
    portrait shows it.
    """
    expected = {*own, *tags_of_prompt(one.scene.prompt)}
    along = {family for tag in expected for family in taxonomy.implied_by(tag)}
    others = (
        tag
        for tag in one.scores.general
        if tag not in expected and taxonomy.is_telling(tag) and taxonomy.family_of(tag) not in along
    )
    worst = max(others, key=lambda tag: one.scores.general[tag], default="")
    return worst, one.scores.general.get(worst, 0.0)


def _composition(one: Candidate) -> Composition | None:
    """As the tagger reads it; where it is not sure, what the prompt asks for, unless the tagger sees none of that."""
    reading = composition_by_scores(one.scores.general).composition
    asked = one.scene.framing
    return reading or (asked if one.scores.general.get(asked, 0.0) >= _UNCLEAR else None)


def _means(candidates: Sequence[Candidate], bounds: Bounds) -> dict[str, float]:
    found: dict[str, list[float]] = {trait: [] for trait in bounds.traits}
    for one in candidates:
        for trait in seen_traits(one, bounds.traits):
            found[trait].append(one.scores.general.get(trait, 0.0))
    return {trait: fmean(scores) for trait, scores in found.items() if scores}


class _Shelf:
    """Pictures that pass, taken one by one."""

    def __init__(self, passing: Sequence[Judgement], hashes: Mapping[str, int], copy_bits: int, begun: float) -> None:
        """`begun`: of what is taken, the share that begins with a screenshot, while there is any."""
        self._left, self._hashes, self._copy_bits, self._begun = list(passing), hashes, copy_bits, begun
        self._used: Counter[tuple[str, str]] = Counter()
        self.taken: list[Judgement] = []
        self.refused: list[Judgement] = []

    def count(self, composition: Composition) -> int:
        """Pictures that are left of a composition."""
        return sum(one.composition == composition for one in self._left)

    def take(self, composition: Composition | None) -> bool:
        """Take the best of a composition, or of all; those that are nearly one of the taken are refused on the way.

        Returns:
            Whether there was one.
        """
        while own := [one for one in self._left if composition in (None, one.composition)]:
            begun = self._wants_begun()
            best = max(own, key=lambda one: (bool(one.scene.screenshot) == begun, self._worth(one), -one.scene.seed))
            self._left.remove(best)
            twin = next((one.name for one in self.taken if self._are_alike(one, best)), None)
            if twin is None:
                self.taken.append(best.model_copy(update={"code": "chosen"}))
                self._used.update(_slots(best))
                return True
            self.refused.append(best.model_copy(update={"code": "alike", "values": (twin,)}))
        return False

    def _wants_begun(self) -> bool:
        had = sum(bool(one.scene.screenshot) for one in self.taken)
        return had + 0.5 <= self._begun * (len(self.taken) + 1)

    def _worth(self, one: Judgement) -> float:
        return one.worst_score - _USED_BEFORE * sum(self._used[slot] for slot in _slots(one))

    def _are_alike(self, one: Judgement, other: Judgement) -> bool:
        return (self._hashes[one.name] ^ self._hashes[other.name]).bit_count() <= self._copy_bits


def _slots(one: Judgement) -> tuple[tuple[str, str], ...]:
    scene = one.scene
    return tuple(
        (slot, text)
        for slot, text in (
            ("clothes", scene.clothes),
            ("pose", scene.pose),
            ("scene", scene.place),
            ("screenshot", scene.screenshot),
        )
        if text
    )
