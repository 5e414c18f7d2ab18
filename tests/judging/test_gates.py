"""What a check comes to, and the merge check's sums."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.judging.gates import GateResult, read_gates, with_gates
from lora_core.judging.merged import merge_error, merge_gate
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling.epochs import epoch_files
from lora_core.store import Store

UNET = "unet/diffusion_pytorch_model.safetensors"
WEIGHT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
RESULT = GateResult(
    name="merge", passed=False, figure=1.2, bound=0.25, at_least=False, meaning="error", advice="merge again"
)


def merged_base(
    store: Store, base_files: Mapping[str, Path], lora: LoraRef, epoch: int, strength: float, tmp_path: Path
) -> CheckpointRef:
    """W + strength · alpha / rank · up · down, rounded to fp16 as a merge into an fp16 base does; rank = alpha = 2."""
    change = load_file(store.path(epoch_files(store, lora)[epoch].sha256))
    tensors = load_file(base_files[UNET])
    tensors[WEIGHT] += strength * change[f"{MODULE}.lora_up.weight"] @ change[f"{MODULE}.lora_down.weight"]
    path = tmp_path / "merged.safetensors"
    save_file({name: tensor.half().float() for name, tensor in tensors.items()}, path, {"format": "pt"})
    return CheckpointRef(sha256=store.put_tree({**base_files, UNET: path}))


@pytest.mark.parametrize(("epoch", "strength", "passed"), [(1, 1.0, True), (1, 0.0, False), (0, 1.0, False)])
def test_the_merge_check_tells_the_right_merge_from_none_and_from_another_lora(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef,
    base_files: Mapping[str, Path],
    tmp_path: Path,
    epoch: int,
    strength: float,
    passed: bool,
) -> None:
    merged = merged_base(store, base_files, lora, epoch, strength, tmp_path)
    result = merge_gate(store, base, lora, merged, weight=1.0, clip_skip=1, device="cpu")
    assert result.passed is passed
    assert result.figure is not None
    assert result.figure < 0.1 if passed else result.figure > 0.5


def test_the_merge_error_is_a_share_of_what_the_lora_does() -> None:
    plain, wanted, got = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.9])
    error = merge_error(plain, wanted, got)
    # root mean squares: wanted 1, wanted - plain √½, got - wanted 0.1 · √½
    assert (error.effect, error.error) == (pytest.approx(0.5**0.5), pytest.approx(0.1 * 0.5**0.5))
    assert error.share == pytest.approx(0.1)


def test_a_lora_that_does_nothing_is_measured_against_one_hundredth_of_the_prediction() -> None:
    same = torch.ones(4)
    assert merge_error(same, same, same * 1.001).share == pytest.approx(0.1, rel=1e-3)


def test_a_merged_model_that_predicts_nothing_or_no_numbers_fails_in_one_line() -> None:
    nothing, numbers = torch.zeros(4), torch.ones(4)
    assert merge_error(nothing, nothing, nothing).share == pytest.approx(0)
    assert merge_error(nothing, nothing, numbers).share > 1
    for broken in (float("nan"), float("inf")):
        assert "1.200" not in RESULT.model_copy(update={"figure": broken}).line


def test_a_failed_check_tells_its_value_its_bound_and_what_helps() -> None:
    assert RESULT.story == "merge: error 1.200, at most 0.25; merge again"
    passed = RESULT.model_copy(update={"passed": True})
    assert passed.story == passed.line == "merge: error 1.200, at most 0.25"


def test_what_must_not_be_there_at_all_is_counted_without_a_bound(store: Store) -> None:
    counted = RESULT.model_copy(update={"figure": 2.0, "bound": 0.0, "meaning": "rule violations", "counted": True})
    assert counted.line == "merge: 2 rule violations"
    assert read_gates(store, with_gates(store, None, [counted])) == (counted,)


def test_a_checks_results_are_kept_beside_its_pictures(store: Store, tmp_path: Path) -> None:
    other = RESULT.model_copy(update={"name": "look", "figure": None, "details": ("white in 3 of 20",)})
    check = with_gates(store, None, [RESULT, other])
    assert read_gates(store, check) == (RESULT, other)
