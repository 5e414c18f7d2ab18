"""A tiny tagger in WD14's format: what it answers can be worked out by hand.

Output k is the mean of one colour channel (B, G, R, as the contract has it) over the picture, divided by 255.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.store import Store

SIDE = 8
TABLE = (
    "tag_id,name,category,count\r\n"
    "470575,blue_hair,0,12\r\n"
    ",,,\r\n"
    "2355.0,green_eyes,0,9\r\n"
    "9999999.0,general,9,1\r\n"
    "12,hakurei_reimu,4,3\r\n"
)


def build_tagger(
    folder: Path,
    *,
    batch: int | str = "batch",
    table: str = TABLE,
    scale: float = 1 / 255,
    channels_first: bool = False,
) -> dict[str, Path]:
    """Four outputs: blue, green, red, blue; named by the table's rows."""
    weights = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]], dtype=np.float32) * scale
    shape = [batch, 3, SIDE, SIDE] if channels_first else [batch, SIDE, SIDE, 3]
    axes = numpy_helper.from_array(np.array([2, 3] if channels_first else [1, 2], dtype=np.int64), "axes")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["output"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(weights, "weights"), axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    folder.mkdir(exist_ok=True)
    files = {"model.onnx": folder / "model.onnx", "selected_tags.csv": folder / "selected_tags.csv"}
    onnx.save(model, files["model.onnx"])
    files["selected_tags.csv"].write_text(table, newline="")
    return files


@pytest.fixture
def make_tagger(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    def make(**options) -> dict[str, Path]:  # type: ignore[no-untyped-def]
        return build_tagger(tmp_path / "tagger", **options)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def manifest(store: Store) -> Manifest:
    """A blue and a green picture."""
    entries = []
    for name, colour in (("blue", (0, 0, 255)), ("green", (0, 255, 0))):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
        image = store.put_bytes(buffer.getvalue())
        entries.append(Entry(name=name, source=f"{name}.png", image=image, width=16, height=16))
    return Manifest(entries=tuple(entries))
