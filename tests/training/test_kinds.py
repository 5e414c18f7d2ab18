"""DoRA, LoHa and LoKr: their formulas, their files, and that what was trained is what is drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from plain_step import drawn_batch, load, prepared
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_core.diffusion.components import Components
from lora_core.errors import LoraError
from lora_core.lora.attach import attach, detach
from lora_core.lora.file import read_lora, write_lora
from lora_core.lora.inject import ADAPTER, LoraLayer, add_magnitude
from lora_core.lora.module import LoraModule
from lora_core.recipe import Network, Training
from lora_core.training.batch import Batch
from lora_core.training.loop import Stepper

KINDS = ("lora", "dora", "loha", "lokr")


def network(kind: Any) -> Network:
    return Network(kind=kind, conv_rank=2, text_encoder_rank=3)


def modules_of(layers: tuple[LoraLayer, ...]) -> dict[str, LoraModule]:
    return {layer.name: layer.in_file() for layer in layers}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_one_changes_nothing(tiny_base: Path, kind: str) -> None:
    batch = drawn_batch()
    stepper, layers, _ = prepared(tiny_base, Training(network=network(kind)), "epsilon")
    for layer in layers:
        for key in ("lora_up.weight", "hada_w2_b", "lokr_w2", "lokr_w2_b"):
            if key in layer.matrices:
                layer.matrices[key].data.zero_()
    assert stepper.loss(batch).item() == pytest.approx(bare(load(tiny_base))(batch), abs=1e-6)


def dense(tensors: dict[str, torch.Tensor], alpha: float, weight: torch.Tensor) -> torch.Tensor:
    """W' element by element, in float64, by the papers' formulas."""
    its = {key: each.detach().double() for key, each in tensors.items()}
    old = weight.detach().double().flatten(1)
    if "hada_w1_a" in its:
        one, two = its["hada_w1_a"] @ its["hada_w1_b"], its["hada_w2_a"] @ its["hada_w2_b"]
        return old + one * two * alpha / its["hada_w1_b"].shape[0]
    if "lokr_w1" in its:
        if "lokr_w2" in its:
            second, scale = its["lokr_w2"], 1.0
        else:
            second, scale = its["lokr_w2_a"] @ its["lokr_w2_b"], alpha / its["lokr_w2_b"].shape[0]
        rows, columns = its["lokr_w1"].shape
        kernel = weight[0, 0].numel() if weight.ndim == 4 else 1
        second = second.reshape(weight.shape[0] // rows, weight.shape[1] // columns, kernel)
        blocks = [[its["lokr_w1"][i, j] * second for j in range(columns)] for i in range(rows)]
        whole = torch.cat([torch.cat(row, dim=1) for row in blocks], dim=0)
        return old + (scale * whole).flatten(1)
    turned = old + its["lora_up.weight"].flatten(1) @ its["lora_down.weight"].flatten(1) * alpha / len(
        its["lora_down.weight"]
    )
    if "dora_scale" not in its:
        return turned
    columns_of = turned.view(weight.shape[0], weight.shape[1], -1)
    lengths = (columns_of**2).sum(dim=(0, 2)).sqrt()
    return (columns_of * (its["dora_scale"].flatten() / lengths)[None, :, None]).flatten(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_one_with_the_changed_weights(tiny_base: Path, kind: str) -> None:
    """The loss of a model whose weights were replaced by what the formula makes of them."""
    stepper, layers, _ = prepared(tiny_base, Training(network=network(kind)), "epsilon")
    with torch.no_grad():
        for layer in layers:
            if "dora_scale" in layer.matrices:
                lengths = layer.matrices["dora_scale"]
                lengths.mul_(1 + 0.2 * torch.rand(lengths.shape, generator=torch.Generator().manual_seed(4)))
    plain, others, _ = prepared(tiny_base, Training(network=Network(conv_rank=2)), "epsilon")
    changed = 0.0
    for layer, other in zip(layers, others, strict=True):
        other.up.data.zero_()
        weight = other.module.get_base_layer().weight.data  # type: ignore[operator,union-attr]
        made = dense(dict(layer.matrices), layer.alpha, weight).reshape(weight.shape).float()
        changed = max(changed, (made - weight).abs().max().item())
        weight.copy_(made)
    assert changed > 0.01
    batch = drawn_batch()
    assert stepper.loss(batch).item() == pytest.approx(plain.loss(batch).item(), rel=1e-4)


def test_the_length_of_a_column_is_a_constant_to_the_gradient() -> None:
    """DoRA's section 4.3: the gradient of ΔW is m / ‖W + ΔW‖ times the plain LoRA's."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4)).requires_grad_(False)
    weight = model[0].weight.detach().clone()
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=["0"], init_lora_weights=False), model)
    module: Any = model[0]
    lengths = add_magnitude(module, ADAPTER)
    lengths.data.mul_(1.3)
    down, up = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
    inputs = torch.randn(3, 5)
    module(inputs).square().sum().backward()
    mine = (down.grad.clone(), up.grad.clone(), lengths.grad.clone())
    a, b, m = (each.detach().clone().requires_grad_() for each in (down, up, lengths))
    turned = weight + b @ a
    norms = turned.square().sum(0, keepdim=True).sqrt().detach()
    outputs = inputs @ (turned * m / norms).T + model[0].bias
    outputs.square().sum().backward()
    for found, wanted in zip(mine, (a.grad, b.grad, m.grad), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_is_what_is_drawn_from_the_file(tiny_base: Path, tmp_path: Path, kind: str) -> None:
    options = Training(unet_lr=0.05, text_encoder_lr=0.05, network=network(kind))
    stepper, layers, _ = prepared(tiny_base, options, "epsilon")
    batch = drawn_batch()
    before = [each.detach().clone() for layer in layers for each in layer.matrices.values()]
    stepper.step(batch, 0)
    after = [each for layer in layers for each in layer.matrices.values()]
    moved = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    path = tmp_path / "hero.safetensors"
    write_lora(path, modules_of(layers), dtype=torch.float32, metadata={})
    found = read_lora(path)
    assert {module.is_plain for module in found.modules.values()} == {kind == "lora"}
    base = load(tiny_base)
    loss = bare(base)
    plain = loss(batch)
    attach(base, found, 1.0)
    drawn = loss(batch)
    assert drawn == pytest.approx(stepper.loss(batch).item(), rel=1e-4)
    assert abs(drawn - plain) > 1e-3
    attach(base, found, 0.0)
    assert loss(batch) == pytest.approx(plain, abs=1e-6)
    detach(base)
    assert loss(batch) == plain


def bare(base: Components) -> Callable[[Batch], float]:
    """The loss of a base without a LoRA in training."""
    idle = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])

    def loss(batch: Batch) -> float:
        plain = Stepper(base, (), idle, Training(), clip_skip=1, dtype=torch.float32)
        return plain.loss(batch).item()

    return loss


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("dora", {"alpha", "dora_scale", "lora_down.weight", "lora_up.weight"}),
        ("loha", {"alpha", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),
        ("lokr", {"alpha", "lokr_w1", "lokr_w2"}),
    ],
)
def test_files_have_the_names_and_shapes_that_web_uis_read(
    tiny_base: Path, tmp_path: Path, kind: str, wanted: set[str]
) -> None:
    _, layers, _ = prepared(tiny_base, Training(network=network(kind)), "epsilon")
    path = tmp_path / "hero.safetensors"
    write_lora(path, modules_of(layers), dtype=torch.float16, metadata={"ss_output_name": "hero"})
    tensors = load_file(path)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"  # 32 → 64
    its = {key.removeprefix(f"{name}."): each for key, each in tensors.items() if key.startswith(name)}
    rest = {key for key in its if key not in ("lokr_w2", "lokr_w2_a", "lokr_w2_b")}
    assert rest == wanted - {"lokr_w2"}
    if kind == "dora":
        assert its["dora_scale"].shape == (1, 32)  # of the inputs
        assert tensors["lora_unet_mid_block_resnets_0_conv1.dora_scale"].shape == (1, 64, 1, 1)
    if kind == "loha":
        assert [tuple(its[key].shape) for key in sorted(wanted - {"alpha"})] == [(64, 3), (3, 32), (64, 3), (3, 32)]
        assert tensors["lora_unet_mid_block_resnets_0_conv1.hada_w1_b"].shape == (2, 64 * 9)
    if kind == "lokr":
        assert its["lokr_w1"].shape == (8, 4)  # 64 = 8 · 8, 32 = 4 · 8
    with safe_open(path, framework="pt") as file:
        assert {"ss_output_name", "sshs_model_hash", "sshs_legacy_hash"} <= file.metadata().keys()
    assert {module.title.lower() for module in read_lora(path).modules.values()} == {f"a {kind}"}


