"""Redraw in the graph: its steps, what hangs on what, what a person takes out, and what people get."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_project import REDRAW, Project, new_project

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from flows import gate
from flows.asking import Question, RedrawAnswer
from flows.cli.plan import show_plan
from flows.gate import pass_redraw_gate
from flows.graph import peek
from lora_core.errors import GateError
from lora_core.judging.gates import GateResult, with_gates
from lora_core.recipe import Gates, Recipe
from lora_core.recipe_file import read_recipe
from lora_core.redraw.choose import SELECTION_FILE, read_selection
from lora_core.redraw.judgement import Judgement, Selection
from lora_core.redraw.scenes import Scene
from lora_core.refs import ReportRef
from lora_core.sampling.samples import GRID_FILE
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of, file_digest
from tasks.runtime import RunContext


def _redrawing(project: Project) -> Project:
    """Straight on the base, so that there is no style stage to wait for."""
    text = project.recipe.read_text().replace('trigger = "momo"', 'trigger = "momo"\nmethod = "captions-only"')
    project.recipe.write_text(text + REDRAW)
    return project


def _steps(recipe: Recipe, *, done: bool) -> list[str]:
    """The steps that are finished, or those that are not."""
    visits = peek(recipe, RunContext.of(recipe)).steps
    return [f"{visit.branch} {visit.step}".strip() for visit in visits if (visit.ref is not None) == done]


_AFTER = ["redrawn tag", "redrawn caption", "redrawn train character", "redrawn sample", "redrawn judge"]


def test_redraw_comes_after_the_first_verdict_and_ends_in_a_second_one(tmp_path: Path, drawn: Path) -> None:
    recipe = read_recipe(_redrawing(new_project(tmp_path / "fresh", drawn, tmp_path)).recipe)
    assert _steps(recipe, done=False)[-10:] == ["train character", "sample", "judge", "redraw", "select", *_AFTER]
    twice = recipe.model_copy(update={"redraw": recipe.redraw.model_copy(update={"rounds": 2})})
    again = ["redrawn sample", "redrawn judge"]
    assert _steps(twice, done=False)[-14:] == [
        "redraw", "select", *_AFTER[:3], "sample", "judge", "redraw", "select", *_AFTER[:3], *again
    ]  # fmt: skip


def test_the_dry_run_tells_pictures_steps_passes_and_time_before_anything_starts(
    tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """5 pictures × 2 steps × 2; 3 + 1 pictures × 1 epoch; 2 prompts × 2 steps × 2."""
    show_plan(read_recipe(_redrawing(new_project(tmp_path / "fresh", drawn, tmp_path)).recipe))
    told = " ".join(capsys.readouterr().out.split())
    assert "Final LoRA, of redrawn pictures: 4 samples and 1 steps an epoch, 1 epochs, 1 steps" in told
    assert "Redraw: 5 pictures drawn (3 from screenshots), 3 kept, 1 steps; about 32 passes through the U-Net" in told
    assert "and 2 samples for the verdict, about 8 passes" in told
    assert "Not measured on this machine yet: train character, sample, redraw, redrawn train character" in told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, drawn: Path, prefect_home: Path, api: str) -> Project:
    """A project that was run once."""
    project = _redrawing(new_project(tmp_path_factory.mktemp("redrawn") / "project", drawn, prefect_home, api))
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def recipe(finished: Project, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(finished.folder)
    return read_recipe(finished.recipe)


@pytest.mark.slow
def test_a_run_ends_with_the_redrawn_lora_its_contact_sheet_and_the_figures_of_both(finished: Project) -> None:
    folder = finished.lora.parent
    assert {path.name for path in (folder / "checks/redraw-1").iterdir()} == {"gate.json", "grid.png", "selection.json"}
    report = json.loads((folder / "report.json").read_text())
    assert len(report["made"]["redrawn"]) == 1
    page = (folder / "report.html").read_text()
    assert "Redrawn: which pictures show all of the character" in page
    assert re.search(r"before redrawing: epoch \d at 1", page)
    assert re.search(r"after redrawing: epoch 1 at 1", page)
    assert file_digest(finished.lora) in {file_digest(path) for path in (folder / "epochs").iterdir()}


@pytest.mark.slow
def test_the_final_set_is_the_chosen_pictures_and_screenshots_under_the_looks_own_word(recipe: Recipe) -> None:
    (one,) = peek(recipe, RunContext.of(recipe)).artifacts.rounds
    store = RunContext.of(recipe).open_store()
    entries = store.get_json(one.pictures.sha256)["entries"]
    chosen = [each.name for each in read_selection(store, one.selected).chosen]
    assert [entry["name"] for entry in entries[:3]] == chosen
    assert [entry["caption"][:2] for entry in entries[3:]] == [["momo", "hcstyle"]]
    assert not any("hcstyle" in entry["caption"] for entry in entries[:3])


@pytest.mark.slow
def test_pictures_that_begin_with_screenshots_are_named_after_them_and_other_bounds_draw_none_anew(
    recipe: Recipe, finished: Project
) -> None:
    """Three in five of five."""
    page = json.loads((finished.lora.parent / "checks/redraw-1/selection.json").read_text())
    begun = [one["scene"]["screenshot"] for one in page["pictures"] if "screenshot" in one["scene"]]
    assert len(set(begun)) == 3
    redraw = recipe.redraw.model_copy(update={"denoise": 0.4})
    assert _steps(recipe.model_copy(update={"redraw": redraw}), done=False)[:2] == ["redraw", "select"]
    unused = recipe.redraw.model_copy(update={"from_screenshots": 0.0, "denoise": 0.3})
    other = unused.model_copy(update={"denoise": 0.9})
    assert unused.drawing == other.drawing


@pytest.mark.slow
def test_a_trait_of_another_name_draws_anew_and_leaves_everything_before_it(recipe: Recipe) -> None:
    other = recipe.model_copy(update={"redraw": recipe.redraw.model_copy(update={"traits": ("red_hair", "cat_ears")})})
    assert _steps(other, done=False) == ["redraw", "select", *_AFTER]
    assert _steps(recipe, done=False) == []


@pytest.mark.slow
def test_another_bound_selects_anew_and_draws_nothing(recipe: Recipe) -> None:
    other = recipe.model_copy(update={"redraw": recipe.redraw.model_copy(update={"max_look": 0.99})})
    assert _steps(other, done=False)[:2] == ["select", "redrawn tag"]


@pytest.mark.slow
def test_a_picture_that_is_unticked_selects_trains_and_judges_anew_and_draws_nothing(
    finished: Project, tmp_path: Path, recipe: Recipe
) -> None:
    shutil.copytree(finished.folder / "store", tmp_path / "store")  # the answer is for this test alone
    recipe = recipe.model_copy(update={"runtime": recipe.runtime.model_copy(update={"store": str(tmp_path / "store")})})
    asking = recipe.model_copy(update={"gates": recipe.gates.model_copy(update={"redraw": "ask"})})
    at = RunContext.of(recipe)
    (one,) = peek(asking, at).artifacts.rounds
    number = re.sub(r"\D", "", read_selection(at.open_store(), one.selected).chosen[0].name)
    answer = RedrawAnswer(leave_out=number)
    key = digest_of(canonical_json(["answer", "redraw", one.selected.sha256]))
    at.open_store().set_record(key, answer.model_dump(mode="json"))
    assert _steps(asking, done=False) == ["select", *_AFTER]
    assert _steps(recipe, done=False) == []


@pytest.mark.slow
@pytest.mark.long
def test_the_run_itself_draws_trains_and_samples_only_what_hangs_on_the_change(
    finished: Project, tmp_path: Path, recipe: Recipe
) -> None:
    project = replace(finished, folder=tmp_path / "project")
    shutil.copytree(finished.folder, project.folder, ignore=shutil.ignore_patterns("out"))
    asking = recipe.model_copy(update={"gates": recipe.gates.model_copy(update={"redraw": "ask"})})
    store = Store(project.folder / "store")
    (one,) = peek(asking, RunContext(store=str(store.root))).artifacts.rounds
    number = re.sub(r"\D", "", read_selection(store, one.selected).chosen[0].name)
    key = digest_of(canonical_json(["answer", "redraw", one.selected.sha256]))
    store.set_record(key, RedrawAnswer(leave_out=number).model_dump(mode="json"))
    own = project.recipe.read_text()
    project.recipe.write_text(own.replace("[gates]", '[gates]\nredraw = "ask"'))
    unticked = project.run("run", "recipe.toml")
    assert unticked.returncode == 0, unticked.stderr
    assert _worked(unticked.stderr) == ["read redrawn", "train character", "sample epochs"]
    project.recipe.write_text(own.replace("candidates = 5", 'candidates = 5\ntraits = ["red_hair", "cat_ears"]'))
    renamed = project.run("run", "recipe.toml", "--as", "v2")
    assert renamed.returncode == 0, renamed.stderr
    assert _worked(renamed.stderr) == ["redraw", "read redrawn", "train character", "sample epochs"]


def _worked(stderr: str) -> list[str]:
    """What drew, selected or trained, in order; reading and writing of a few files is left out."""
    heavy = ("preprocess", "redraw", "read redrawn", "train character", "sample epochs")
    return [name for name in re.findall(r"^✓ ([a-z ]+):", stderr, re.MULTILINE) if name in heavy]


def _selected(store: Store, *, enough: bool) -> ReportRef:
    scene = Scene(framing="portrait", clothes="", pose="", place="", prompt="", seed=1)
    rows = tuple(
        Judgement(name=f"redrawn-{n:03d}", image="0" * 64, width=8, height=8, scene=scene, composition="portrait",
                  code="chosen")
        for n in range(1, 13)
    )  # fmt: skip
    found = Selection(pictures=rows, wanted=12, scores={})
    listed = store.path(store.put_json(found.model_dump(mode="json")))
    grid = store.path(store.put_bytes(b"a sheet"))
    tree = ReportRef(sha256=store.put_tree({SELECTION_FILE: listed, GRID_FILE: grid}))
    result = GateResult(
        name="redraw", passed=enough, figure=1.0 if enough else 0.2, bound=0.5, at_least=True, meaning="a share of",
        advice="most fail on green eyes",
    )  # fmt: skip
    return with_gates(store, tree, [result])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[RedrawAnswer]:
    """What a person will say, in turn."""
    coming: list[RedrawAnswer] = []

    def ask(question: Question, form: type[RedrawAnswer]) -> RedrawAnswer:
        assert question.picture is not None
        assert form is RedrawAnswer
        return coming.pop(0)

    monkeypatch.setattr(gate, "ask", ask)
    return coming


class _Selecting:
    """Selections as the step gives them, with what was left out."""

    def __init__(self, at: RunContext, *, enough: bool = True) -> None:
        self.store, self.enough, self.asked = at.open_store(), enough, list[tuple[str, ...]]()

    def __call__(self, left_out: tuple[str, ...]) -> ReportRef:
        self.asked.append(left_out)
        return _selected(self.store, enough=self.enough)


def test_pictures_that_a_person_names_are_left_out_and_the_answer_is_remembered(
    tmp_path: Path, answers: list[RedrawAnswer]
) -> None:
    at = RunContext(store=str(tmp_path))
    answers.append(RedrawAnswer(leave_out="12, 3 3"))
    select = _Selecting(at)
    for _ in range(2):
        pass_redraw_gate(Gates(redraw="ask"), select, at)
    assert select.asked == [(), ("redrawn-003", "redrawn-012")] * 2


def test_a_picture_that_is_not_there_is_refused_and_asked_for_again(
    tmp_path: Path, answers: list[RedrawAnswer]
) -> None:
    at = RunContext(store=str(tmp_path))
    answers += [RedrawAnswer(leave_out="77"), RedrawAnswer()]
    select = _Selecting(at)
    with pytest.raises(GateError, match="there is no picture redrawn-077; they go from redrawn-001 to redrawn-012"):
        pass_redraw_gate(Gates(redraw="ask"), select, at)
    pass_redraw_gate(Gates(redraw="ask"), select, at)
    assert select.asked == [(), ()]


def test_too_few_pictures_end_a_run_with_the_trait_that_fails_unless_the_gate_is_off(tmp_path: Path) -> None:
    at = RunContext(store=str(tmp_path))
    with pytest.raises(GateError, match="most fail on green eyes"):
        pass_redraw_gate(Gates(), _Selecting(at, enough=False), at)
    pass_redraw_gate(Gates(redraw="off"), _Selecting(at, enough=False), at)


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_is_killed_while_it_redraws_ends_with_the_same_bytes(
    finished: Project, tmp_path: Path, drawn: Path
) -> None:
    killed = _redrawing(new_project(tmp_path / "killed", drawn, finished.home, finished.api))
    steps = ("redraw", "select", "tag", "caption", "train character", "judge")
    worker = Path(__file__).parents[1] / "support/killed_in_steps.py"
    died = subprocess.run(
        [sys.executable, str(worker), "recipe.toml", *steps], cwd=killed.folder, env=killed.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert died.returncode == 0, died.stderr
    assert died.stdout.splitlines() == [f"{step}: -9" for step in steps]
    done = killed.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert file_digest(killed.lora) == file_digest(finished.lora)
