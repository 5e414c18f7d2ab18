"""A run whose words are refused by the content rule ends before any work, whichever door it came through."""

import sys
from pathlib import Path

import pytest
from small_home import new_home
from small_project import Project

from flows.cli import main
from flows.train_cast import train_cast
from lora_core.errors import ContentRuleError, TaggerError
from lora_core.hub import find_model_files, find_tagger_files
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from tasks.caption import refuse_at_once
from tasks.runtime import RunContext

SEXUAL = ('negative = ""', 'negative = ""\ntransfer = ["models/nsfw.safetensors"]')


def changed(project: Project, *pairs: tuple[str, str]) -> str:
    """The recipe with some lines changed; its path."""
    text = project.recipe.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    project.recipe.write_text(text)
    return str(project.recipe)


@pytest.mark.parametrize(
    "change",
    [
        ('name = "momo"', 'name = "Loli Momo"'),
        ('trigger = "momo"', 'trigger = "hc_l0li_momo"'),
        ('character = "character"', 'character = "toddler"'),
        ('memorize = ["pink_hair"', 'memorize = ["child", "pink_hair"'),
        ("[captions]", '[captions]\nadd = ["realistic", "young"]'),
        ("[captions]", '[captions]\nrules = "captions.toml"'),
        ('solo, upper body, smile"', 'solo, upper body, smile, 12歳"'),
        ('style_prompts = ["1girl', 'style_prompts = ["１２ｙｏ 1girl'),
        ("[runtime]", '[publish]\nversion = "shota"\n[runtime]'),
    ],
    ids=lambda change: change[1],
)
def test_the_words_of_a_recipe_are_refused_before_anything_starts(project, monkeypatch, capsys, change):
    (project.folder / "captions.toml").write_text('[images.portrait_1]\nadd = ["little girl"]\n')
    (project.folder / "character").rename(project.folder / "toddler") if "toddler" in change[1] else None
    changed(project, change, SEXUAL)
    monkeypatch.setattr(sys, "argv", ["headcanon", "run", str(project.recipe)])
    with pytest.raises(SystemExit) as ended:
        main()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("headcanon: content rule: ")
    assert err.count("\n") == 1
    assert "codes a minor" in err
    assert "the name nsfw.safetensors is sexual" in err
    assert not (project.folder / "store").exists()


def test_a_negative_prompt_is_not_among_the_words(project, monkeypatch):
    changed(project, ('negative = ""', 'negative = "child, loli, nsfw, nude"'))
    monkeypatch.setattr(sys, "argv", ["headcanon", "run", str(project.recipe), "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_one_character_of_a_cast_that_is_refused_ends_it_before_the_style_is_trained(tmp_path, drawn, monkeypatch):
    home = new_home(tmp_path / "home", drawn, tmp_path / "prefect", ("momo", "kid"))
    preset = home.folder / "recipes" / "default.toml"
    preset.write_text(preset.read_text().replace('negative = ""', 'negative = ""\ntransfer = ["nsfw.safetensors"]'))
    monkeypatch.setenv("HEADCANON_HOME", str(home.folder))
    state = train_cast.fn()
    assert state.is_failed()
    assert state.message.startswith("content rule: 'kid' codes a minor (kid) and the name nsfw.safetensors is sexual")


@pytest.fixture
def known(project):
    """Base and tagger of a project, in its store, and where its steps run."""
    store = Store(project.folder / "store")

    def refer(files: dict[str, Path]) -> CheckpointRef:
        return CheckpointRef(sha256=store.put_tree(files, how="refer"))

    return refer, RunContext(store=str(project.folder / "store"))


def test_a_run_of_any_door_asks_about_words_base_and_tagger_together(known, tmp_path):
    from demo.project import MODELS

    refer, at = known
    base = refer(find_model_files(str(MODELS / "base"), ""))
    tagger = refer(find_tagger_files(str(MODELS / "tagger"), ""))
    refuse_at_once(("momo",), base, tagger, "demo", at)
    with pytest.raises(ContentRuleError):
        refuse_at_once(("momo, 9yo", "r-18"), base, tagger, "demo", at)
    table = tmp_path / "selected_tags.csv"
    table.write_text("tag_id,name,category,count\n1,1girl,0,1\n")
    blind = refer({"model.onnx": MODELS / "tagger" / "model.onnx", "selected_tags.csv": table})
    with pytest.raises(TaggerError, match=r"^blind: this tagger has no tag that names a minor and neither"):
        refuse_at_once(("momo",), base, blind, "blind", at)


@pytest.mark.slow
def test_a_comparison_shows_a_refused_recipe_as_failed(project: Project) -> None:
    changed(project, SEXUAL)
    other = project.folder / "other.toml"
    other.write_text(project.recipe.read_text().replace('trigger = "momo"', 'trigger = "loli"'))
    project.recipe.write_text(project.recipe.read_text().replace('trigger = "momo"', 'trigger = "shota"'))
    done = project.run("compare", "recipe.toml", "other.toml")
    said = done.stdout + done.stderr
    assert "recipe: content rule: 'shota' codes a minor" in said
    assert "other: content rule: 'loli' codes a minor" in said
    assert "Traceback" not in said
    assert not (project.folder / "store" / "work").exists() or not any((project.folder / "store" / "work").iterdir())
