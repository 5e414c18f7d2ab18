"""`headcanon look` on the demo's base, which was trained on the look with its words: it knows them."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from small_project import Project

from demo.project import MODELS
from lora_core.recipe import LEAK_TAGS

pytestmark = [pytest.mark.slow, pytest.mark.long]


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
    """A classifier in imgutils' format whose probability of `3d` is a picture's brightness."""
    folder.mkdir()
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Constant", [], ["last"], value_ints=[1]),
        helper.make_node("Add", ["mean", "one"], ["double"]),
        helper.make_node("Mul", ["double", "half"], ["bright"]),
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
    assert white["share"]["mean"] > hat["share"]["mean"] + 0.2


def test_what_is_missing_is_one_line(project: Project) -> None:
    refused = project.run("look", f"{MODELS}/base", "--screenshots", "nowhere", "--tagger", f"{MODELS}/tagger")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "nowhere" in refused.stderr
