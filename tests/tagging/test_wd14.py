"""The tagger's contract, against a model whose answers are sums by hand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_core.errors import TaggerError
from lora_core.tagging.wd14 import Tagger, as_input


def test_input_is_bgr_from_0_to_255_on_a_white_square():
    array = as_input(Image.new("RGB", (4, 2), (10, 20, 30)), 4)
    assert (array.shape, array.dtype) == ((4, 4, 3), np.float32)
    assert array[1, 0].tolist() == [30, 20, 10]
    assert array[0, 0].tolist() == [255, 255, 255]


def test_transparent_counts_as_white():
    assert as_input(Image.new("RGBA", (4, 4)), 4).min() == 255


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_a_fixed_and_a_free_batch_give_the_same_scores(make_tagger, batch):
    tagger = Tagger.load(make_tagger(batch=batch), "cpu")
    pictures = [Image.new("RGB", (8, 8), (0, 0, level)) for level in range(0, 250, 25)]
    found = tagger.probabilities([tagger.prepared(picture) for picture in pictures])
    assert found.shape == (10, 4)
    assert np.allclose(found[:, 0], np.arange(0, 250, 25) / 255, atol=1e-6)


def test_scores_below_the_floor_are_not_kept(make_tagger):
    tagger = Tagger.load(make_tagger(), "cpu")
    (low,) = tagger.scores([tagger.prepared(Image.new("RGB", (8, 8), (0, 12, 13)))])
    assert list(low.general) == ["blue_hair"]  # 13/255 = .051, 12/255 = .047
    assert low.general["blue_hair"] == pytest.approx(13 / 255, abs=1e-5)


def test_a_model_and_a_table_that_do_not_belong_together_are_refused(make_tagger):
    files = make_tagger(table="tag_id,name,category,count\n1,sky,0,3\n")
    with pytest.raises(TaggerError, match="4 outputs, its label table 1 tags"):
        Tagger.load(files, "cpu")


def test_something_that_is_no_model_is_refused(make_tagger):
    files = make_tagger()
    files["model.onnx"].write_bytes(b"nothing of the kind")
    with pytest.raises(TaggerError, match="not a model that onnxruntime can run"):
        Tagger.load(files, "cpu")


def test_a_model_with_channels_first_is_refused(make_tagger):
    with pytest.raises(TaggerError, match=r"\(batch, side, side, 3\)"):
        Tagger.load(make_tagger(channels_first=True), "cpu")


def test_answers_that_are_no_probabilities_are_refused(make_tagger):
    tagger = Tagger.load(make_tagger(scale=1.0), "cpu")
    with pytest.raises(TaggerError, match="not with probabilities"):
        tagger.scores([tagger.prepared(Image.new("RGB", (8, 8), (0, 0, 255)))])


def test_a_missing_file_is_named(make_tagger):
    files = make_tagger()
    files["selected_tags.csv"].unlink()
    with pytest.raises(TaggerError, match=r"lacks selected_tags\.csv"):
        Tagger.load(files, "cpu")


def test_the_taggers_runtime_keeps_no_number_of_this_machine_and_tells_its_maker_nothing(make_tagger, tmp_path: Path):
    files = dict(make_tagger())
    load = f"from lora_core.tagging.wd14 import Tagger; from pathlib import Path; Tagger.load({files!r}, 'cpu')"
    hidden = (
        "CI",
        "ORT_DISABLE_TELEMETRY",
        "GITHUB_ACTIONS",
        "TF_BUILD",
        "XDG_CACHE_HOME",
    )  # it keeps still in tests of its own
    environment = {name: value for name, value in os.environ.items() if name not in hidden and "PYTEST" not in name}
    code = load.replace("PosixPath(", "Path(")
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True)
    assert not (tmp_path / ".cache" / "Microsoft").exists()
