"""Loading a base model from a single file and from a diffusers folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.diffusion.components import Components, load_components
from lora_core.diffusion.condition import token_ids
from lora_core.diffusion.tokenizer import shipped_tokenizer
from lora_core.errors import CheckpointError
from lora_core.hub import find_model_files

_CPU = torch.device("cpu")


def same_weights(base: Components, models: dict[str, torch.nn.Module]) -> bool:
    loaded = {"unet": base.unet, "vae": base.vae, "text_encoder": base.text_encoders[0]}
    if len(base.text_encoders) == 2:
        loaded["text_encoder_2"] = base.text_encoders[1]
    assert loaded.keys() == models.keys()
    return all(
        torch.equal(tensor, loaded[part].state_dict()[key])
        for part, model in models.items()
        for key, tensor in model.state_dict().items()
    )


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_single_file_and_a_folder_load_as_the_models_they_were_made_of(
    workshop: Any, architecture: Any, tmp_path: Path
) -> None:
    models = workshop.models(architecture)
    single = workshop.load(workshop.single_file(tmp_path / "model.safetensors", architecture))
    folder = workshop.load(workshop.folder(tmp_path / "folder", architecture))
    for base in (single, folder):
        assert base.architecture == architecture
        assert len(base.tokenizers) == len(base.text_encoders) == (2 if architecture == "sdxl" else 1)
        assert same_weights(base, models)
    for mine, theirs in zip(workshop.draw(single), workshop.draw(folder), strict=True):
        assert torch.equal(mine, theirs)


def test_everything_is_frozen_and_the_vae_stays_float32(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", "sd1", dtype=torch.float16)
    base = load_components({"model.safetensors": path}, device=_CPU, dtype=torch.bfloat16)
    assert base.unet.dtype == base.text_encoders[0].dtype == torch.bfloat16
    assert base.vae.dtype == torch.float32
    for model in (base.unet, base.vae, *base.text_encoders):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("architecture", ["sd2", "sdxl"])
def test_a_plan_reads_no_number_of_a_base_and_still_refuses_one_that_is_cut_off(
    workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Any
) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", architecture)
    whole = workshop.load(path).unet.state_dict()
    monkeypatch.setattr("lora_core.diffusion.components.is_finite", lambda tensor: pytest.fail("numbers are read"))
    planned = load_components({path.name: path}, device=torch.device("meta"), dtype=torch.bfloat16).unet.state_dict()
    assert {key: tensor.shape for key, tensor in planned.items()} == {key: each.shape for key, each in whole.items()}
    assert {(tensor.device.type, tensor.dtype) for tensor in planned.values()} == {("meta", torch.bfloat16)}
    tensors = load_file(path)
    save_file({key: each for key, each in tensors.items() if "time_embed.0" not in key}, path)
    with pytest.raises(CheckpointError, match="tensors are missing from the file"):
        load_components({path.name: path}, device=torch.device("meta"), dtype=torch.bfloat16)


def test_files_named_by_their_digest_load(workshop: Any, tmp_path: Path) -> None:
    files = find_model_files(str(workshop.folder(tmp_path / "folder", "sd1")), "")
    by_digest = {}
    for number, (name, path) in enumerate(files.items()):
        by_digest[name] = shutil.copyfile(path, tmp_path / f"{number:064x}")
    assert load_components(by_digest, device=_CPU, dtype=torch.float32).architecture == "sd1"


def test_the_fp16_variant_of_a_folder_is_found(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1", variant="fp16")
    assert (folder / "unet/diffusion_pytorch_model.fp16.safetensors").is_file()
    assert same_weights(workshop.load(folder), workshop.models("sd1"))


def test_old_names_of_the_vaes_attention_and_of_clip_are_known(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    old = {}
    for key, tensor in load_file(path).items():
        for new, name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{name}.")
        old[key] = tensor
    assert any("proj_attn" in key for key in old)
    save_file(old, path)
    path = folder / "text_encoder/model.safetensors"
    save_file({f"text_model.{key.removeprefix('text_model.')}": value for key, value in load_file(path).items()}, path)
    assert same_weights(workshop.load(folder), workshop.models("sd1"))


def test_a_single_file_without_text_model_in_its_names_loads(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", "sd1")
    save_file(
        {key.replace("transformer.text_model.", "transformer."): value for key, value in load_file(path).items()}, path
    )
    assert same_weights(workshop.load(path), workshop.models("sd1"))


def test_a_file_can_carry_its_own_configs(workshop: Any, tmp_path: Path) -> None:
    own = {"unet": {"attention_head_dim": 4}, "scheduler": {"prediction_type": "v_prediction"}}
    path = workshop.single_file(tmp_path / "m.safetensors", "sd1", metadata={"headcanon.configs": json.dumps(own)})
    base = workshop.load(path)
    assert base.unet.config.attention_head_dim == 4
    assert base.prediction_type == "v_prediction"


def test_the_shipped_vocabulary_gives_clips_known_ids() -> None:
    tokenizer = shipped_tokenizer(pad_zero=False)
    assert len(tokenizer) == 49408
    assert tokenizer("hello world").input_ids == [49406, 3306, 1002, 49407]
    padded = tokenizer("Hello", padding="max_length", max_length=77, truncation=True).input_ids
    assert padded == [49406, 3306, *[49407] * 75]
    assert shipped_tokenizer(pad_zero=True)("hello", padding="max_length").input_ids[-1] == 0


def test_an_inpainting_model_is_refused(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", "sd1")
    tensors = load_file(path)
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="inpainting"):
        workshop.load(path)


def test_a_missing_tensor_is_named(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", "sd1")
    tensors = load_file(path)
    del tensors["model.diffusion_model.middle_block.2.out_layers.3.weight"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"mid_block\.resnets\.1\.conv2\.weight"):
        workshop.load(path)


def test_eight_bit_weights_are_refused(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", "sd1")
    tensors = load_file(path)
    key = "model.diffusion_model.time_embed.0.weight"
    save_file({**tensors, key: tensors[key].to(torch.float8_e4m3fn)}, path)
    with pytest.raises(CheckpointError, match="F8_E4M3"):
        workshop.load(path)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_no_number_is_named_before_anything_is_trained(
    workshop: Any, tmp_path: Path, number: float
) -> None:
    path = workshop.single_file(tmp_path / "model.safetensors", "sd1")
    tensors = load_file(path)
    key = "model.diffusion_model.time_embed.0.weight"
    tensors[key].view(-1)[3] = number
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: {key} holds numbers that are not finite"):
        workshop.load(path)


def test_a_folder_without_its_tokenizer_is_refused(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    (folder / "tokenizer/vocab.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer/vocab\.json is missing"):
        workshop.load(folder)


def test_a_tokenizer_as_newer_transformers_save_it_is_read_from_its_one_file(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    before = workshop.load(folder)
    before.tokenizers[0].save_pretrained(str(folder / "tokenizer"))
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).unlink()
    assert "tokenizer/tokenizer.json" in find_model_files(str(folder), "")
    texts = ["1girl, solo, a smile", ""]
    assert torch.equal(*(token_ids(each.tokenizers[0], texts)[0] for each in (before, workshop.load(folder))))


def test_a_config_that_does_not_fit_its_weights_is_refused(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps({**config, "cross_attention_dim": 128}))
    with pytest.raises(CheckpointError, match="its config says"):
        workshop.load(folder)
