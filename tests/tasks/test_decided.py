"""Method `auto` after the base was asked: which method a run takes, with style screenshots and without."""

from pathlib import Path

import pytest

from lora_core.errors import RecipeError
from lora_core.judging.bootstrap import Score
from lora_core.judging.look import LookReport, WordMove
from lora_core.recipe import Recipe
from lora_core.recipe_file import parse_recipe
from lora_core.refs import ReportRef
from lora_core.store import Store
from tasks.look import decided
from tasks.runtime import RunContext


def _recipe(folder: Path, style: str = "", **sections: object) -> Recipe:
    said = {"name": "momo", "method": "auto", "base": "base", "character": "shots", "tagger": "tagger"}
    looks = {"style": style} if style else {}
    return parse_recipe({**said, **looks, "runtime": {"store": str(folder)}, **sections}, "recipe")


def _decided(recipe: Recipe, *, share: float, measured_by: tuple[str, ...] = ("realistic",)) -> Recipe:
    move = WordMove(word="realistic", share=Score(mean=share, low=share - 0.1, high=share + 0.1, samples=4))
    method, reason = ("captions-only", "it knows it") if share > 0.5 else ("note", "no word moves it")
    report = LookReport(tried=(), measured_by=measured_by, moves=(move,), method=method, reason=reason)  # type: ignore[arg-type]
    store = Store(Path(recipe.runtime.store))
    tree = {"look.json": store.path(store.put_json(report.model_dump(mode="json")))}
    return decided(recipe, ReportRef(sha256=store.put_tree(tree)), RunContext.of(recipe))


def test_a_base_that_knows_the_look_needs_no_style_screenshots(tmp_path: Path) -> None:
    for style in ("", "others"):
        taken = _decided(_recipe(tmp_path, style), share=0.9)
        assert (taken.method, taken.redraw.use) == ("captions-only", True)


def test_a_base_that_does_not_is_taught_it_where_there_are_screenshots_to_teach_it_from(tmp_path: Path) -> None:
    assert _decided(_recipe(tmp_path, "others"), share=0.0).method == "note"


def test_without_them_redrawing_alone_leaves_the_look_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = _decided(_recipe(tmp_path), share=0.0)
    assert (taken.method, taken.redraw.use) == ("captions-only", True)
    assert "no style screenshots are named" in " ".join(capsys.readouterr().err.split())


def test_where_nothing_sees_the_look_or_nothing_is_redrawn_they_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"style.*Why note: no word moves it"):
        _decided(_recipe(tmp_path), share=0.0, measured_by=())
    with pytest.raises(RecipeError, match=r"style.*Why note: no word moves it"):
        _decided(_recipe(tmp_path, redraw={"use": False}), share=0.0)
