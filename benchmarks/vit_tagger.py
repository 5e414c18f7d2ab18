"""A tagger with random weights and the shapes of a published one (ViT-B/16 at 448 px)."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE_PX, PATCH_PX, WIDTH, LABELS = 448, 16, 768, 9000
# Each is a block's four projections and its MLP: 12 · WIDTH² multiplications a token.
LAYERS = 12
# Width before and behind each matrix of a block.
BLOCK = {
    "query": (WIDTH, WIDTH), "key": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH),
    "value": (WIDTH, WIDTH), "out": (WIDTH, WIDTH),
}  # fmt: skip


def write_vit_tagger(folder: Path) -> Path:
    """Write `model.onnx` and `selected_tags.csv`; attention's own products, a small part of the work, are left out."""
    chance = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:] if len(shape) == 4 else shape[:1]))
        weights.append(numpy_helper.from_array((chance.standard_normal(shape) * scale).astype(np.float32), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    weights.append(numpy_helper.from_array(np.array(127.5, dtype=np.float32), "half_range"))
    weights.append(numpy_helper.from_array(np.array([0, WIDTH, -1], dtype=np.int64), "rows"))
    x = node("Transpose", [node("Div", ["input", "half_range"], "scaled")], "planes", perm=[0, 3, 1, 2])
    patches = constant("patches", WIDTH, 3, PATCH_PX, PATCH_PX)
    x = node("Conv", [x, patches], "embedded", strides=[PATCH_PX] * 2)
    x = node("Transpose", [node("Reshape", [x, "rows"], "channels")], "tokens", perm=[0, 2, 1])
    for layer in range(LAYERS):
        for name, shape in BLOCK.items():
            x = node("MatMul", [x, constant(f"{name}{layer}", *shape)], f"{name}ed{layer}")
            x = node("Tanh", [x], f"bent{name}{layer}")
    weights.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "over_tokens"))
    x = node("ReduceMean", [x, "over_tokens"], "pooled", keepdims=0)
    node("Sigmoid", [node("MatMul", [x, constant("head", WIDTH, LABELS)], "logits")], "output")
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", SIDE_PX, SIDE_PX, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", LABELS])],
        weights,
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    rows = ["tag_id,name,category,count", *(f"{number},tag_{number},0,1" for number in range(LABELS))]
    (folder / "selected_tags.csv").write_text("\n".join(rows) + "\n")
    return folder
