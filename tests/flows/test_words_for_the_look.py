"""The look gets a word of its own, through the whole graph and redrawn at the end."""

import re

import pytest
from safetensors import safe_open
from small_project import Project

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from flows.artifacts import RunArtifacts
from flows.graph import peek
from lora_core.dataset import load_manifest
from lora_core.recipe import LEAK_TAGS
from lora_core.recipe_file import read_recipe
from lora_core.store import Store
from lora_core.store.digests import file_digest
from tasks.runtime import RunContext

pytestmark = [pytest.mark.slow, pytest.mark.long]

_REDRAW = """
[redraw]
use = true
candidates = 4
pictures = 3
worst_trait = 0
max_look = 1
least_share = 0.3
epochs = 1
screenshots = 0.25
"""
_WORD = "hcstyle"


def _run(project: Project, method: str) -> list[str]:
    """Run to the end with a redraw; returns the steps that worked, in order."""
    text = project.recipe.read_text().replace('trigger = "momo"', f'trigger = "momo"\nmethod = "{method}"')
    project.recipe.write_text(text + _REDRAW)
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


def test_a_word_whose_vectors_alone_are_learned(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = _run(project, "textual-inversion")
    assert not {"merge", "check merge"} & set(steps)
    made = _made(project, monkeypatch)
    store = Store(project.folder / "store")
    _check_captions(made, store)
    with safe_open(project.lora.parent / "checks/style-lora" / f"{_WORD}.safetensors", framework="numpy") as file:
        assert list(file.keys()) == ["emb_params"]
    base = store.tree(made.inputs.base.sha256)
    own = store.tree(made.styled.base.sha256)
    assert {name: file_digest(own[name]) for name in base} == {name: file_digest(base[name]) for name in base}
    assert len(set(own) - set(base)) == 1  # the word
