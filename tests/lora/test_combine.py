"""LoRA files into one LoRA file, judged by what the base draws with it."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError, OutputExistsError
from lora_core.hub import find_model_files
from lora_core.lora import tensor_files
from lora_core.lora.algebra import Size
from lora_core.lora.attach import attach
from lora_core.lora.combine import Term, add, resize, subtract, weighted
from lora_core.lora.file import read_lora
from lora_core.lora.merge import merge_file
from lora_core.progress import silent
from lora_core.store.digests import file_digest

EXACT = Size()


def drawn(workshop: Any, base: Path, *loras: Term) -> tuple[torch.Tensor, torch.Tensor]:
    """What a base draws with LoRAs merged into it; they are merged, so that several act at once."""
    if not loras:
        return workshop.draw(workshop.load(base))
    merged = loras[0].path.parent / f"{base.stem}-{len(list(loras[0].path.parent.iterdir()))}.safetensors"
    merge_file(find_model_files(str(base), ""), loras, merged, silent)
    try:
        return workshop.draw(workshop.load(merged))
    finally:
        merged.unlink()


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def lora(path: Path, *, rank: int = 2, alpha: float | None = 1.0, seed: int = 0, **options: Any) -> Path:
    """A file with two linear modules, a text encoder's and a 3×3 convolution."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    shapes = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (8, 768),
        "lora_unet_mid_block_attentions_0_proj_in": (6, 6, 1, 1),
        "lora_unet_mid_block_resnets_0_conv1": (6, 5, 3, 3),
        "lora_te_text_model_encoder_layers_0_mlp_fc1": (9, 7),
    }
    for name, (outputs, *inputs) in shapes.items():
        ones = [1] * (len(inputs) - 1)
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, *inputs, generator=generator)
        tensors[f"{name}.lora_up.weight"] = torch.randn(outputs, rank, *ones, generator=generator)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    dtype = options.get("dtype", torch.float32)
    save_file({key: tensor.to(dtype) for key, tensor in tensors.items()}, path, options.get("metadata", {}))
    return path


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_sum_draws_what_both_loras_draw_together(workshop: Any, made: Any, architecture: str, tmp_path: Path) -> None:
    files = made[architecture]
    terms = weighted([files.lora, files.other_rank], [1.0, -0.5])
    result = add(terms, tmp_path / "sum.safetensors", EXACT, "auto", silent)
    assert (result.ranks, result.energy) == ((7,), pytest.approx(1))
    expected = drawn(workshop, files.single, *terms)
    found = drawn(workshop, files.single, Term(tmp_path / "sum.safetensors"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected[0], drawn(workshop, files.single, Term(files.lora))[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_what_was_added_is_taken_out_again_and_brought_back_to_its_rank(
    workshop: Any, made: Any, architecture: str, tmp_path: Path
) -> None:
    files, both, back = made[architecture], tmp_path / "both.safetensors", tmp_path / "back.safetensors"
    add([Term(files.lora), Term(files.other_rank)], both, EXACT, "auto", silent)
    result = subtract(Term(both), Term(files.other_rank), back, Size(rank=4), "auto", silent)
    assert result.ranks == (4,)
    assert result.energy == pytest.approx(1.0, abs=1e-9)
    torch.testing.assert_close(drawn(workshop, files.single, Term(back)), files.drawn, rtol=1e-4, atol=1e-5)


def test_a_module_that_only_one_of_them_has_stays_with_its_sign(tmp_path: Path) -> None:
    whole, part = load_file(lora(tmp_path / "a.safetensors")), load_file(lora(tmp_path / "b.safetensors", seed=1))
    text = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    save_file({k: v for k, v in whole.items() if not k.startswith(text)}, tmp_path / "unet.safetensors")
    terms = Term(tmp_path / "unet.safetensors"), Term(tmp_path / "b.safetensors")
    subtract(*terms, tmp_path / "out.safetensors", EXACT, "auto", silent)
    found = load_file(tmp_path / "out.safetensors")
    assert torch.equal(found[f"{text}.lora_up.weight"], -part[f"{text}.lora_up.weight"])
    assert torch.equal(found[f"{text}.lora_down.weight"], part[f"{text}.lora_down.weight"])


def test_convolutions_keep_their_kernels(tmp_path: Path) -> None:
    files = [lora(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1)]
    for size, rank in ((EXACT, 4), (Size(rank=3), 3)):
        out = tmp_path / f"out-{rank}.safetensors"
        add(weighted(files, [1.0]), out, size, "auto", silent)
        found = load_file(out)
        name = "lora_unet_mid_block_resnets_0_conv1"
        assert found[f"{name}.lora_down.weight"].shape == (rank, 5, 3, 3)
        assert found[f"{name}.lora_up.weight"].shape == (6, rank, 1, 1)
        assert found["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"].shape == (rank, 6, 1, 1)
        args = json.loads(metadata(out)["ss_network_args"])
        assert args == {"conv_dim": str(rank), "conv_alpha": metadata(out)["ss_network_alpha"]}


def test_the_same_file_twice_counts_twice(tmp_path: Path) -> None:
    once = lora(tmp_path / "a.safetensors")
    add([Term(once), Term(once)], tmp_path / "twice.safetensors", EXACT, "auto", silent)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    single, double = (read_lora(path).modules[name] for path in (once, tmp_path / "twice.safetensors"))
    torch.testing.assert_close(double.scale * double.up @ double.down, 2 * single.scale * single.up @ single.down)


def test_a_resize_keeps_scale_and_training_facts_and_says_what_was_done(tmp_path: Path) -> None:
    facts = {
        "ss_output_name": "old", "ss_network_dim": "8", "ss_network_alpha": "4.0", "ss_seed": "42",
        "sshs_model_hash": "0", "modelspec.hash_sha256": "0", "modelspec.date": "2023-01-01",
    }  # fmt: skip
    source = lora(tmp_path / "a.safetensors", rank=5, alpha=2.5, metadata=facts)
    result = resize(Term(source), tmp_path / "small.safetensors", Size(rank=2), "auto", silent)
    assert (result.modules, result.ranks) == (4, (2,))
    assert 0.2 < result.energy < 1
    found = metadata(tmp_path / "small.safetensors")
    assert (found["ss_network_dim"], found["ss_network_alpha"], found["ss_seed"]) == ("2", "1.0", "42")
    assert (found["ss_output_name"], found["modelspec.title"]) == ("small", "small")
    assert not {"modelspec.hash_sha256", "modelspec.date"} & set(found)
    assert found["sshs_model_hash"] not in ("", "0")
    assert json.loads(found["headcanon.made"]) == {
        "how": "resize", "sources": [{"sha256": file_digest(source), "weight": 1.0}], "rank": 2, "energy": 0.0,
    }  # fmt: skip


def test_a_module_that_is_small_enough_stays_as_it_is_to_the_bit(tmp_path: Path) -> None:
    source = lora(tmp_path / "a.safetensors", rank=2, dtype=torch.float16)
    resize(Term(source), tmp_path / "same.safetensors", Size(rank=2), "auto", silent)
    before, after = load_file(source), load_file(tmp_path / "same.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)


def test_ranks_by_energy_differ_and_the_header_says_dynamic(tmp_path: Path) -> None:
    source = lora(tmp_path / "a.safetensors", rank=6, alpha=3.0)
    result = resize(Term(source), tmp_path / "small.safetensors", Size(energy=0.9), "auto", silent)
    assert len(result.ranks) > 1
    assert 0.9 <= result.energy < 1
    assert metadata(tmp_path / "small.safetensors")["ss_network_dim"] == "Dynamic"
    ranks = {module.rank for module in read_lora(tmp_path / "small.safetensors").modules.values()}
    assert ranks == set(result.ranks)


def test_a_sum_tells_of_the_base_that_all_agree_on_and_of_everyones_tags(tmp_path: Path) -> None:
    common = {"ss_base_model_version": "sd_v1", "ss_seed": "42", "ss_network_dim": "2"}
    a = lora(
        tmp_path / "a.safetensors",
        metadata={
            **common, "ss_sd_model_name": "one", "modelspec.trigger_phrase": "momo",
            "ss_tag_frequency": json.dumps({"10_x": {"smile": 2}}),
        },
    )  # fmt: skip
    b = lora(
        tmp_path / "b.safetensors",
        seed=1,
        metadata={
            **common, "ss_sd_model_name": "two", "modelspec.trigger_phrase": "aiko",
            "ss_tag_frequency": json.dumps({"10_x": {"smile": 1, "hat": 4}, "5_y": {"cat": 1}}),
        },
    )  # fmt: skip
    add([Term(a), Term(b)], tmp_path / "sum.safetensors", EXACT, "auto", silent)
    found = metadata(tmp_path / "sum.safetensors")
    assert found["ss_base_model_version"] == "sd_v1"
    assert not {"ss_sd_model_name", "ss_seed"} & set(found)
    assert json.loads(found["ss_tag_frequency"]) == {"10_x": {"hat": 4, "smile": 3}, "5_y": {"cat": 1}}
    assert found["modelspec.trigger_phrase"] == "momo, aiko"
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("4", "2.0")
    subtract(Term(a), Term(b), tmp_path / "difference.safetensors", EXACT, "auto", silent)
    found = metadata(tmp_path / "difference.safetensors")
    assert found["modelspec.trigger_phrase"] == "momo"
    assert json.loads(found["ss_tag_frequency"]) == {"10_x": {"smile": 2}}


@pytest.mark.parametrize(
    ("dtypes", "precision", "expected"),
    [
        (("fp16", "fp16"), "auto", torch.float16),
        (("bf16", "bf16"), "auto", torch.bfloat16),
        (("fp16", "bf16"), "auto", torch.float32),
        (("fp16", "fp32"), "auto", torch.float32),
        (("fp32", "fp32"), "bf16", torch.bfloat16),
    ],
)
def test_the_precision_is_the_sources_or_the_one_asked_for(
    tmp_path: Path, dtypes: tuple[str, str], precision: str, expected: torch.dtype
) -> None:
    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
    files = [lora(tmp_path / f"{n}.safetensors", seed=n, dtype=kinds[dtype]) for n, dtype in enumerate(dtypes)]
    add(weighted(files, [1.0]), tmp_path / "out.safetensors", EXACT, precision, silent)
    assert {tensor.dtype for tensor in load_file(tmp_path / "out.safetensors").values()} == {expected}


def test_an_alpha_that_fp16_would_round_is_kept_in_fp32(tmp_path: Path) -> None:
    files = [lora(tmp_path / f"{alpha}.safetensors", alpha=alpha, dtype=torch.float16) for alpha in (0.1, 0.3)]
    add(weighted(files, [0.7]), tmp_path / "out.safetensors", EXACT, "fp16", silent)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    alpha = load_file(tmp_path / "out.safetensors")[f"{name}.alpha"]
    assert alpha.dtype == torch.float32
    assert float(alpha) == pytest.approx(0.7 * float(torch.tensor(0.3).half()) / 2 * 4, rel=1e-7)


def test_sdxl_files_of_both_block_namings_meet_in_the_same_modules(made: Any, tmp_path: Path) -> None:
    renamed = {
        key.replace("input_blocks_4_1_", "down_blocks_1_attentions_0_"): tensor
        for key, tensor in load_file(made["sdxl"].lora).items()
    }
    save_file(renamed, tmp_path / "renamed.safetensors")
    subtract(
        Term(made["sdxl"].other_rank), Term(tmp_path / "renamed.safetensors"), tmp_path / "out.safetensors", EXACT,
        "auto", silent,
    )  # fmt: skip
    assert {module.rank for module in read_lora(tmp_path / "out.safetensors").modules.values()} == {7}


def test_equal_work_has_equal_bytes_and_other_bytes_are_refused_before_the_work(tmp_path: Path) -> None:
    files, out = [lora(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1)], tmp_path / "out.safetensors"
    add(weighted(files, [1.0]), out, EXACT, "auto", silent)
    first, worked = out.read_bytes(), []
    add(weighted(files, [1.0]), out, EXACT, "auto", silent)
    assert out.read_bytes() == first
    with pytest.raises(OutputExistsError, match=r"out\.safetensors"):
        add(weighted(files, [0.5]), out, EXACT, "auto", lambda done, total, note="": worked.append(done))
    assert worked == []
    (tmp_path / "text.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"text\.txt"):
        add(weighted(files, [1.0]), tmp_path / "text.txt", EXACT, "auto", silent)
    assert (tmp_path / "text.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.safetensors", "1.safetensors", "out.safetensors", "text.txt",
    ]  # fmt: skip


def test_bytes_damaged_after_the_work_are_not_taken_for_the_same(tmp_path: Path) -> None:
    files, out = [lora(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1)], tmp_path / "out.safetensors"
    add(weighted(files, [1.0]), out, EXACT, "auto", silent)
    out.write_bytes(out.read_bytes()[:-1] + b"\0")
    with pytest.raises(OutputExistsError):
        add(weighted(files, [1.0]), out, EXACT, "auto", silent)


def test_loras_that_cannot_be_added_are_refused_and_nothing_is_written(made: Any, tmp_path: Path) -> None:
    one, out = lora(tmp_path / "a.safetensors"), tmp_path / "none" / "out.safetensors"
    with pytest.raises(LoraError, match=r"a\.safetensors was trained on sd1, .*sdxl-lora\.safetensors on sdxl"):
        add([Term(one), Term(made["sdxl"].lora)], out, EXACT, "auto", silent)
    with pytest.raises(LoraError, match=r"mlp_fc1 is for a weight of 9×7 in .* and of 128×64 in"):
        add([Term(one), Term(made["sd1"].lora)], out, EXACT, "auto", silent)
    with pytest.raises(LoraError, match="every weight is 0"):
        add([Term(one, 0.0)], out, EXACT, "auto", silent)
    with pytest.raises(LoraError, match="are the same LoRA"):
        subtract(Term(one), Term(one), out, EXACT, "auto", silent)
    with pytest.raises(LoraError, match="needs a rank or an energy"):
        resize(Term(one), out, EXACT, "auto", silent)
    with pytest.raises(LoraError, match="3 weights for 2 LoRA files"):
        weighted([one, one], [1.0, 1.0, 1.0])
    assert not out.exists()


def test_a_number_that_the_precision_cannot_hold_is_refused_with_the_users_name_for_the_file(tmp_path: Path) -> None:
    big = {key: tensor * 1e5 for key, tensor in load_file(lora(tmp_path / "a.safetensors")).items()}
    save_file(big, tmp_path / "big.safetensors")
    with pytest.raises(LoraError, match="not finite as F16; save in another precision") as caught:
        add([Term(tmp_path / "big.safetensors")], tmp_path / "out.safetensors", EXACT, "fp16", silent)
    assert str(caught.value).startswith(f"{tmp_path}/out.safetensors: ")
    assert not (tmp_path / "out.safetensors").exists()


def test_memory_holds_one_module_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "_MEMORY_BYTES", 1 << 16)
    tensors = {}
    for number in range(60):
        tensors[f"lora_unet_{number}.lora_down.weight"] = torch.randn(200, 250)
        tensors[f"lora_unet_{number}.lora_up.weight"] = torch.randn(250, 200)
    save_file(tensors, tmp_path / "a.safetensors")
    tracemalloc.start()
    try:
        add([Term(tmp_path / "a.safetensors")] * 2, tmp_path / "out.safetensors", EXACT, "auto", silent)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Reading goes through Python's memory, so whatever is read is counted: 400 kB a module, 4 MiB of data at the end.
    assert most < (tmp_path / "out.safetensors").stat().st_size / 5


def test_a_finished_sum_is_a_lora_like_any_other(workshop: Any, made: Any, tmp_path: Path) -> None:
    add([Term(made["sd1"].lora), Term(made["sd1"].other_rank)], tmp_path / "sum.safetensors", EXACT, "auto", silent)
    base = workshop.load(made["sd1"].single)
    attach(base, tmp_path / "sum.safetensors", 1.0)
    expected = drawn(workshop, made["sd1"].single, Term(tmp_path / "sum.safetensors"))
    torch.testing.assert_close(workshop.draw(base), expected, rtol=1e-4, atol=1e-5)
