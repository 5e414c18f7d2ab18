"""Bases that saw the look on few of their pictures, and the proof's arms on them."""

import random
from pathlib import Path

import pytest

from demo.proof import scope
from demo.proof.arms import Screenshots, read_arm
from demo.proof.docs import DOCS, UNKNOWN_FILE, read_results
from demo.proof.faint import ARMS, Faint, base_of, of_results, read_faint, table
from demo.proof.forgetful import on_base
from demo.proof.results import as_lines
from demo.train import forget
from demo.train.render import FULL_PX
from demo.world.tags import SOLID_LOOK, picture_tags
from lora_core.judging.bootstrap import Score


@pytest.mark.parametrize(("share", "solid"), [(0.0, 0), (0.004, 8), (0.04, 80), (0.4, 800), (1.0, 2000)])
def test_so_large_a_share_of_the_pictures_is_in_the_look_evenly_among_the_others(share: float, solid: int) -> None:
    looks = [forget.look_of(k, share) for k in range(2000)]
    assert looks.count("solid") == solid
    assert abs(looks[:1000].count("solid") - solid / 2) <= 1


def test_the_looks_words_stand_where_it_is_and_nowhere_else() -> None:
    dice = random.Random(1)
    for k in range(200):
        look = forget.look_of(k, 0.5)
        words = forget.caption(picture_tags(*forget.imagined(FULL_PX, k), look), dice, astray=False)
        assert bool(set(words) & set(SOLID_LOOK)) <= (look == "solid")


def test_arms_on_such_a_base_differ_in_the_base_alone(tmp_path: Path) -> None:
    own = scope.full([read_arm(name) for name in ARMS])
    base = base_of(tmp_path, 0.004)
    shots = Screenshots(Path("/shots/style"), Path("/shots/character"))
    for one, other in zip(own.arm_runs(lambda _: shots), on_base(own, base).arm_runs(lambda _: shots), strict=True):
        assert other.recipe.base.model == str(base)
        assert other.recipe.model_copy(update={"base": one.recipe.base}) == one.recipe


def test_rows_of_a_proof_that_was_run_before_are_its_own_figures() -> None:
    unknown = read_results(DOCS / "proof" / UNKNOWN_FILE)
    rows = of_results(unknown, "forgetful", 0.0, unknown, ["momo-yuki"])
    naive = unknown.arm("naive")
    assert naive is not None
    (figures,) = (run.figures for run in naive.runs if (run.pair, run.seed) == ("momo-yuki", 1))
    assert (rows[0].arm, rows[0].identity, rows[0].leak) == ("naive", figures["identity"], figures["leak"])
    assert {row.pair for row in rows} == {"momo-yuki"}
    assert all(row.words and row.words.mean < 0.2 for row in rows)
    shipped = of_results(unknown, "shipped", 0.4, read_results(DOCS / "proof" / "results.json"), ["momo-yuki"])
    assert all(row.words and row.words.mean > 0.9 for row in shipped)


def test_the_table_goes_from_the_base_that_saw_most_to_the_one_that_saw_nothing(tmp_path: Path) -> None:
    words = Score(mean=0.5, low=0.4, high=0.6, samples=4)
    rows = [
        Faint(share=share, words=words, arm=arm, pair="momo-yuki", identity=0.6, leak=share)
        for share, arm in ((0.0, "naive"), (0.04, "naive"), (0.4, "naive"), (0.04, "captions-only"))
    ]
    lines = table(rows).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| 40 %", "| 4 %", "| 0 %"]
    assert "| 0.50 (0.40 to 0.60) | momo-yuki | 0.60 / 0.04 | 0.60 / 0.04 | – |" in lines[1]
    (tmp_path / "faint.json").write_bytes(as_lines(rows))
    assert read_faint(tmp_path / "faint.json") == rows
    assert read_faint(tmp_path / "none.json") == []
