"""Writes the tagger as an ONNX graph, node by node: no exporter needed, and the input is what WD14 tools send."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from demo.train.loop import replace_file
from demo.train.render import FULL_PX
from demo.train.tagger import CHARACTER, LABELS, RATINGS, Tagger

_OPSET: Final = 17
_GROUPS: Final = 8
_RATING_CATEGORY, _GENERAL_CATEGORY, _CHARACTER_CATEGORY = 9, 0, 4


def write_tagger(tagger: Tagger, folder: Path, counts: dict[str, int]) -> None:
    """Writes `model.onnx` (NHWC, BGR, 0..255 to probabilities) and `selected_tags.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = _graph(tagger)
    onnx.checker.check_model(model)
    replace_file(folder / "model.onnx", lambda path: onnx.save(model, str(path)))
    category = dict.fromkeys(RATINGS, _RATING_CATEGORY) | {CHARACTER: _CHARACTER_CATEGORY}
    rows = [
        f"{900_000 + k},{label},{category.get(label, _GENERAL_CATEGORY)},{counts.get(label, 0)}"
        for k, label in enumerate(LABELS)
    ]
    text = "\n".join(["tag_id,name,category,count", *rows]) + "\n"
    replace_file(folder / "selected_tags.csv", lambda path: path.write_text(text, encoding="utf-8"))


def _graph(tagger: Tagger) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: Tensor | NDArray[np.generic]) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    x = node("Transpose", ["input"], "planes", perm=[0, 3, 1, 2])
    x = node("Gather", [x, constant("rgb_of_bgr", np.array([2, 1, 0], np.int64))], "rgb", axis=1)
    x = node("Div", [x, constant("half_range", np.array(127.5, np.float32))], "divided")
    x = node("Sub", [x, constant("one", np.array(1, np.float32))], "centred")
    for k, (conv, norm) in enumerate(zip(tagger.convs, tagger.norms, strict=True)):
        kernel, bias = constant(f"conv{k}.weight", conv.weight), constant(f"conv{k}.bias", conv.bias)
        stride = int(conv.stride[0])
        x = node("Conv", [x, kernel, bias], f"conv{k}", strides=[stride, stride], pads=[1, 1, 1, 1])
        # GroupNorm, which opset 17 lacks: instance norm over groups, then the channels' own scale.
        channels = conv.out_channels
        x = node("Reshape", [x, constant(f"grouped{k}", np.array([0, _GROUPS, -1], np.int64))], f"rows{k}")
        plain = [
            constant(f"unit{k}", np.ones(_GROUPS, np.float32)),
            constant(f"zero{k}", np.zeros(_GROUPS, np.float32)),
        ]
        x = node("InstanceNormalization", [x, *plain], f"normal{k}", epsilon=float(norm.eps))
        x = node("Reshape", [x, node("Shape", [f"conv{k}"], f"shape{k}")], f"whole{k}")
        x = node("Mul", [x, constant(f"scale{k}", norm.weight.reshape(1, channels, 1, 1))], f"scaled{k}")
        x = node("Add", [x, constant(f"shift{k}", norm.bias.reshape(1, channels, 1, 1))], f"shifted{k}")
        x = node("Relu", [x], f"relu{k}")
    pooled = [node("GlobalAveragePool", [x], "mean"), node("GlobalMaxPool", [x], "most")]
    x = node("Flatten", [node("Concat", pooled, "pooled", axis=1)], "flat")
    x = node(
        "Gemm",
        [x, constant("head.weight", tagger.head.weight), constant("head.bias", tagger.head.bias)],
        "logits",
        transB=1,
    )
    node("Sigmoid", [x], "output")
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", FULL_PX, FULL_PX, 3])
    scores = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", len(LABELS)])
    graph = helper.make_graph(nodes, "tagger", [picture], [scores], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
