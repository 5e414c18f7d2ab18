"""Which words for the look a base knows: shares by hand, what is recommended from them, and how much is drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from lora_core.dataset import Scores, TagTable
from lora_core.judging.look import LOOK_WORDS, SEEDS, Drawn, LookReport, in_turn, judged, usual_pictures
from lora_core.judging.verdict import find_instruments
from lora_core.recipe import LEAK_TAGS, Captions
from lora_core.sampling.samples import Sample, Samples
from lora_core.store.digests import digest_of


class Readings:
    """Pictures and what a tagger gave them."""

    def __init__(self) -> None:
        self._images: dict[str, Scores] = {}

    def samples(self, name: str, *scores: Mapping[str, float]) -> list[Sample]:
        """One picture for each of the scores, two of a prompt."""
        made = []
        for number, general in enumerate(scores):
            image = digest_of(f"{name}{number}".encode())
            self._images[image] = Scores(rating={}, general=dict(general), character={})
            made.append(
                Sample(
                    epoch=name,
                    prompt_index=number // 2,
                    prompt="1girl",
                    seed=number % 2,
                    file=f"{name}{number}",
                    image=image,
                    width=8,
                    height=8,
                )
            )
        return made

    @property
    def table(self) -> TagTable:
        return TagTable(model="0" * 64, floor=0.05, images=self._images)


def report_of(
    own: Sequence[Mapping[str, float]],
    shots: Sequence[Mapping[str, float]],
    words: Mapping[str, Sequence[Mapping[str, float]]],
    classes: Mapping[str, float] | None = None,
) -> LookReport:
    """`classes`: what a classifier gives every picture of a name."""
    readings, seen = Readings(), Readings()
    drawn = readings.samples("none", *own)
    screenshots = seen.samples("shot", *shots)
    with_word = {word: readings.samples(word, *scores) for word, scores in words.items()}
    samples = [*drawn, *(one for each in with_word.values() for one in each)]
    by_class = [{one.image: classes[one.epoch] for one in each} if classes else {} for each in (samples, screenshots)]
    look = find_instruments(
        drawn, readings.table, seen.table, LEAK_TAGS, (by_class[0], by_class[1]), None, asked=lambda _: ()
    )
    return judged(look, {"": drawn, **with_word})


_OWN = [{"realistic": 0.1}] * 4
_SHOTS = [{"realistic": 0.5, "nose": 0.3}] * 2


def test_a_words_share_is_what_it_goes_of_all_the_ways_to_the_screenshots_laid_end_to_end() -> None:
    """The ways are realistic .4 and nose .3; a word that adds nose .3 goes .3 / .7 of them."""
    report = report_of(_OWN, _SHOTS, {"nose": [{"realistic": 0.1, "nose": 0.3}] * 4, "hat": _OWN, "all": _SHOTS * 2})
    assert report.measured_by == ("realistic", "nose")
    assert [move.share.mean for move in report.moves] == pytest.approx([3 / 7, 0, 1])
    assert [move.is_known for move in report.moves] == [True, False, True]


def test_a_base_that_knows_a_word_is_trained_with_captions_that_name_it() -> None:
    report = report_of(_OWN, _SHOTS, {"3d": _SHOTS * 2, "realistic": [{"realistic": 0.4, "nose": 0.2}] * 4})
    assert report.method == "captions-only"
    assert "('3d' goes 100% of the way to the screenshots)" in report.reason


def test_a_base_that_knows_none_is_taught_the_look_first() -> None:
    report = report_of(_OWN, _SHOTS, {"3d": _OWN, "realistic": [{"realistic": 0.15}] * 4})
    assert (report.method, [move.is_known for move in report.moves]) == ("note", [False, False])
    assert "no word moves the base's pictures towards the screenshots for sure" in report.reason


def test_a_word_that_works_for_one_prompt_alone_is_not_known() -> None:
    """Prompts are resampled: half of them at 1 and half at 0 is no sure share above .2."""
    report = report_of(_OWN, _SHOTS, {"3d": [*_SHOTS, *_OWN[:2]]})
    assert report.moves[0].share.mean == pytest.approx(0.5)
    assert not report.moves[0].is_known


def test_where_the_tagger_sees_no_look_the_classifier_is_asked() -> None:
    seen = {"none": 0.1, "3d": 0.9, "hat": 0.1, "shot": 0.9}
    report = report_of(_OWN, [{"realistic": 0.15}] * 2, {"3d": _OWN, "hat": _OWN}, seen)
    assert report.measured_by == ("auxiliary classifier",)
    assert [move.share.mean for move in report.moves] == pytest.approx([1, 0])
    assert report.method == "captions-only"


def test_where_nothing_sees_it_that_is_said() -> None:
    report = report_of(_OWN, [{"realistic": 0.15}] * 2, {"3d": [{"realistic": 0.9}] * 4})
    assert (report.measured_by, report.moves, report.method) == ((), (), "note")
    assert report.reason.startswith("cannot be measured")
    assert ("realistic", 0.1, 0.15) in [(one.name, one.base, one.screenshots) for one in report.tried]


class Simulated:
    """A base that goes some of the way by some words, drawn and read with noise; six prompts."""

    def __init__(self, seed: int, knows: Mapping[str, float], noise: float) -> None:
        self._rng, self._knows, self._noise = np.random.default_rng(seed), knows, noise
        self._readings, self._made = Readings(), dict[tuple[str, int, int], Sample]()
        self._of_prompt = self._rng.normal(0, noise / 2, 6)

    def draw(self, words: Sequence[str], seeds: Sequence[int]) -> Drawn:
        places = [(prompt, seed) for prompt in range(6) for seed in seeds]
        return {
            word: Samples(negative="", lora_files=(), samples=tuple(self._one(word, *place) for place in places))
            for word in ("", *words)
        }

    def _one(self, word: str, prompt: int, seed: int) -> Sample:
        if (word, prompt, seed) not in self._made:
            way = self._knows.get(word, 0.0) + self._of_prompt[prompt] * bool(word) + self._rng.normal(0, self._noise)
            (drawn,) = self._readings.samples(f"{word}/{prompt}/{seed}/", {"realistic": 0.1 + 0.4 * way})
            self._made[word, prompt, seed] = drawn.model_copy(update={"prompt_index": prompt, "seed": seed})
        return self._made[word, prompt, seed]

    def judge(self, drawn: Drawn) -> LookReport:
        shots = Readings()
        shots.samples("shot", {"realistic": 0.5})
        samples = {word: one.samples for word, one in drawn.items()}
        table = self._readings.table
        look = find_instruments(samples[""], table, shots.table, LEAK_TAGS, ({}, {}), None, asked=lambda _: ())
        return judged(look, samples)

    def in_turn(self, groups: Sequence[Sequence[str]]) -> tuple[LookReport, int]:
        """What is found, and by how many pictures."""
        found, drawn = in_turn(groups, self.draw, self.judge)
        assert sum(len(one.samples) for one in drawn.values()) == len(self._made)  # nothing is drawn for nothing
        return found, len(self._made)

    def at_once(self) -> LookReport:
        """With every picture that could be drawn."""
        return self.judge(self.draw(LOOK_WORDS, range(1, SEEDS + 1)))


_OWN_WORDS = "realistic, nose, lips"
_GROUPS = ((_OWN_WORDS,), LOOK_WORDS)
_ALL_PICTURES = 6 * SEEDS * (1 + len(LOOK_WORDS))


@pytest.mark.parametrize(
    ("knows", "noise", "most"),
    [
        (dict.fromkeys((_OWN_WORDS, *LOOK_WORDS), 1.0), 0.3, 0.12),  # as the demo's base does
        ({_OWN_WORDS: 0.7, LOOK_WORDS[-1]: 0.8}, 0.3, 0.15),
        ({}, 0.1, 0.3),
        ({}, 0.3, 0.4),
        ({LOOK_WORDS[4]: 1.0}, 0.2, 0.4),
    ],
)
def test_asked_in_turn_the_decision_is_the_same_by_about_a_third_of_the_pictures(
    knows: Mapping[str, float], noise: float, most: float
) -> None:
    counts, same = [], 0
    for seed in range(30):
        report, count = Simulated(seed, knows, noise).in_turn(_GROUPS)
        counts.append(count)
        same += report.method == Simulated(seed, knows, noise).at_once().method
    assert same >= 29
    assert np.mean(counts) <= most * _ALL_PICTURES


def test_what_the_dry_run_counts_is_what_is_drawn_where_no_word_is_near_the_bound() -> None:
    assert usual_pictures(6) <= _ALL_PICTURES / 3
    _, count = Simulated(1, {}, 0.05).in_turn(_GROUPS)
    assert count == usual_pictures(6)


def test_captions_keep_their_own_words_where_the_base_knows_them_whatever_else_it_knows() -> None:
    known, _ = Simulated(1, {_OWN_WORDS: 0.6}, 0.1).in_turn(_GROUPS)
    other, _ = Simulated(1, {LOOK_WORDS[-1]: 0.9, "3d": 0.6}, 0.1).in_turn(_GROUPS)
    assert [move.word for move in known.moves] == [_OWN_WORDS]
    assert known.captions(Captions()) == Captions()
    assert other.captions(Captions()).add == ("realistic", "3d")


def test_where_nothing_sees_the_look_only_one_word_is_drawn_to_find_out() -> None:
    blind = Simulated(1, {}, 0.1)
    nothing = LookReport(tried=(), measured_by=(), method="note", reason="")
    report, drawn = in_turn(_GROUPS, blind.draw, lambda _: nothing)
    assert (report, [len(one.samples) for one in drawn.values()]) == (nothing, [12, 12])
