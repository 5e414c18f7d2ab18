"""What the demo's base knows of the look, which it was trained on with its words: `headcanon look`, method `auto`."""

import json
import re
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from small_project import Project

from demo.project import MODELS
from lora_core.judging.bootstrap import Score
from lora_core.judging.look import LookReport, WordMove
from lora_core.recipe import LEAK_TAGS, Captions


@pytest.mark.slow
@pytest.mark.long
def test_a_base_that_was_trained_with_words_for_the_look_is_found_to_know_them(project: Project) -> None:
    words = ("--word", "realistic, 3d, nose, lips", "--word", "hat")
    asked = ("look", f"{MODELS}/base", "--screenshots", "character", "--tagger", f"{MODELS}/tagger", "--seeds", "2")
    done = project.run(*asked, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads((project.folder / "look/look.json").read_text())
    known, unknown = report["moves"]
    assert known["share"]["low"] > 0.5
    assert unknown["share"]["high"] < 0.2
    assert report["method"] == "captions-only"
    assert "Suits this base: the base knows the look by name" in done.stdout
    assert 'In the recipe: method = "captions-only"; and use = true under [redraw]' in done.stdout
    with Image.open(project.folder / "look/look.png") as grid:
        assert grid.width > 3 * 96
    again = project.run(*asked, *words)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


def write_brightness(folder: Path) -> Path:
    """A classifier in imgutils' format whose probability of `3d` is a picture's brightness above grey."""
    folder.mkdir()
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Constant", [], ["last"], value_ints=[1]),
        helper.make_node("Relu", ["mean"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Unsqueeze", ["bright", "last"], ["left"]),
        helper.make_node("Unsqueeze", ["dark", "last"], ["right"]),
        helper.make_node("Concat", ["left", "right"], ["output"], axis=1),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("input", ["batch", 3, 32, 32]), ("output", ["batch", 2]))
    ]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "meta.json").write_text(json.dumps({"labels": ["3d", "flat"]}))
    return folder


@pytest.mark.slow
@pytest.mark.long
def test_where_the_tagger_knows_no_word_of_the_look_the_classifier_measures(project: Project) -> None:
    """The screenshots are on white, and so brighter than what the base draws by itself."""
    blind = project.folder / "blind"
    shutil.copytree(f"{MODELS}/tagger", blind)
    labels = (blind / "selected_tags.csv").read_text().replace(",bear_ears,", ",child,")  # the content rule needs one
    for number, word in enumerate(LEAK_TAGS):
        labels = labels.replace(f",{word},", f",unseen_{number},")
    (blind / "selected_tags.csv").write_text(labels)
    asked = ("look", f"{MODELS}/base", "--screenshots", "character", "--tagger", "blind", "--seeds", "1")
    done = project.run(*asked, "--word", "hat")
    assert done.returncode == 0, done.stderr
    assert "cannot be measured" in done.stdout
    classifier = write_brightness(project.folder / "classifier")
    done = project.run(*asked, "--word", "white background", "--word", "hat", "--classifier", str(classifier))
    assert done.returncode == 0, done.stderr
    report = json.loads((project.folder / "look/look.json").read_text())
    assert report["measured_by"] == ["auxiliary classifier"]
    white, hat = report["moves"]
    assert white["share"]["mean"] > hat["share"]["mean"] + 0.1


@pytest.mark.slow
@pytest.mark.long
def test_what_is_missing_is_one_line(project: Project) -> None:
    refused = project.run("look", f"{MODELS}/base", "--screenshots", "nowhere", "--tagger", f"{MODELS}/tagger")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "nowhere" in refused.stderr


def _auto(project: Project) -> Project:
    text = project.recipe.read_text().replace('trigger = "momo"', 'trigger = "momo"\nmethod = "auto"')
    text = text.replace('style = "style"\n', "").replace("steps = 2", "steps = 8\ncfg = 3")
    project.recipe.write_text(text + "\n[redraw]\nuse = false\n")
    return project


@pytest.mark.slow
@pytest.mark.long
def test_auto_asks_the_base_once_and_takes_the_method_that_suits_it(project: Project) -> None:
    _auto(project)
    plan = project.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "Not decided yet: the run draws the base first (step look)" in plan.stdout
    done = project.run("run", "recipe.toml", "--until", "caption")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert re.search(r"method: captions-only, for the base knows the look by name \('.*' goes \d+% of the way", said)
    plan = project.run("run", "recipe.toml", "--dry-run")
    assert "The base was asked: captions-only, the character is trained straight on the base" in plan.stdout
    assert re.search(r"look +cached", plan.stdout)
    whole = project.run("run", "recipe.toml")
    assert whole.returncode == 0, whole.stderr
    assert "✓ look" not in whole.stderr
    assert json.loads((project.lora.parent / "report.json").read_text())["recipe"]["method"] == "captions-only"


@pytest.mark.slow
@pytest.mark.long
def test_a_step_that_the_recipe_never_comes_to_is_refused_and_nothing_is_trained(project: Project) -> None:
    for step in ("redraw", "look"):
        refused = project.run("run", "recipe.toml", "--until", step)
        assert refused.returncode == 2
        assert f"--until {step}: this recipe has no such step; its steps: preprocess, tag, " in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not (project.folder / "out").exists()


def _report(**shares: float) -> LookReport:
    moves = tuple(
        WordMove(word=word.replace("_", " "), share=Score(mean=share, low=share - 0.1, high=share + 0.1, samples=4))
        for word, share in shares.items()
    )
    return LookReport(tried=(), measured_by=("3d",), moves=moves, method="captions-only", reason="")


def test_the_captions_take_the_word_that_the_base_knows_where_it_does_not_know_their_own() -> None:
    assert _report(realistic=0.4, honey_select=0.9).captions(Captions()) == Captions()
    found = _report(realistic=0.0, honey_select=0.9, koikatsu=0.5)
    assert found.captions(Captions()).add == ("realistic", "honey_select")
    # `headcanon new` writes the base's words into the recipe: they are no reason to leave out the one that works.
    assert found.captions(Captions(add=("realistic", "3d"))).add == ("realistic", "3d", "honey_select")
    assert _report(honey_select=0.1).captions(Captions()) == Captions()
