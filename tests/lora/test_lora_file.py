"""LoRA files: written as others read them, read with one clear line for rubbish."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError
from lora_core.lora.file import read_lora, write_lora
from lora_core.lora.module import LoraModule


def module(up: float = 0.5) -> LoraModule:
    return LoraModule.plain(torch.arange(6.0).reshape(2, 3), torch.full((4, 2), up), alpha=1.0)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_lora(path, {"lora_unet_a": module()}, dtype=torch.float16, metadata={"ss_seed": "1"})
    lora = read_lora(path)
    found = lora.modules["lora_unet_a"]
    assert torch.equal(found.down, torch.arange(6.0).reshape(2, 3).half())
    assert (found.rank, found.alpha, found.scale) == (2, 1.0, 0.5)
    assert lora.metadata["ss_seed"] == "1"
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_equal_inputs_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    modules = {"lora_unet_a": module(), "lora_unet_b": module(up=2.0)}
    write_lora(a, modules, dtype=torch.float16, metadata={"x": "1", "y": "2"})
    write_lora(b, dict(reversed(modules.items())), dtype=torch.float16, metadata={"y": "2", "x": "1"})
    assert a.read_bytes() == b.read_bytes()


def test_the_model_hash_is_the_sha256_of_the_bytes_behind_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    big = LoraModule.plain(torch.randn(64, 9000), torch.randn(4, 64), 1.0)
    write_lora(path, {"lora_unet_a": big}, dtype=torch.float32, metadata={"ss_seed": "1", "modelspec.title": "a"})
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["sshs_model_hash"] == hashlib.sha256(data[start:]).hexdigest()
    save_file(load_file(path), tmp_path / "plain.safetensors", {"ss_seed": "1"})
    plain = (tmp_path / "plain.safetensors").read_bytes()
    legacy = hashlib.sha256(plain[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
    assert metadata["sshs_legacy_hash"] == legacy  # as sd-scripts computes it: with safetensors' own header


def test_weights_that_fp16_cannot_hold_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="not finite"):
        write_lora(tmp_path / "a.safetensors", {"lora_unet_a": module(up=1e6)}, dtype=torch.float16, metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_unet_a.lora_down.weight": torch.zeros(2, 3)}, "lora_unet_a has no lora_up"),
        ({"lora_unet_a.hada_w1_a": torch.zeros(2, 3)}, "has hada_w1_a; read are whole LoRAs, DoRAs, LoHas and LoKrs"),
        ({"lora_unet_a.lokr_w1": torch.zeros(2, 3)}, "has lokr_w1; read are whole LoRAs, DoRAs, LoHas and LoKrs"),
        ({"unet.a.lora_A.weight": torch.zeros(2, 3)}, r"unet\.a has no lora_B\.weight"),
        ({"transformer.a.lora_A.weight": torch.zeros(2, 3)}, "peft's naming for another kind of model"),
        ({"base_model.model.a.lora_A.weight": torch.zeros(2, 3)}, "does not say which model"),
        ({"lora_unet_a.dora_scale": torch.zeros(2, 3)}, "a DoRA"),
        ({"model.diffusion_model.out.0.weight": torch.zeros(2)}, "a whole checkpoint"),
        (
            {"lora_unet_a.lora_down.weight": torch.zeros(2, 3), "lora_unet_a.lora_up.weight": torch.zeros(4, 3)},
            "do not fit each other",
        ),
        (
            {
                "lora_unet_a.lora_down.weight": torch.full((2, 3), torch.nan),
                "lora_unet_a.lora_up.weight": torch.zeros(4, 2),
            },
            "not finite",
        ),
    ],
)
def test_rubbish_is_refused_in_one_line(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    path = tmp_path / "bad.safetensors"
    save_file(tensors, path)
    with pytest.raises(LoraError, match=message) as caught:
        read_lora(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_pickle_are_lora_errors(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="cannot be read"):
        read_lora(tmp_path / "none.safetensors")
    torch.save({}, tmp_path / "a.safetensors")
    with pytest.raises(LoraError, match="pickle"):
        read_lora(tmp_path / "a.safetensors")


def test_diffusers_loads_our_file_with_no_key_missing_or_unexpected(
    workshop: Any, made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = workshop.load(made["sd1"].single)
    pipeline = StableDiffusionPipeline(
        vae=base.vae,
        text_encoder=base.text_encoders[0],
        tokenizer=base.tokenizers[0],
        unet=base.unet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(str(made["sd1"].lora.parent), weight_name=made["sd1"].lora.name)
    assert [record.message for record in caplog.records if "key" in record.message.lower()] == []
    ours = read_lora(made["sd1"].lora).modules
    loaded = [
        key
        for model in (base.unet, base.text_encoders[0])
        for key in model.state_dict()
        if key.endswith("lora_A.default_0.weight")
    ]
    assert len(loaded) == len(ours)
    torch.testing.assert_close(workshop.draw(base), made["sd1"].drawn)
