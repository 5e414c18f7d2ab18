"""The algebra's rules, on modules of every kind: linear, 1×1 and 3×3 convolutions, decomposed ones."""

import math
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lora_core.lora.algebra import Size, concatenated, cut, energy, factored
from lora_core.lora.merge import merge_into
from lora_core.lora.module import LoraModule, without_mid

_SIDES = st.integers(1, 12)
_KERNELS = st.sampled_from([(), (1, 1), (3, 3)])


@st.composite
def modules(draw: Any, count: int) -> list[LoraModule]:
    """Modules for one weight, of different ranks and alphas."""
    outputs, inputs, kernel = draw(_SIDES), draw(_SIDES), draw(_KERNELS)
    found = []
    for _ in range(count):
        rank, generator = draw(st.integers(1, 6)), torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
        decomposed = kernel == (3, 3) and draw(st.booleans())
        down = torch.randn(rank, inputs, *((1, 1) if decomposed else kernel), generator=generator)
        mid = torch.randn(rank, rank, *kernel, generator=generator) if decomposed else None
        up = torch.randn(outputs, rank, *(1 for _ in kernel), generator=generator)
        found.append(LoraModule.plain(down, up, draw(st.one_of(st.none(), st.floats(0.25, 8))), mid))
    return found


def change(module: LoraModule) -> torch.Tensor:
    """What a module adds to a weight, written out: alpha / rank · up · mid · down."""
    scale = 1.0 if module.alpha is None else module.alpha / module.down.shape[0]
    up, down = module.up.flatten(1), module.down
    if module.mid is not None:
        down = torch.einsum("rshw,si->rihw", module.mid, down[:, :, 0, 0])
    return (scale * up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def assert_near(found: torch.Tensor, expected: torch.Tensor, size: float) -> None:
    """Equal up to float error, which grows with the size of what was added."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * max(size, 1e-3))


@given(modules(1))
def test_a_lora_minus_itself_is_nothing(found: list[LoraModule]) -> None:
    (a,) = found
    size = float(change(a).abs().max())
    assert_near(change(concatenated([(a, 1.0), (a, -1.0)])), torch.zeros_like(change(a)), size)


@given(modules(2))
def test_a_plus_b_minus_b_is_a(found: list[LoraModule]) -> None:
    a, b = found
    back = concatenated([(concatenated([(a, 1.0), (b, 1.0)]), 1.0), (b, -1.0)])
    assert_near(change(back), change(a), float(change(a).abs().max() + change(b).abs().max()))
    cut_back = cut(back, Size(rank=a.rank)).module
    assert_near(change(cut_back), change(a), float(change(a).abs().max() + change(b).abs().max()))


_WEIGHTS = st.one_of(st.just(0.0), st.floats(-1, 1))


@given(modules(3), st.tuples(_WEIGHTS, _WEIGHTS, _WEIGHTS))
@example([LoraModule.plain(torch.ones(1, 2), torch.ones(2, 1))] * 3, (0.0, 0.0, 0.0))
@example([LoraModule.plain(torch.ones(1, 2), torch.ones(2, 1))] * 3, (1e-320, 0.0, -1e-320))
def test_a_sum_is_the_weighted_sum_of_the_changes(found: list[LoraModule], weights: tuple[float, ...]) -> None:
    terms = list(zip(found, weights, strict=True))
    total = concatenated(terms)
    assert total.rank == sum(module.rank for module in found)
    assert_near(change(total), sum((w * change(m) for m, w in terms), torch.zeros(())), 10.0)


def test_modules_of_one_scale_keep_their_numbers_to_the_bit() -> None:
    a, b = (LoraModule.plain(torch.randn(r, 5).half(), torch.randn(7, r).half(), r / 2) for r in (4, 2))
    total = concatenated([(a, 1.0), (b, -1.0)])
    assert torch.equal(total.down, torch.cat([a.down, b.down]))
    assert torch.equal(total.up, torch.cat([a.up, -b.up], dim=1))
    assert (total.rank, total.alpha) == (6, 3.0)


def test_a_linear_layer_and_a_1x1_convolution_add_up() -> None:
    linear = LoraModule.plain(torch.randn(2, 5), torch.randn(7, 2))
    convolution = LoraModule.plain(torch.randn(3, 5, 1, 1), torch.randn(7, 3, 1, 1))
    total = concatenated([(linear, 1.0), (convolution, 1.0)])
    assert (total.down.shape, total.up.shape) == ((5, 5, 1, 1), (7, 5, 1, 1))
    torch.testing.assert_close(change(total)[:, :, 0, 0], change(linear) + change(convolution)[:, :, 0, 0])


@given(modules(1))
def test_the_full_rank_changes_nothing(found: list[LoraModule]) -> None:
    (a,) = found
    for size in (Size(rank=a.rank), Size(energy=1.0)):
        assert_near(change(cut(without_mid(a), size).module), change(a), float(change(a).abs().max()))


@given(modules(1), st.integers(1, 6))
def test_a_cut_is_the_nearest_of_its_rank_and_keeps_the_scale(found: list[LoraModule], rank: int) -> None:
    a = without_mid(found[0])
    values = torch.linalg.svdvals(change(a).flatten(1).double())
    result = cut(a, Size(rank=rank))
    kept = min(rank, a.rank, len(values))
    assert result.module.rank == kept
    assert result.module.scale == pytest.approx(a.scale)
    distance = float((change(a) - change(result.module)).double().square().sum())
    tolerance = 1e-5 * float(values.square().sum()) + 1e-9
    assert distance == pytest.approx(float(values[kept:].square().sum()), rel=1e-3, abs=tolerance)
    assert result.kept == pytest.approx(float(values[:kept].square().sum()), rel=1e-4)
    assert result.total == pytest.approx(float(values.square().sum()), rel=1e-4)
    assert energy(found[0]) == pytest.approx(result.total, rel=1e-4)


@given(modules(1), st.lists(st.floats(0.05, 1), min_size=2, max_size=5))
def test_more_energy_never_takes_fewer_ranks_and_is_really_kept(found: list[LoraModule], shares: list[float]) -> None:
    a = without_mid(found[0])
    cuts = [cut(a, Size(energy=share)) for share in sorted(shares)]
    for share, result in zip(sorted(shares), cuts, strict=True):
        assert result.kept >= share * result.total * (1 - 1e-9)
        fewer = cut(a, Size(rank=result.module.rank - 1)) if result.module.rank > 1 else None
        assert fewer is None or fewer.kept < share * fewer.total * (1 + 1e-9)
    assert [c.module.rank for c in cuts] == sorted(c.module.rank for c in cuts)
    assert [c.kept for c in cuts] == sorted(c.kept for c in cuts)


@given(modules(1))
def test_kept_energy_grows_with_the_rank(found: list[LoraModule]) -> None:
    kept = [cut(without_mid(found[0]), Size(rank=rank)).kept for rank in range(1, 7)]
    assert kept == sorted(kept)


def test_rank_and_energy_together_take_the_smaller() -> None:
    values = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5]))  # energies 9, 4, 1, 0.25 of 14.25
    a = LoraModule.plain(values, torch.eye(4))
    assert cut(a, Size(energy=0.6)).module.rank == 1
    assert cut(a, Size(energy=0.9)).module.rank == 2
    assert cut(a, Size(energy=0.99)).module.rank == 4
    assert cut(a, Size(rank=3, energy=0.99)).module.rank == 3
    assert cut(a, Size(rank=3, energy=0.6)).module.rank == 1


def test_nothing_stays_nothing_at_rank_one() -> None:
    result = cut(LoraModule.plain(torch.zeros(3, 5), torch.zeros(7, 3)), Size(energy=0.9))
    assert (result.module.rank, result.kept, result.total) == (1, 0.0, 0.0)
    assert not change(result.module).any()


@pytest.mark.parametrize("shape", [(40, 30), (300, 200), (64, 20, 3, 3), (200, 300, 1, 1)])
def test_a_whole_weights_change_is_factored_nearly_as_well_as_can_be(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    left = torch.randn(shape[0], 60, generator=generator)
    right = torch.randn(60, math.prod(shape[1:]), generator=generator)
    matrix = (left * torch.arange(1, 61).float().reciprocal()) @ right  # singular values that fall slowly
    result = factored(matrix.reshape(shape), Size(rank=8))
    assert change(result.module).shape == shape
    assert (result.module.rank, result.module.alpha) == (8, 8.0)
    best = float(torch.linalg.svdvals(matrix.double())[8:].square().sum())
    distance = float((matrix.reshape(shape) - change(result.module)).double().square().sum())
    assert best <= distance * 1.0001
    assert distance < 1.01 * best


def test_a_change_of_low_rank_is_factored_without_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    low = torch.randn(320, 5, generator=generator) @ torch.randn(5, 768, generator=generator)
    result = factored(low, Size(rank=64, energy=0.999999))
    assert result.module.rank == 5
    torch.testing.assert_close(change(result.module), low, rtol=1e-3, atol=1e-3)
    again = factored(low, Size(rank=64, energy=0.999999))
    assert torch.equal(again.module.up, result.module.up)


def test_rows_in_pieces_merge_as_the_whole_does() -> None:
    a, b = (LoraModule.plain(torch.randn(r, 2000), torch.randn(1500, r), 1.0) for r in (4, 3))
    weight = torch.randn(1500, 2000).half()
    expected = b.merged(a.merged(weight, 0.5), -1.0).half()
    merge_into(weight, [(a, 0.5), (b, -1.0)])
    assert torch.equal(weight, expected)
