"""Writes the tagger as an ONNX graph, node by node: no exporter needed, and the input is what WD14 tools send."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from demo.train.loop import replace_file
from demo.train.render import FULL_PX
from demo.train.tagger import CHARACTER, LABELS, RATINGS, Tagger

_OPSET: Final = 17
_IR: Final = 9
_RATING_CATEGORY, _GENERAL_CATEGORY, _CHARACTER_CATEGORY = 9, 0, 4


def write_tagger(tagger: Tagger, folder: Path, counts: dict[str, int]) -> None:
    """Writes `model.onnx` (NHWC, BGR, 0..255 to probabilities) and `selected_tags.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = _model(tagger)
    onnx.checker.check_model(model)
    replace_file(folder / "model.onnx", lambda path: onnx.save(model, str(path)))
    category = dict.fromkeys(RATINGS, _RATING_CATEGORY) | {CHARACTER: _CHARACTER_CATEGORY}
    rows = [
        f"{900_000 + k},{label},{category.get(label, _GENERAL_CATEGORY)},{counts.get(label, 0)}"
        for k, label in enumerate(LABELS)
    ]
    text = "\n".join(["tag_id,name,category,count", *rows]) + "\n"
    replace_file(folder / "selected_tags.csv", lambda path: path.write_text(text, encoding="utf-8"))


class _Graph:
    """Nodes and constants in the making; both return the name that later nodes read."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Tensor | NDArray[Any]) -> str:
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def _model(tagger: Tagger) -> onnx.ModelProto:
    graph = _Graph()
    x = graph.node("Transpose", ["input"], "planes", perm=[0, 3, 1, 2])
    x = graph.node("Gather", [x, graph.constant("rgb_of_bgr", np.array([2, 1, 0], np.int64))], "rgb", axis=1)
    x = graph.node("Div", [x, graph.constant("half_range", np.array(127.5, np.float32))], "divided")
    x = graph.node("Sub", [x, graph.constant("one", np.array(1, np.float32))], "centred")
    for k, (conv, norm) in enumerate(zip(tagger.convs, tagger.norms, strict=True)):
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.GroupNorm)
        x = _block(graph, k, x, conv, norm)
    pooled = [graph.node("GlobalAveragePool", [x], "mean"), graph.node("GlobalMaxPool", [x], "most")]
    x = graph.node("Flatten", [graph.node("Concat", pooled, "pooled", axis=1)], "flat")
    head = [graph.constant("head.weight", tagger.head.weight), graph.constant("head.bias", tagger.head.bias)]
    x = graph.node("Gemm", [x, *head], "logits", transB=1)
    graph.node("Sigmoid", [x], "output")
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", FULL_PX, FULL_PX, 3])
    scores = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", len(LABELS)])
    whole = helper.make_graph(graph.nodes, "tagger", [picture], [scores], graph.constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _block(graph: _Graph, k: int, x: str, conv: nn.Conv2d, norm: nn.GroupNorm) -> str:
    """Adds convolution, group norm and ReLU number `k`; opset 17 lacks group norm: instance norm over groups."""
    kernel = [graph.constant(f"conv{k}.weight", conv.weight)]
    if conv.bias is not None:
        kernel.append(graph.constant(f"conv{k}.bias", conv.bias))
    x = graph.node("Conv", [x, *kernel], f"conv{k}", strides=list(conv.stride), pads=[1, 1, 1, 1])
    unit = graph.constant(f"unit{k}", np.ones(norm.num_groups, np.float32))
    zero = graph.constant(f"zero{k}", np.zeros(norm.num_groups, np.float32))
    rows = graph.constant(f"grouped{k}", np.array([0, norm.num_groups, -1], np.int64))
    x = graph.node("Reshape", [x, rows], f"rows{k}")
    x = graph.node("InstanceNormalization", [x, unit, zero], f"normal{k}", epsilon=float(norm.eps))
    x = graph.node("Reshape", [x, graph.node("Shape", [f"conv{k}"], f"shape{k}")], f"whole{k}")
    x = graph.node("Mul", [x, graph.constant(f"scale{k}", norm.weight.reshape(1, -1, 1, 1))], f"scaled{k}")
    x = graph.node("Add", [x, graph.constant(f"shift{k}", norm.bias.reshape(1, -1, 1, 1))], f"shifted{k}")
    return graph.node("Relu", [x], f"relu{k}")
