"""Base files as people have them: without a VAE, with other names, in variants and shards, wrapped, cut, quantized."""

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.cli import main
from lora_core.diffusion.components import load_components
from lora_core.diffusion.read import read_source
from lora_core.errors import CheckpointError, UserError
from lora_core.hub import find_model_files
from lora_core.hub.find import companions
from lora_core.lora.checkpoint import find_weights
from lora_core.lora.file import write_lora
from lora_core.lora.inspect import inspect_file
from lora_core.lora.module import LoraModule

VAE, UNET = "first_stage_model.", "model.diffusion_model."
Rename = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def rewrite(path: Path, out: Path, change: Rename) -> Path:
    tensors = change(load_file(path))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out)
    return out


def without(prefix: str) -> Rename:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)}


def a_lora(path: Path) -> Path:
    module = LoraModule({"lora_down.weight": torch.ones(1, 32), "lora_up.weight": torch.ones(32, 1)}, 1.0)
    name = "lora_unet_down_blocks_0_attentions_0_proj_in"
    write_lora(path, {name: module}, dtype=torch.float32, metadata={})
    return path


def load(path: Path, vae: str = "") -> Any:
    files = find_model_files(str(path), "", vae)
    return load_components(files, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def single(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(workshop.single_file(tmp_path_factory.mktemp("sd1") / "sd1.safetensors", "sd1"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The command in this process: exit status and all that it printed."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["headcanon", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def same_vae(one: Any, other: Any) -> bool:
    there = other.vae.state_dict()
    return all(torch.equal(tensor, there[key]) for key, tensor in one.vae.state_dict().items())


def test_a_vae_whose_attention_has_the_newer_names_is_read(single: Path, tmp_path: Path) -> None:
    names = {".q.": ".to_q.", ".k.": ".to_k.", ".v.": ".to_v.", ".proj_out.": ".to_out.0."}

    def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = {}
        for key, tensor in tensors.items():
            old = next((old for old in names if f"attn_1{old}" in key), "")
            found[key.replace(f"attn_1{old}", f"attn_1{names[old]}") if old else key] = tensor
        assert len(found.keys() - tensors.keys()) == 16
        return found

    assert same_vae(load(rewrite(single, tmp_path / "new.safetensors", renamed)), load(single))


def test_a_checkpoint_without_a_vae_is_merged_into_and_inspected_but_not_drawn_with(
    single: Path, tmp_path: Path, command: Any
) -> None:
    bare = rewrite(single, tmp_path / "bare.safetensors", without(VAE))
    status, said = command("inspect", bare)
    assert (status, "architecture  sd1\n" in said) == (0, True)
    assert "not usable    bare.safetensors: it has no VAE, which training and drawing need; name one:" in said
    status, said = command("merge", bare, a_lora(tmp_path / "lora.safetensors"), tmp_path / "merged.safetensors")
    assert status == 0, said
    merged = load_file(tmp_path / "merged.safetensors")
    assert merged.keys() == load_file(bare).keys()
    tuned, out = tmp_path / "merged.safetensors", tmp_path / "difference.safetensors"
    status, said = command("lora", "extract", bare, tuned, out, "--rank", 1)
    assert status == 0, said
    status, said = command("sample", bare, "--prompt", "x", "--out", tmp_path / "drawn")
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("headcanon: bare.safetensors: it has no VAE")
    assert not (tmp_path / "drawn").exists()


def test_a_vae_of_its_own_is_used_in_each_layout(single: Path, workshop: Any, tmp_path: Path) -> None:
    bare = rewrite(single, tmp_path / "bare.safetensors", without(VAE))
    whole = load(single)
    tensors = {key: tensor for key, tensor in load_file(single).items() if key.startswith(VAE)}
    save_file(tensors, tmp_path / "prefixed.safetensors")
    save_file({key.removeprefix(VAE): tensor for key, tensor in tensors.items()}, tmp_path / "plain.safetensors")
    folder = workshop.folder(tmp_path / "folder", "sd1") / "vae"
    for vae in (tmp_path / "prefixed.safetensors", tmp_path / "plain.safetensors", folder):
        found = load(bare, str(vae))
        assert same_vae(found, whole), vae
        assert found.vae.config.scaling_factor == pytest.approx(0.18215)
    other = {key: tensor + 1 for key, tensor in tensors.items()}
    save_file(other, tmp_path / "other.safetensors")
    assert not same_vae(load(single, str(tmp_path / "other.safetensors")), whole)  # it goes before the model's own


def test_what_is_no_vae_is_refused_by_name(single: Path, tmp_path: Path) -> None:
    lora = a_lora(tmp_path / "lora.safetensors")
    for vae, said in ((lora, r"lora\.safetensors: no VAE"), (tmp_path / "none.safetensors", "there is no such VAE")):
        with pytest.raises(CheckpointError, match=said):
            read_source(find_model_files(str(single), "", str(vae)))
    sixteen = {key: tensor for key, tensor in load_file(single).items() if key.startswith(VAE)}
    sixteen[f"{VAE}post_quant_conv.weight"] = torch.zeros(16, 16, 1, 1)
    save_file(sixteen, tmp_path / "flux.safetensors")
    with pytest.raises(CheckpointError, match="16 latent channels, so it is for another kind of model"):
        read_source(find_model_files(str(single), "", str(tmp_path / "flux.safetensors")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tensors: {key.replace(UNET, "model_ema.diffusion_model"): each for key, each in tensors.items()},
            "EMA weights only",
        ),
        (lambda tensors: {f"state_dict.{key}": tensor for key, tensor in tensors.items()}, "begin with 'state_dict.'"),
        (lambda tensors: {f"module.{key}": tensor for key, tensor in tensors.items()}, "begin with 'module.'"),
    ],
)  # fmt: skip
def test_a_checkpoint_under_other_names_is_named_for_what_it_is(
    single: Path, tmp_path: Path, command: Any, change: Rename, said: str
) -> None:
    path = rewrite(single, tmp_path / "odd.safetensors", change)
    lora, out = a_lora(tmp_path / "lora.safetensors"), tmp_path / "out.safetensors"
    assert said in command("inspect", path)[1]
    for words in (("merge", path, lora, out), ("sample", path, "--prompt", "x", "--out", tmp_path / "drawn")):
        status, told = command(*words)
        assert (status, told.count("\n"), said in told) == (2, 1, True), told
    assert not out.exists()


def test_sd2_with_transformers_names_is_sd2(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "sd2.safetensors", "sd2")
    models = workshop.models("sd2")

    def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        kept = {key: tensor for key, tensor in tensors.items() if not key.startswith("cond_stage_model.")}
        text = models["text_encoder"].state_dict()
        names = {key: f"text_model.{key.removeprefix('text_model.')}" for key in text}
        return kept | {f"cond_stage_model.transformer.{names[key]}": tensor for key, tensor in text.items()}

    other = rewrite(path, tmp_path / "other.safetensors", renamed)
    assert inspect_file(other).architecture == "sd2"
    one, two = workshop.load(path), workshop.load(other)
    assert two.architecture == "sd2"
    for drawn, again in zip(workshop.draw(one), workshop.draw(two), strict=True):
        assert torch.equal(drawn, again)


def test_a_file_that_is_too_long_or_too_short_is_told_so(single: Path, tmp_path: Path) -> None:
    data = single.read_bytes()
    for end, said in ((data + b"\0" * 7, "the file is 7 longer"), (data[:-7], "it is cut off")):
        (tmp_path / "m.safetensors").write_bytes(end)
        with pytest.raises(CheckpointError, match=said):
            inspect_file(tmp_path / "m.safetensors")


def test_quantized_and_inpainting_models_are_inspected_with_a_word(single: Path, tmp_path: Path, command: Any) -> None:
    def quantized(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: tensor.to(torch.float8_e4m3fn) if tensor.ndim > 1 else tensor for key, tensor in tensors.items()}

    def inpainting(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        key = "model.diffusion_model.input_blocks.0.0.weight"
        return {**tensors, key: torch.zeros(32, 9, 3, 3)}

    said = command("inspect", rewrite(single, tmp_path / "fp8.safetensors", quantized))[1]
    assert "not usable    fp8.safetensors: " in said
    assert "quantized weights cannot be trained on or merged into" in said
    said = command("inspect", rewrite(single, tmp_path / "inpaint.safetensors", inpainting))[1]
    assert "not usable    inpaint.safetensors: its U-Net takes 9 channels, so it is an inpainting model" in said


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("variant", ["bf16", "non_ema"])
def test_a_folder_that_holds_one_variant_only_is_used(workshop: Any, tmp_path: Path, variant: str) -> None:
    folder = workshop.folder(tmp_path / variant, "sd1", variant=variant)
    assert not list(folder.rglob("*model.safetensors"))
    assert same_vae(load(folder), load(workshop.folder(tmp_path / "plain", "sd1")))


@pytest.fixture
def sharded(workshop: Any, tmp_path: Path) -> Path:
    """A folder as diffusers saves it, with a U-Net in shards and parts that no LoRA has to do with."""
    folder = Path(workshop.folder(tmp_path / "folder", "sd1"))
    shutil.rmtree(folder / "unet")
    workshop.models("sd1")["unet"].save_pretrained(folder / "unet", max_shard_size="1MB")
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor/preprocessor_config.json").write_text('{"image_processor_type": "CLIPImageProcessor"}')
    (folder / "scheduler/scheduler_config.json").write_text('{"_class_name": "DDIMScheduler"}')
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_merged_folder_opens_in_diffusers(sharded: Path, tmp_path: Path, command: Any) -> None:
    from diffusers import StableDiffusionPipeline

    assert len(list((sharded / "unet").glob("*-of-*.safetensors"))) > 1
    status, said = command("merge", sharded, a_lora(tmp_path / "lora.safetensors"), tmp_path / "merged")
    assert status == 0, said
    opened = StableDiffusionPipeline.from_pretrained(tmp_path / "merged", local_files_only=True)
    assert opened.safety_checker is None
    assert opened.feature_extractor is not None
    key = "down_blocks.0.attentions.0.proj_in.weight"
    before, after = load(sharded).unet.state_dict()[key], opened.unet.state_dict()[key]
    assert torch.allclose(after, before + 1)


@pytest.mark.parametrize("shards", ["whole", "shards"])
def test_a_merged_variant_opens_in_diffusers_with_the_variant_and_without(
    workshop: Any, sharded: Path, tmp_path: Path, command: Any, shards: str
) -> None:
    from diffusers import StableDiffusionPipeline

    folder = Path(workshop.folder(tmp_path / "fp16", "sd1", variant="fp16"))
    shutil.copy(sharded / "model_index.json", folder)
    shutil.copy(sharded / "scheduler/scheduler_config.json", folder / "scheduler")
    if shards == "shards":
        shutil.rmtree(folder / "unet")
        workshop.models("sd1")["unet"].save_pretrained(folder / "unet", max_shard_size="1MB", variant="fp16")
    (folder / "feature_extractor").mkdir()
    shutil.copy(sharded / "feature_extractor/preprocessor_config.json", folder / "feature_extractor")
    status, said = command("merge", folder, a_lora(tmp_path / "lora.safetensors"), tmp_path / "merged")
    assert status == 0, said
    key = "down_blocks.0.attentions.0.proj_in.weight"
    wanted = load(folder).unet.state_dict()[key] + 1
    for variant in (None, "fp16"):
        opened = StableDiffusionPipeline.from_pretrained(tmp_path / "merged", variant=variant, local_files_only=True)
        assert torch.allclose(opened.unet.state_dict()[key], wanted)
    assert torch.allclose(load(tmp_path / "merged").unet.state_dict()[key], wanted)


def test_a_missing_shard_is_named_by_every_command(sharded: Path, tmp_path: Path, command: Any) -> None:
    gone = sorted((sharded / "unet").glob("*-of-*.safetensors"))[1]
    gone.unlink()
    lora, out = a_lora(tmp_path / "lora.safetensors"), tmp_path / "out"
    for words in (
        ("inspect", sharded),
        ("merge", sharded, lora, out),
        ("sample", sharded, "--prompt", "x", "--out", tmp_path / "drawn"),
    ):
        status, said = command(*words)
        assert (status, said.count("\n"), f"unet/{gone.name} is missing: the weights are in" in said) == (2, 1, True), (
            said
        )
    assert not out.exists()


def test_only_what_diffusers_needs_comes_along(sharded: Path) -> None:
    (sharded / "safety_checker").mkdir()
    (sharded / "safety_checker" / "model.safetensors").write_bytes(b"large")
    (sharded / "vae/diffusion_pytorch_model.safetensors.index.fp16.json").write_text("{}")
    found = companions(str(sharded), find_model_files(str(sharded), ""))
    assert sorted(found) == [
        "feature_extractor/preprocessor_config.json",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ]


def test_thousands_of_files_of_names_at_random_are_known_or_refused_in_one_line(single: Path, tmp_path: Path) -> None:
    """Names, prefixes and shapes of checkpoints, mixed: nothing but a layout or one line comes of it."""
    from lora_core.hub.formats import Header, TensorInfo

    real = sorted(load_file(single))
    dice = random.Random(6)
    starts = ("", "state_dict.", "model_ema.", "model.", "first_stage_model.", "conditioner.embedders.0.")
    read = 0
    for _ in range(4000):
        start, kept = dice.choice((*starts, "")), dice.random() ** 0.1
        names = [start + name for name in real if dice.random() < kept]
        infos = {name: TensorInfo("F32", (4,) * dice.randrange(5), 0, 0) for name in names}
        header = Header(infos, {}, 0)
        try:
            find_weights({"m.safetensors": header}, {"m.safetensors": tmp_path})
            read += 1
        except UserError as error:
            said = str(error)
            assert said.startswith("m.safetensors: ")
            assert "\n" not in said
    assert read > 20
