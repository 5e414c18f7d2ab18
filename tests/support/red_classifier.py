"""An auxiliary classifier that calls a picture 3d by its red, and pictures of one colour."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lora_core.dataset import Entry, Manifest
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
