"""Which scores become tags."""

import pytest

from lora_core.dataset import Scores
from lora_core.errors import RecipeError
from lora_core.recipe import Tagger
from lora_core.tagging.select import Thresholds, mcut, select, thresholds

SCORES = Scores(
    rating={"general": 0.99},
    general={"sky": 0.5, "sea": 0.7, "tree": 0.49, "nose": 0.2},
    character={"hatsune_miku": 0.7, "rin": 0.55},
)


def test_ratings_never_count_and_the_best_come_first():
    assert list(select(SCORES, thresholds(Tagger())).items()) == [
        ("hatsune_miku", 0.7),
        ("sea", 0.7),
        ("rin", 0.55),
        ("sky", 0.5),
    ]


def test_names_can_have_a_threshold_of_their_own():
    assert set(select(SCORES, thresholds(Tagger(character_threshold=0.6)))) == {"hatsune_miku", "sea", "sky"}


def test_a_tag_can_have_a_threshold_of_its_own_written_with_spaces_or_underscores():
    least = thresholds(Tagger(tag_thresholds=("nose = 0.15", "sea=.8", "hatsune miku = 0.9")))
    assert least.tags == {"nose": 0.15, "sea": 0.8, "hatsune_miku": 0.9}
    assert set(select(SCORES, least)) == {"rin", "sky", "nose"}


@pytest.mark.parametrize("entry", ["nose", "nose = 2", "nose = 0.0", "= 0.3", "nose: 0.3", "nose = x"])
def test_an_entry_that_is_no_threshold_is_named(entry: str):
    with pytest.raises(RecipeError, match="tag_thresholds"):
        thresholds(Tagger(tag_thresholds=(entry,)))


def test_mcut_cuts_in_the_middle_of_the_widest_gap():
    # Sorted 0.9 0.85 | 0.4 0.3 0.1: the widest gap lies between 0.85 and 0.4.
    assert mcut([0.4, 0.9, 0.1, 0.85, 0.3]) == pytest.approx(0.625)


def test_mcut_of_one_score_tells_nothing_apart():
    assert mcut([0.9]) == pytest.approx(1.0)
    assert mcut([]) == pytest.approx(1.0)


def test_of_two_gaps_equally_wide_mcut_takes_the_higher_one():
    assert mcut([0.75, 0.5, 0.25]) == pytest.approx(0.625)


def test_mcut_goes_before_the_fixed_thresholds_but_not_before_a_tags_own():
    # General: 0.7 | 0.5 0.49 | 0.2, widest between 0.49 and 0.2. Names: 0.7 | 0.55.
    least = Thresholds(general=0.99, character=0.99, tags={"sky": 0.6}, mcut=True)
    assert set(select(SCORES, least)) == {"sea", "tree", "hatsune_miku"}
