"""Checks between two steps."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.dataset import Scores, TagTable
from lora_core.errors import GateError
from lora_core.judging.gates import GateResult, look_gate, looks, merge_error, merge_gate, require
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling.epochs import epoch_files
from lora_core.sampling.samples import Sample, Samples
from lora_core.store import Store, digest_of

UNET = "unet/diffusion_pytorch_model.safetensors"
WEIGHT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


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


def checked(white: float) -> tuple[Samples, TagTable]:
    image = digest_of(b"picture")
    sample = Sample(epoch="merged", prompt_index=0, prompt="a", seed=1, file="merged-1", image=image, width=8, height=8)
    scores = Scores(rating={}, general={"white_background": white, "nose": 0.5}, character={})
    samples = Samples(negative="", weight=1.0, lora_files=(), samples=(sample,))
    return samples, TagTable(model="0" * 64, floor=0.05, images={image: scores})


def test_the_look_check_passes_at_its_bound() -> None:
    samples, table = checked(0.6)
    labels = ("white_background",)
    for least, passed in ((0.6, True), (0.61, False)):
        result = look_gate("style", samples, table, column="merged", tag="white_background", labels=labels, least=least)
        assert (result.passed, result.figure) == (passed, pytest.approx(0.6))


def test_a_tag_unknown_to_the_tagger_bars_nothing() -> None:
    samples, table = checked(0.0)
    result = look_gate("style", samples, table, column="merged", tag="white_background", labels=(), least=0.5)
    assert (result.passed, result.figure) == (True, None)
    assert "does not know white_background" in result.line


def test_looks_are_told_for_known_tags_only() -> None:
    samples, table = checked(0.6)
    found = looks(samples, table, ("nose", "lips"))
    assert [(look.tag, look.figure.mean) for look in found] == [("nose", pytest.approx(0.5)), ("lips", 0.0)]


def test_a_failed_check_says_figure_bound_and_what_helps() -> None:
    result = GateResult(
        name="merge", passed=False, figure=1.2, bound=0.25, at_least=False, meaning="error", advice="merge again"
    )
    with pytest.raises(GateError, match=r"merge: error 1\.200, at most 0\.25; merge again"):
        require(result)
    passed = result.model_copy(update={"passed": True})
    assert require(passed) is passed
