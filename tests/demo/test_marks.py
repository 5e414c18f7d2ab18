"""Traits that no tag names: drawn in both looks, told by no tag, and what of them an arm keeps."""

import random

import numpy as np
import pytest

from demo.proof.hidden import Kept, table
from demo.proof.intervals import Place, figure
from demo.world import Character, Look, Scene, draw, picture_tags
from demo.world.character import CAST, MARKED
from demo.world.screenshot import screenshot_tags


@pytest.mark.parametrize("look", ["flat", "solid"])
@pytest.mark.parametrize("name", MARKED)
def test_a_mark_is_drawn_in_both_looks_and_changes_no_tag(name: str, look: Look) -> None:
    scene = Scene(composition="upper_body")
    plain = MARKED[name].model_copy(update={"mark": "none"})
    assert picture_tags(MARKED[name], scene, look) == picture_tags(plain, scene, look)
    assert screenshot_tags(MARKED[name]) == screenshot_tags(plain)
    one, other = (np.asarray(draw(each, scene, look), np.int16) for each in (MARKED[name], plain))
    changed = np.abs(one - other).max(2) > 40
    assert 0.005 < changed.mean() < 0.08


def test_nobody_else_bears_a_mark() -> None:
    rng = random.Random(3)
    everybody = (*CAST.values(), *(Character.random(rng) for _ in range(200)))
    assert {one.mark for one in everybody} == {"none"}


def test_the_table_says_what_an_arm_keeps_of_what_naive_has() -> None:
    def row(arm: str, rises: list[float]) -> Kept:
        score = figure(rises, [Place("rika-yuki", 1, number) for number in range(len(rises))])
        return Kept(arm=arm, pair="rika-yuki", seed=1, trait="curl", levels={"last LoRA": 0.5}, rise=score)

    lines = table([row("naive", [0.6, 1.0]), row("redraw", [0.3, 0.5])]).splitlines()
    assert [line.split(" | ")[-1] for line in lines[2:]] == ["1.00 |", "0.50 |"]