def test_a_lokr_without_a_rank_is_not_scaled_by_alpha() -> None:
    weight = torch.zeros(4, 4)
    first, second = torch.rand(2, 2), torch.rand(2, 2)
    whole = LoraModule({"lokr_w1": first, "lokr_w2": second}, 7.0)
    torch.testing.assert_close(whole.merged(weight), torch.kron(first, second))
    narrow = LoraModule({"lokr_w1": first, "lokr_w2_a": second[:, :1], "lokr_w2_b": second[:1]}, 3.0)
    torch.testing.assert_close(narrow.merged(weight), 3 * torch.kron(first, second[:, :1] @ second[:1]))


def test_a_file_for_another_base_or_with_unknown_tensors_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    base = load(tiny_base)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    wide = {f"{name}.lokr_w1": torch.rand(2, 2), f"{name}.lokr_w2": torch.rand(8, 8)}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(LoraError, match="made for a weight of 16×16, the base's has 64×32"):
        attach(base, tmp_path / "wide.safetensors", 1.0)
    odd = {
        f"{name}.lora_down.weight": torch.rand(2, 32),
        f"{name}.lora_up.weight": torch.rand(64, 2),
        f"{name}.dora_scale": torch.rand(32, 1),
    }
    save_file(odd, tmp_path / "odd.safetensors")
    with pytest.raises(LoraError, match="made for a weight of 64×32 with 32×1 lengths, the base's has 64×32"):
        attach(base, tmp_path / "odd.safetensors", 1.0)
    save_file({f"{name}.hada_w1_a": torch.rand(2, 2)}, tmp_path / "half.safetensors")
    with pytest.raises(LoraError, match="has hada_w1_a; read are"):
        read_lora(tmp_path / "half.safetensors")
