"""A tiny Stable Diffusion with random weights, in a store, and sets of small drawn pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image, ImageDraw
from transformers import CLIPTextConfig, CLIPTextModel

from lora_core.dataset import Entry, Manifest
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training.samples import TrainingSet

_START, _END = "<|startoftext|>", "<|endoftext|>"


def _byte_letters() -> list[str]:
    """The letters that stand for the 256 bytes in CLIP's (GPT-2's) vocabulary."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + index) for index in range(len(hidden))]


def _write_tokenizer(folder: Path) -> int:
    letters = _byte_letters()
    vocabulary = {
        word: index for index, word in enumerate([*letters, *(f"{each}</w>" for each in letters), _START, _END])
    }
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special})
    )
    return len(vocabulary)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: U-Net (32, 64), text encoder of two layers of width 32, VAE with factor 8."""
    folder = tmp_path_factory.mktemp("tiny_base")
    torch.manual_seed(0)
    words = _write_tokenizer(folder / "tokenizer")
    UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    ).save_pretrained(folder / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=words - 2,
            eos_token_id=words - 1,
            pad_token_id=words - 1,
        )
    ).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="session")
def new_base(tiny_base: Path) -> Callable[[Store], CheckpointRef]:
    """The tiny base in a store that is not the test's own."""
    return lambda store: put_base(store, tiny_base)


def put_base(store: Store, folder: Path) -> CheckpointRef:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return CheckpointRef(sha256=store.put_tree(files))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def base(store: Store, tiny_base: Path) -> CheckpointRef:
    return put_base(store, tiny_base)


def drawn_entry(store: Store, name: str, size: tuple[int, int], caption: tuple[str, ...] | None) -> Entry:
    """A disc whose colour follows from the name."""
    picture = Image.new("RGB", size, "white")
    colour = tuple(50 + sum(name.encode()) * factor % 200 for factor in (3, 5, 7))
    ImageDraw.Draw(picture).ellipse((4, 4, size[0] - 4, size[1] - 8), fill=colour)
    path = store.root / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return Entry(
        name=name, source=f"{name}.png", image=store.put_file(path), width=size[0], height=size[1], caption=caption
    )


def draw_sets(store: Store) -> tuple[TrainingSet, ...]:
    """Three captioned pictures at 32 px × 2, two of them at 24 px × 1, two regularization pictures."""
    trained = tuple(
        drawn_entry(store, f"hero_{i}", (40, 40), ("hc_hero", "1girl", "cat_ears", f"tag_{i}")) for i in range(3)
    )
    small = tuple(drawn_entry(store, f"small_{i}", (24, 24), ("hc_hero", "1girl")) for i in range(2))
    style = tuple(drawn_entry(store, f"style_{i}", (40, 40), None) for i in range(2))
    return (
        TrainingSet(Manifest(entries=trained), 2, False, "", 32),
        TrainingSet(Manifest(entries=small), 1, False, "", 24),
        TrainingSet(Manifest(entries=style), 1, True, "hcstyle 1girl", 32),
    )


@pytest.fixture
def drawn_sets(store: Store) -> tuple[TrainingSet, ...]:
    return draw_sets(store)


@pytest.fixture(scope="module")
def new_sets() -> Callable[[Store], tuple[TrainingSet, ...]]:
    """The same in a store that is not the test's own."""
    return draw_sets


@pytest.fixture(scope="session")
def usual() -> Training:
    """How the tiny base is trained where nobody wants it otherwise."""
    return Training(resolution=64, epochs=3, rank=4, alpha=2, batch=2, unet_lr=1e-3, text_encoder_lr=1e-4, seed=7)


@pytest.fixture
def options(usual: Training) -> Training:
    return usual


@pytest.fixture
def small_picture(tmp_path: Path) -> Path:
    """One picture of 64 × 64 pixels."""
    Image.new("RGB", (64, 64), "teal").save(path := tmp_path / "a.png")
    return path
