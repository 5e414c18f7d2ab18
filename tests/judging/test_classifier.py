"""An auxiliary classifier: one that calls a picture 3d by its red."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.errors import TaggerError
from lora_core.judging.onnx_models import class_probabilities, find_classifier_files
from lora_core.store import Store


def classifier(folder: Path, labels: object = ("2d", "3d")) -> Path:
    """Mean of the red channel, from -1 to 1, as the logit of the second of two classes."""
    weight = np.zeros((3, 2), dtype=np.float32)
    weight[0, 1] = 1.0
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["output"]),
        ],
        "red",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    (folder / "meta.json").write_text(json.dumps({"labels": labels}))
    return folder


def manifest(store: Store, *colours: str) -> Manifest:
    entries = []
    for colour in colours:
        buffer = BytesIO()
        Image.new("RGB", (40, 60), colour).save(buffer, "PNG")
        image = store.put_bytes(buffer.getvalue())
        entries.append(Entry(name=colour, source=f"{colour}.png", image=image, width=40, height=60))
    return Manifest(entries=tuple(entries))


def test_every_picture_has_the_probability_of_the_class(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    files = find_classifier_files(classifier(tmp_path / "model"))
    pictures = manifest(store, "#ff0000", "#000000")
    found = [class_probabilities(store, pictures, files, "3d")[entry.image] for entry in pictures.entries]
    # softmax of (0, red): red is 1 and -1
    assert found == [pytest.approx(1 / (1 + np.exp(-1)), abs=1e-5), pytest.approx(1 / (1 + np.exp(1)), abs=1e-5)]
    assert class_probabilities(store, pictures, files, "2d")[pictures.entries[0].image] == pytest.approx(1 - found[0])


def test_a_picture_is_read_once_by_each_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    files, pictures = find_classifier_files(classifier(tmp_path / "model")), manifest(store, "red")
    first = class_probabilities(store, pictures, files, "3d")
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    assert class_probabilities(store, pictures, files, "3d") == first


@pytest.mark.parametrize(
    ("labels", "message"),
    [(("anime", "photo"), r"meta\.json: knows no class '3d'; it knows anime, photo"), (None, "no readable list")],
)
def test_a_class_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, labels: object, message: str) -> None:
    files = find_classifier_files(classifier(tmp_path / "model", labels))
    with pytest.raises(TaggerError, match=message):
        class_probabilities(Store(tmp_path / "store"), Manifest(entries=()), files, "3d")


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaggerError, match=r"model\.onnx: there is no such file"):
        find_classifier_files(tmp_path)
