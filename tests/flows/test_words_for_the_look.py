"""Ways to give the look a word of its own, each through the whole graph and redrawn at the end."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open
from small_project import REDRAW, Project, new_project

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.world import Character, screenshots
from flows.artifacts import RunArtifacts
from flows.graph import peek
from lora_core.dataset import load_manifest
from lora_core.recipe import LEAK_TAGS
from lora_core.recipe_file import read_recipe
from lora_core.store import Store
from lora_core.store.digests import file_digest
from tasks.runtime import RunContext

pytestmark = [pytest.mark.slow, pytest.mark.long]

_WORD = "hcstyle"


@pytest.fixture
def words(tmp_path: Path, drawn: Path, prefect_home: Path, api: str) -> Project:
    """Nothing computed; screenshots of two style characters, in `style` and `crowd`."""
    project = new_project(tmp_path / "project", drawn, prefect_home, api)
    other = Character(hair_color="blonde", hair_style="short", eye_color="red")
    screenshots(other, project.folder / "crowd", seed=5, plan={"portrait": 1, "upper_body": 1})
    return project


def _run(project: Project, head: str, style: str = 'style = "style"') -> list[str]:
    """Run to the end with these lines and a redraw; returns the steps that worked, in order."""
    text = project.recipe.read_text().replace('style = "style"', f"{head}\n{style}")
    project.recipe.write_text(text + REDRAW)
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    plan = project.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "to do" not in plan.stdout
    return re.findall(r"^✓ ([a-z ]+):", done.stderr, re.MULTILINE)


def _made(project: Project, monkeypatch: pytest.MonkeyPatch) -> RunArtifacts:
    """Everything of the run; one of the two LoRAs is published whole, with the figures of both."""
    page = (project.lora.parent / "report.html").read_text()
    assert re.search(r"before redrawing: epoch \d at 1", page)
    assert re.search(r"after redrawing: epoch 1 at 1", page)
    assert file_digest(project.lora) in {file_digest(path) for path in (project.lora.parent / "epochs").iterdir()}
    monkeypatch.chdir(project.folder)
    recipe = read_recipe(project.recipe)
    peeked = peek(recipe, RunContext.of(recipe))
    assert peeked.is_finished
    return peeked.artifacts


def _check_captions(made: RunArtifacts, store: Store) -> None:
    """The look's word is on every screenshot, also among the redrawn pictures, and on none of these."""
    (one,) = made.rounds
    screenshots_ = load_manifest(store, made.captioned.pictures).entries
    assert all({"momo", _WORD} <= set(each.caption or ()) for each in screenshots_)
    last = load_manifest(store, one.pictures).entries
    names = {each.name for each in screenshots_}
    assert [_WORD in (each.caption or ()) for each in last] == [each.name in names for each in last]
    assert {each.name in names for each in last} == {True, False}
    assert not any(set(LEAK_TAGS) & set(each.caption or ()) for each in (*screenshots_, *last))


def _words_of(lora: Path) -> set[str]:
    """Every tag that it was trained with."""
    with safe_open(lora, framework="numpy") as file:
        found = json.loads(file.metadata()["ss_tag_frequency"])
    return {tag for tags in found.values() for tag in tags}


def test_a_word_whose_vectors_alone_are_learned(words: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = _run(words, 'method = "textual-inversion"')
    assert not {"merge", "check merge"} & set(steps)
    made = _made(words, monkeypatch)
    store = Store(words.folder / "store")
    _check_captions(made, store)
    with safe_open(words.lora.parent / "checks/style-lora" / f"{_WORD}.safetensors", framework="numpy") as file:
        assert list(file.keys()) == ["emb_params"]
    base = store.tree(made.inputs.base.sha256)
    own = store.tree(made.styled.base.sha256)
    assert {name: file_digest(own[name]) for name in base} == {name: file_digest(base[name]) for name in base}
    assert len(set(own) - set(base)) == 1  # the word


def test_a_word_for_the_look_of_several_characters_that_is_merged(
    words: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _run(words, 'method = "named-look"', 'style = ["style", "crowd"]')
    assert "merge" in steps
    made = _made(words, monkeypatch)
    store = Store(words.folder / "store")
    _check_captions(made, store)
    assert made.sets.style_squares
    assert len(load_manifest(store, made.sets.style_squares).entries) == 6
    style_lora = min((words.lora.parent / "checks/style-lora").glob("*.safetensors"))
    said = _words_of(style_lora)
    assert {_WORD, "1girl", "black hair", "blonde hair"} <= said  # of both characters
    assert not {"momo", *LEAK_TAGS} & said
