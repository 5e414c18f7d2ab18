"""LoRA layers whose arithmetic is folded into matrix products, beside peft's own."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from lora_core.lora.folded import FOLDED
from lora_core.lora.inject import inject
from lora_core.recipe import Network

PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_", "convolution", "convolution_backward"}
WITHOUT_ARITHMETIC = {
    *("t", "transpose", "permute", "view", "_unsafe_view", "reshape", "expand"),
    *("detach", "new_empty", "alias", "ones_like"),
}


def _layers(kind: str) -> nn.Sequential:
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24, bias=False))
    return nn.Sequential(nn.Conv2d(5, 7, 3, padding=1, stride=2), nn.SiLU(), nn.Conv2d(7, 6, 1))


def _with_lora(kind: str, dtype: torch.dtype, *, folded: bool) -> nn.Module:
    config = LoraConfig(r=4, lora_alpha=2.5, target_modules=["0", "2"], init_lora_weights=False)
    if folded:
        config._register_custom_module(FOLDED)
    model: nn.Module = inject_adapter_in_model(config, _layers(kind).to(dtype))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora" in name)
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))).to(dtype)
    return model


def _input(kind: str, dtype: torch.dtype) -> torch.Tensor:
    shape = (2, 9, 24) if kind == "linear" else (2, 5, 8, 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def _results(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, the input's gradient and the LoRA's."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_(True)
    output = model(x)
    output.float().pow(2).sum().backward() if output.dtype != torch.float64 else output.pow(2).sum().backward()
    gradients = [each.grad for each in model.parameters() if each.requires_grad]
    return [output.detach(), x.grad, *gradients]


def _assert_same(found: list[torch.Tensor], expected: list[torch.Tensor], within: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= within * other.abs().max()


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_pefts(kind: str, dtype: torch.dtype, within: float, layout: Any) -> None:
    x = _input(kind, dtype)
    x = x.to(memory_format=layout) if x.ndim == 4 else x
    expected = _results(_with_lora(kind, dtype, folded=False), x)
    _assert_same(_results(_with_lora(kind, dtype, folded=True), x), expected, within)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_under_autocast_it_is_as_near_to_the_exact_values_as_peft_and_gradients_stay_fp32(kind: str) -> None:
    exact = _results(_with_lora(kind, torch.float32, folded=False), _input(kind, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        halves = [
            _results(_with_lora(kind, torch.float32, folded=each), _input(kind, torch.float32))
            for each in (False, True)
        ]
    assert [each.dtype for each in halves[1]] == [each.dtype for each in halves[0]]
    off = [[((a.float() - b).norm() / b.norm()).item() for a, b in zip(one, exact, strict=True)] for one in halves]
    for pefts, ours in zip(*off, strict=True):
        assert ours <= max(1.5 * pefts, 0.01)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_pass_that_is_computed_twice_gives_the_same_gradients(kind: str) -> None:
    model, x = _with_lora(kind, torch.float32, folded=True), _input(kind, torch.float32)
    plain = _results(model, x)
    model.zero_grad()

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inner, given, use_reentrant=False)  # type: ignore[no-any-return]

    _assert_same(_results(Checkpointed(), x), plain, 0.0)


class _Counted(TorchDispatchMode):
    """Counts torch's operations by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def _counted(kind: str, *, folded: bool) -> Counter[str]:
    """Operations of one layer, there and back, without those that only look at memory in another way."""
    model = _with_lora(kind, torch.float32, folded=folded)[2]  # type: ignore[index]
    shape = (2, 9, 40) if kind == "linear" else (2, 7, 8, 8)
    x = torch.randn(shape, requires_grad=True)
    with _Counted() as counted:
        output = model(x)
        output.backward(torch.ones_like(output))
    return Counter({name: count for name, count in counted.names.items() if name not in WITHOUT_ARITHMETIC})


def test_a_linear_layers_lora_costs_its_products_and_nothing_else() -> None:
    # 2 of the base; of the LoRA: down and up, and backwards hidden, input, down, up
    assert sum(_counted("linear", folded=True).values()) == 8
    assert set(_counted("linear", folded=True)) <= PRODUCTS
    assert {"mul", "add"} <= set(_counted("linear", folded=False))


def test_a_convolutions_lora_adds_nothing_of_the_outputs_size_but_its_products() -> None:
    beside = set(_counted("convolution", folded=True)) - PRODUCTS
    assert beside <= {"sum", "add", "add_"}, "the up matrix's gradient over the batch, and the input's two gradients"
    assert _counted("convolution", folded=True)["mul"] == 0 < _counted("convolution", folded=False)["mul"]


@pytest.mark.parametrize(
    ("network", "folded"),
    [(Network(), True), (Network(kind="dora"), True), (Network(dropout=0.1), False), (Network(kind="loha"), False)],
)
def test_a_training_folds_wherever_nothing_is_dropped_between_down_and_up(
    workshop: Any, tmp_path: Path, network: Network, folded: bool
) -> None:
    components = workshop.load(workshop.single_file(tmp_path / "base.safetensors", "sd1"))
    layers = inject(components, rank=4, alpha=2, unet=True, text_encoder=True, seed=1, network=network)
    assert {isinstance(layer.module, tuple(FOLDED.values())) for layer in layers} == {folded}
