"""A base model of Stable Diffusion's architecture with random weights, small enough to draw in milliseconds."""

import json
import string
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from lora_core.diffusion.components import Components, load_components
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store

torch.set_num_threads(1)  # two threads wait for each other longer than such small sums take

_LETTERS = (*string.ascii_lowercase, *string.digits, ",", "_", "{", "}", "(", ")", "\\")
_ATTENTION = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def write_base(folder: Path, seed: int = 0) -> dict[str, Path]:
    """A diffusers folder: U-Net (32, 64), VAE with f = 8, text encoder of width 32 over single letters."""
    torch.manual_seed(seed)
    UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    ).save_pretrained(folder / "vae")
    tokens = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), "<|startoftext|>", "<|endoftext|>"]
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=len(tokens) - 2,
        eos_token_id=len(tokens) - 1,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    return {str(path.relative_to(folder)): path for path in folder.rglob("*.*")}


def write_small_lora(path: Path, seed: int) -> Path:
    """One layer of rank 2, strong enough that a picture changes."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"{_ATTENTION}.alpha": torch.tensor(2.0),
        f"{_ATTENTION}.lora_down.weight": torch.randn(2, 32, generator=generator),
        f"{_ATTENTION}.lora_up.weight": torch.randn(32, 2, generator=generator),
    }
    save_file(tensors, path, {"ss_network_module": "networks.lora"})
    return path


@pytest.fixture
def small_lora(tmp_path: Path) -> Path:
    return write_small_lora(tmp_path / "small.safetensors", seed=1)


@pytest.fixture(scope="session")
def base_files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def components(base_files: Mapping[str, Path]) -> Components:
    return load_components(base_files, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def base(store: Store, base_files: Mapping[str, Path]) -> CheckpointRef:
    return CheckpointRef(sha256=store.put_tree(base_files))


@pytest.fixture
def lora(store: Store, tmp_path: Path) -> LoraRef:
    """Two epochs and the trainer's loss file."""
    (tmp_path / "loss.json").write_text("[]")
    return LoraRef(
        sha256=store.put_tree(
            {
                "Mira.safetensors": write_small_lora(tmp_path / "2.safetensors", seed=2),
                "Mira-000001.safetensors": write_small_lora(tmp_path / "1.safetensors", seed=1),
                "loss.json": tmp_path / "loss.json",
            }
        )
    )
