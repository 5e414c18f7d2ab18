"""An auxiliary classifier: one that calls a picture 3d by its red."""

from pathlib import Path

import numpy as np
import pytest
from red_classifier import classifier, manifest

from lora_core.dataset import Manifest
from lora_core.errors import TaggerError
from lora_core.judging.onnx_models import class_probabilities, find_classifier_files
from lora_core.store import Store


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
