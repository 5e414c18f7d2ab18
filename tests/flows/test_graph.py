"""The graph is written once: what is changed there, every way of calling it sees."""

from pathlib import Path
from typing import get_args

import pytest
from small_project import Project, new_project

import flows.cli  # noqa: F401 (sets Prefect up)
from demo.graph import picture_of
from flows import graph, redrawing
from flows.cli.compare import _variant
from flows.cli.plan import show_plan
from lora_core.errors import GateError
from lora_core.recipe import Recipe, Redraw
from lora_core.recipe_file import read_recipe
from lora_core.refs import ReportRef, pending
from tasks.runtime import RunContext
from tasks.steps import Step, Until
from tasks.walking import walking


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Project:
    """Nothing of it is done."""
    return new_project(tmp_path_factory.mktemp("graph") / "project", drawn, Path())


@pytest.fixture(scope="module")
def recipe(project: Project) -> Recipe:
    return read_recipe(project.recipe)


def test_the_steps_of_a_fresh_project_are_all_pending_and_in_the_order_of_the_picture(recipe: Recipe) -> None:
    peeked = graph.peek(recipe, RunContext.of(recipe))
    assert not peeked.is_finished
    assert [f"{step.branch} {step.step}".strip() for step in peeked.steps] == [
        "style preprocess", "character preprocess", "style tag", "character tag", "character caption",
        "check captions", "downscale", "train style", "check style", "merge", "check merge", "train character",
        "sample", "judge",
    ]  # fmt: skip
    made = peeked.artifacts
    assert made.inputs.style
    assert not made.inputs.style.is_pending
    assert made.squares["character"].is_pending
    assert made.lora.is_pending
    assert made.verdict.is_pending
    assert made.report.is_pending
    assert made.folder == ""
    assert made.checks == ()


def test_peeking_at_a_target_ends_with_the_steps_that_are_done_together(recipe: Recipe) -> None:
    last = {
        until: graph.peek(recipe, RunContext.of(recipe), until).steps[-1].step
        for until in ("preprocess", "tag", "caption", "train style", "merge", "sample")
    }
    assert last == {
        "preprocess": "preprocess", "tag": "tag", "caption": "downscale", "train style": "train style",
        "merge": "check merge", "sample": "sample",
    }  # fmt: skip
    assert "train style" not in {step.step for step in graph.peek(recipe, RunContext.of(recipe), "downscale").steps}


def test_readme_s_picture_is_the_graph_as_it_is_wired(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = readme.partition("```mermaid\n")[2].partition("```")[0]
    assert picture_of(recipe) == shown, "`make graph` draws it again"
    assert "train_style[train style] --> merge[merge]" in shown
    monkeypatch.setattr(graph, "merge", lambda base, *_: base)
    assert "merge[merge]" not in picture_of(recipe)


@pytest.mark.parametrize("left_out", ["downscale", "check_style", "merge", "sample_epochs"])
def test_a_step_that_is_left_out_of_the_graph_is_left_out_of_every_use(
    left_out: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = graph if hasattr(graph, left_out) else redrawing
    node = getattr(written, left_out)

    def missing(first: object, *others: object) -> object:
        return pending(ReportRef) if left_out in ("check_style", "sample_epochs") else first

    before = {step.step for step in graph.peek(recipe, RunContext.of(recipe)).steps}
    monkeypatch.setattr(written, left_out, missing)
    after = {step.step for step in graph.peek(recipe, RunContext.of(recipe)).steps}
    assert before - after == {node.name}
    show_plan(recipe)
    shown = capsys.readouterr().out.partition("Steps")[2].splitlines()
    assert not [line for line in shown if line.startswith(f"{node.name} ")]
    assert node.name not in {step.step for step in graph.peek(recipe, RunContext.of(recipe), node.name).steps}
    compared: list[str] = []

    def peeked(recipe: Recipe, at: RunContext, until: Until) -> None:
        compared.extend(step.step for step in graph.peek(recipe, at, until).steps)
        raise GateError("looked at, and not run")

    monkeypatch.setattr(graph, "make_lora", peeked)
    assert _variant("a", recipe).reason == "Failed: looked at, and not run"
    assert set(compared) == after


def test_the_dry_run_tags_first_so_that_a_picture_named_by_its_date_has_a_composition(
    tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = read_recipe(new_project(tmp_path / "dated", drawn, Path()).recipe)
    show_plan(recipe)
    before = _table(capsys.readouterr().out)
    folder = Path(recipe.character.images)
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        path.rename(folder / f"2026-01-0{number + 1}{path.suffix}")
    show_plan(recipe)
    named_by_date = _table(capsys.readouterr().out)
    assert before.keys() == named_by_date.keys()
    assert "unknown" not in named_by_date


def _table(shown: str) -> dict[str, str]:
    """The dry run's compositions: name → the rest of the line."""
    lines = shown.partition("Compositions")[2].partition("\n\n")[0].splitlines()
    return {name: rest for name, _, rest in (line.strip().partition(" ") for line in lines) if name}


def test_the_style_branch_is_the_graph_s(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps() -> list[str]:
        with walking(peeking=True) as walk:
            graph.style_branch(recipe, RunContext.of(recipe))
        return [visit.step for visit in walk.visits]

    assert steps() == ["preprocess", "tag", "train style", "check style", "merge", "check merge"]
    monkeypatch.setattr(graph, "merge", lambda base, *_: base)
    assert steps() == ["preprocess", "tag", "train style", "check style", "check merge"]


def test_a_run_can_end_after_every_step(recipe: Recipe) -> None:
    every = recipe.model_copy(update={"redraw": Redraw(use=True)})

    def ends(until: Step) -> bool:
        with walking(until, peeking=True) as walk:
            graph.graph(every, RunContext.of(every))
        return walk.arrived

    assert [step for step in get_args(Step) if not ends(step)] == [], "name it in the @stage of its paragraph"
