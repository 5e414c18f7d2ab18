"""Which redrawn pictures are trained on, and why not the others."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.dataset import Scores
from lora_core.recipe import COMPOSITIONS, Composition, Redraw, ShotPlan
from lora_core.redraw.judgement import selection_gate
from lora_core.redraw.scenes import Scene
from lora_core.redraw.selection import Bounds, Candidate, select_pictures

_TRAITS = ("pink_hair", "green_eyes")
_GOOD = {"pink_hair": 0.9, "green_eyes": 0.8, "upper_body": 0.9}
_ONE = ShotPlan(close_up=0, portrait=0, upper_body=1, cowboy_shot=0)


def _candidate(number: int, scores: dict[str, float], **changes: object) -> Candidate:
    scene = Scene(framing="upper_body", clothes="", pose="", place="", prompt="momo, upper body", seed=number)
    fields = {"scene": scene, "hash": int("9e3779b97f4a7c15" * 4, 16) * (2 * number + 1) % 2**256, **changes}
    return Candidate(
        name=f"redrawn-{number:03d}", image=f"{number:064x}", size=(64, 64),
        scores=Scores(rating={}, general=scores, character={}), **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def _bounds(
    plan: ShotPlan = _ONE, left_out: tuple[str, ...] = (), own: tuple[str, ...] = (), **options: object
) -> Bounds:
    return Bounds(
        Redraw.model_validate(options), plan, _TRAITS, look=("realistic", "nose"),
        own=frozenset((*_TRAITS, "long_hair", "pink_eyes", *own)), copy_bits=32, left_out=left_out,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "changes", "reason"),
    [
        (_GOOD | {"green_eyes": 0.3}, {}, "green eyes read at 0.30, below 0.35"),
        (_GOOD | {"pink_hair": 0.0, "green_eyes": 0.3}, {}, "pink hair read at 0.00, below 0.35"),
        (_GOOD | {"cat_ears": 0.8, "horns": 0.6}, {}, "cat ears 0.80, not on the screenshots"),
        (_GOOD | {"heterochromia": 0.7}, {}, "heterochromia 0.70, not on the screenshots"),
        (_GOOD | {"realistic": 0.3, "nose": 0.1}, {}, "3D look 0.20, above 0.15"),
        (_GOOD, {"look_class": 0.8}, "3D look 0.80 by the classifier, above 0.5"),
        (_GOOD | {"upper_body": 0.1, "full_body": 0.9}, {}, "drawn in another composition than upper body"),
        (_GOOD, {"copied": "shot 7"}, "nearly the screenshot shot 7"),
        (_GOOD, {"forbidden": "no"}, "the content rule: no"),
    ],
)
def test_a_picture_that_misses_a_bound_is_refused_with_its_reason(
    scores: dict[str, float], changes: dict[str, object], reason: str
) -> None:
    (one,) = select_pictures([_candidate(1, scores, **changes)], _bounds()).pictures
    assert one.text == reason


@pytest.mark.parametrize(
    ("scores", "options"),
    [
        ({"cat_ears": 0.5}, {}),  # no more than may be
        ({"cat_ears": 0.8}, {"max_other_trait": 0.8}),
        ({"pink_eyes": 0.9}, {}),  # on the screenshots too
        ({"short_hair": 0.9, "crossed_bangs": 0.9, "hair_ribbon": 0.9, "kimono": 0.9}, {}),  # tell nobody apart
    ],
)
def test_only_what_tells_another_character_and_is_on_no_screenshot_is_refused(
    scores: dict[str, float], options: dict[str, float]
) -> None:
    assert select_pictures([_candidate(1, _GOOD | scores)], _bounds(**options)).counts == {"chosen": 1}


def test_what_the_prompt_asks_for_is_no_other_characters_trait() -> None:
    scene = Scene(framing="upper_body", clothes="", pose="", place="", prompt="momo, (side ponytail:1.2)", seed=1)
    tied = _candidate(1, _GOOD | {"side_ponytail": 0.9}, scene=scene)
    assert select_pictures([tied], _bounds()).counts == {"chosen": 1}


def test_what_a_species_brings_along_is_its_own() -> None:
    tailed = _candidate(1, _GOOD | {"fox_tail": 0.9})
    assert select_pictures([tailed], _bounds()).counts == {"other": 1}
    assert select_pictures([tailed], _bounds(own=("fox_girl",))).counts == {"chosen": 1}


def test_where_other_characters_traits_keep_most_pictures_out_the_line_says_so() -> None:
    pictures = [_candidate(n, _GOOD | {"cat_ears": 0.9}) for n in (1, 2)]
    found = select_pictures([*pictures, _candidate(3, _GOOD | {"green_eyes": 0.0})], _bounds())
    assert found.failing == "2 of 3 pictures are out for another character’s trait, cat ears first"


def test_a_trait_that_cannot_be_seen_from_behind_is_not_asked_for() -> None:
    scores = {"pink_hair": 0.9, "upper_body": 0.9, "from_behind": 0.8}
    (one,) = select_pictures([_candidate(1, scores)], _bounds()).pictures
    assert (one.code, one.worst_trait) == ("chosen", "pink_hair")


def test_the_framing_that_the_tagger_is_sure_of_counts_and_else_the_prompts_if_it_is_seen_at_all() -> None:
    sure = _candidate(1, _GOOD | {"upper_body": 0.1, "portrait": 0.9})
    unsure = _candidate(2, _GOOD | {"upper_body": 0.3, "portrait": 0.3})
    found = select_pictures([sure, unsure], _bounds())
    assert [one.composition for one in found.pictures] == ["portrait", "upper_body"]


def test_the_picture_whose_worst_trait_is_read_best_goes_first() -> None:
    found = select_pictures([_candidate(n, _GOOD | {"green_eyes": 0.5 + n / 10}) for n in (1, 3, 2)], _bounds())
    assert [one.name for one in found.chosen] == ["redrawn-003"]
    assert found.counts == {"spare": 2, "chosen": 1}


def test_one_more_use_of_a_scene_weighs_as_much_as_a_twentieth_of_a_traits_score() -> None:
    def placed(number: int, place: str, eyes: float) -> Candidate:
        scene = Scene(framing="upper_body", clothes="", pose="", place=place, prompt="", seed=number)
        return _candidate(number, _GOOD | {"green_eyes": eyes}, scene=scene)

    plan = _ONE.model_copy(update={"upper_body": 2})
    near = select_pictures(
        [placed(1, "forest", 0.8), placed(2, "forest", 0.7), placed(3, "beach", 0.66)], _bounds(plan)
    )
    far = select_pictures([placed(1, "forest", 0.8), placed(2, "forest", 0.7), placed(3, "beach", 0.64)], _bounds(plan))
    assert [one.name for one in near.chosen] == ["redrawn-001", "redrawn-003"]
    assert [one.name for one in far.chosen] == ["redrawn-001", "redrawn-002"]


@pytest.mark.parametrize(("share", "begun"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_of_what_is_kept_so_large_a_share_begins_with_screenshots_however_well_they_are_read(
    share: float, begun: int
) -> None:
    def drawn(number: int) -> Candidate:
        of = {"screenshot": f"shot {number}"} if number % 2 else {}
        scene = Scene(framing="upper_body", clothes="", pose="", place="", prompt="", seed=number, **of)
        return _candidate(number, _GOOD | {"green_eyes": 0.9 if number % 2 else 0.6}, scene=scene)

    plan = _ONE.model_copy(update={"upper_body": 4})
    found = select_pictures([drawn(n) for n in range(1, 11)], _bounds(plan, from_screenshots=share))
    assert sum(bool(one.scene.screenshot) for one in found.chosen) == begun
    few = select_pictures([drawn(n) for n in (1, 2, 4, 6, 8)], _bounds(plan, from_screenshots=share))
    assert len(few.chosen) == 4


def test_of_two_pictures_that_are_nearly_the_same_only_one_is_chosen() -> None:
    twins = [_candidate(1, _GOOD, hash=0), _candidate(2, _GOOD, hash=2**32 - 1), _candidate(3, _GOOD, hash=2**33 - 1)]
    found = select_pictures(twins, _bounds(_ONE.model_copy(update={"upper_body": 3})))
    assert [one.text for one in found.pictures] == ["chosen", "nearly the same as redrawn-001", "chosen"]


def test_a_picture_that_is_taken_out_by_hand_is_made_up_for_by_the_next_one() -> None:
    pictures = [_candidate(1, _GOOD), _candidate(2, _GOOD | {"green_eyes": 0.6})]
    found = select_pictures(pictures, _bounds(left_out=("redrawn-001",)))
    assert [one.code for one in found.pictures] == ["by_hand", "chosen"]


def test_what_one_composition_lacks_is_made_up_for_by_the_others() -> None:
    plan = ShotPlan(close_up=0, portrait=2, upper_body=1, cowboy_shot=0)
    found = select_pictures([_candidate(n, _GOOD) for n in range(1, 6)], _bounds(plan))
    assert (len(found.chosen), found.wanted) == (3, 3)


def test_too_few_pictures_fail_the_gate_and_its_line_names_the_trait_that_fails_most() -> None:
    eyes, hair = ({**_GOOD, trait: 0.1} for trait in ("green_eyes", "pink_hair"))
    pictures = [_candidate(n, scores) for n, scores in enumerate((eyes, eyes, eyes, hair, _GOOD), start=1)]
    bounds = _bounds(_ONE.model_copy(update={"upper_body": 4}))
    gate = selection_gate(select_pictures(pictures, bounds), bounds.options)
    assert not gate.passed
    assert gate.figure == pytest.approx(0.25)
    assert "most fail on green eyes: too low in 3 of 5 pictures, on average at 0.38" in gate.story


def test_where_the_look_keeps_most_pictures_out_the_line_says_so() -> None:
    pictures = [_candidate(n, _GOOD | {"realistic": 0.9, "nose": 0.9}) for n in (1, 2)]
    found = select_pictures([*pictures, _candidate(3, _GOOD | {"green_eyes": 0.0})], _bounds())
    assert found.failing == "2 of 3 pictures are out for the 3D look"


_score = st.floats(0, 1).map(lambda value: round(value, 2))


@given(
    rows=st.lists(st.tuples(_score, _score, _score, st.sampled_from(COMPOSITIONS)), max_size=30),
    wanted=st.integers(1, 12),
)
def test_what_is_chosen_holds_every_bound_and_nothing_that_passes_is_missing_while_there_is_room(
    rows: list[tuple[float, float, float, Composition]], wanted: int
) -> None:
    pictures = [
        _candidate(number, {"pink_hair": hair, "green_eyes": eyes, "realistic": look, framing: 1.0})
        for number, (hair, eyes, look, framing) in enumerate(rows)
    ]
    found = select_pictures(pictures, _bounds(ShotPlan(), pictures=wanted))
    passing = sum(hair >= 0.35 and eyes >= 0.35 and look / 2 <= 0.15 for hair, eyes, look, _ in rows)
    assert [one.name for one in found.pictures] == [one.name for one in pictures]
    assert len(found.chosen) + Counter(found.counts)["alike"] >= min(passing, wanted)
    for one in found.chosen:
        assert one.worst_score >= 0.35
        assert one.look <= 0.15
