"""Which words for the look a base knows: shares by hand, and what is recommended from them."""

from collections.abc import Mapping, Sequence

import pytest

from lora_core.dataset import Scores, TagTable
from lora_core.judging.look import LookReport, judged
from lora_core.judging.verdict import find_instruments
from lora_core.recipe import LEAK_TAGS
from lora_core.sampling.samples import Sample
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
    return judged(look, drawn, with_word)


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
