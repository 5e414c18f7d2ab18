"""What sets have of each composition and view, against the plan and against each other."""

import pytest

from lora_core.dataset import Entry, Manifest
from lora_core.errors import DatasetError
from lora_core.images.coverage import coverage, refuse_empty, seen_from, unequal_views, warnings
from lora_core.recipe import ShotPlan

PLAN = ShotPlan.model_validate({"close-up": 0, "portrait": 2, "upper_body": 1, "cowboy_shot": 0})


def _set(*shots: tuple[str | None, tuple[str, ...] | None]) -> Manifest:
    return Manifest(
        entries=tuple(
            Entry(name=str(k), source=f"{k}.png", image="0" * 64, width=8, height=8, composition=what, view=view)
            for k, (what, view) in enumerate(shots)
        )
    )


STYLE = _set(("portrait", ()), ("portrait", ("from_side", "from_above")), ("upper_body", ()))
CHARACTER = _set(("portrait", ()), ("upper_body", ("from_behind",)), ("upper_body", ()))


def test_every_composition_has_its_counts_missing_and_surplus():
    rows = {row.composition: row for row in coverage(PLAN, {"style": STYLE, "character": CHARACTER}).rows}
    assert rows["portrait"].there == (2, 1)
    assert rows["portrait"].against_plan == (0, -1)
    assert rows["portrait"].difference == -1
    assert rows["upper_body"].there == (1, 2)
    assert rows["upper_body"].against_plan == (0, 1)
    assert rows["close-up"].there == (0, 0)
    assert None not in rows


def test_views_count_by_side_and_by_height_and_no_side_is_straight_on():
    (portrait,) = (row for row in coverage(PLAN, {"s": STYLE, "c": CHARACTER}).rows if row.composition == "portrait")
    assert {view.view: view.there for view in portrait.views} == {
        "straight-on": (1, 1),
        "from_side": (1, 0),
        "from_above": (1, 0),
    }
    assert seen_from(STYLE.entries[1]) == ("from_side", "from_above")
    assert seen_from(_set(("portrait", ("from_above",))).entries[0]) == ("straight-on", "from_above")


def test_what_is_missing_and_what_only_one_set_shows_is_told():
    assert warnings(coverage(PLAN, {"style": STYLE, "character": CHARACTER})) == (
        "character: missing 1 of 2 portrait",
        "style: lacks upper_body from_behind (character has 1)",
        "character: lacks portrait from_side (style has 1), portrait from_above (style has 1)",
    )


def test_equal_sets_that_follow_the_plan_give_no_warning():
    assert warnings(coverage(PLAN, {"style": STYLE, "character": STYLE})) == ()


def test_without_a_tagger_nothing_is_said_about_views():
    unseen = _set(("portrait", None), ("portrait", None), ("upper_body", None))
    found = coverage(PLAN, {"style": STYLE, "character": unseen})
    assert unequal_views(found) == ()
    assert found.settled, "every composition is known, so that an empty one is certain"


def test_a_planned_composition_without_a_picture_is_an_error_in_one_line():
    found = coverage(PLAN, {"style": STYLE, "character": _set(("portrait", None))})
    with pytest.raises(DatasetError, match=r"^character: no upper_body picture, 1 planned; take some, or set plan\."):
        refuse_empty(found)
    refuse_empty(coverage(PLAN, {"style": STYLE, "character": CHARACTER}))


def test_nothing_is_certain_while_a_tagger_may_still_read_a_composition():
    found = coverage(PLAN, {"character": _set(("portrait", None), (None, None))})
    assert not found.settled
    assert warnings(found)[-1] == "character: without a composition: 1"
    refuse_empty(found)
    with pytest.raises(DatasetError, match="no upper_body"):
        refuse_empty(coverage(PLAN, {"character": _set(("portrait", ()), (None, ()))}))


def test_the_plan_is_the_methods_and_zero_means_none_planned():
    assert [ShotPlan().count(one) for one in ("close-up", "portrait", "upper_body", "cowboy_shot")] == [1, 11, 18, 8]
    refuse_empty(coverage(PLAN, {"style": STYLE}))
