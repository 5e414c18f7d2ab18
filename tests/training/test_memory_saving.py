"""SDXL on small cards: what leaves the card, the frozen U-Net in 8 bits, and the estimate that chooses."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from short_training import trained
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.diffusion import configs
from lora_core.diffusion.components import Components
from lora_core.errors import TrainingError
from lora_core.hub import find_model_files
from lora_core.lora import int8
from lora_core.lora.attach import attach
from lora_core.lora.file import read_lora
from lora_core.lora.int8 import Int8Linear, hold_in_eight_bits
from lora_core.recipe import Network, Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import memory
from lora_core.training.samples import TrainingSet

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
GB = 10**9


@pytest.fixture
def file(workshop: Any, tmp_path: Path) -> Path:
    found: Path = workshop.single_file(tmp_path / "model.safetensors", "sdxl")
    return found


def train_as(
    saving: str, file: Path, store: Store, sets: tuple[TrainingSet, ...], **more: object
) -> tuple[list[float], Path]:
    """The moving average of the loss after every step, and the LoRA."""
    losses: list[float] = []

    def listen(done: int, total: int, note: str = "") -> None:
        if note.startswith("loss"):
            losses.append(float(note.split()[1]))

    options = Training.model_validate(
        {
            "resolution": 64, "epochs": 3, "rank": 4, "alpha": 2, "batch": 2, "unet_lr": 1e-3, "text_encoder_lr": 0,
            "save_precision": "fp32", "caption_dropout": 0.3, "validation_share": 0.3, "memory_saving": saving, **more,
        }
    )  # fmt: skip
    base = CheckpointRef(sha256=store.put_tree(find_model_files(str(file), "")))
    ref = trained(store, base, sets, options, f"{saving} {more}", listen)
    return losses, store.tree(ref.sha256)["hero.safetensors"]


def test_what_leaves_the_card_after_encoding_changes_nothing(
    file: Path, store: Store, drawn_sets: tuple[TrainingSet, ...]
) -> None:
    losses, plain = train_as("off", file, store, drawn_sets, prior_preservation="teacher")
    same, lean = train_as("offload", file, store, drawn_sets, prior_preservation="teacher")
    assert len(losses) >= 8
    assert same == losses
    assert lean.read_bytes() == plain.read_bytes()


@needs_bitsandbytes
@pytest.mark.parametrize("more", [{}, {"text_encoder_lr": 1e-4, "gradient_checkpointing": True}])
def test_a_base_in_8_bits_trains_to_nearly_the_same_loss_and_a_lora_for_the_original_base(
    workshop: Any, file: Path, store: Store, drawn_sets: tuple[TrainingSet, ...], more: dict[str, Any]
) -> None:
    losses, plain = train_as("off", file, store, drawn_sets, **more)
    near, small = train_as("int8", file, store, drawn_sets, **more)
    assert len(near) == len(losses)
    assert near == pytest.approx(losses, rel=0.02)
    assert read_lora(small).modules.keys() == read_lora(plain).modules.keys()

    base = workshop.load(file)
    alone = workshop.draw(base)[0]
    changes = []
    for lora in (plain, small):
        attach(base, lora, 1.0)
        changes.append((workshop.draw(base)[0] - alone).flatten())
    assert changes[0].norm() > 1e-3 * alone.norm()
    assert torch.cosine_similarity(*changes, dim=0) > 0.95


@needs_bitsandbytes
def test_the_u_nets_linear_layers_are_held_as_bytes_and_nothing_else(workshop: Any, file: Path) -> None:
    base = workshop.load(file)
    before = {name: tensor.clone() for name, tensor in base.unet.state_dict().items()}
    for layer in memory.linear_layers(base):
        hold_in_eight_bits(layer)
    packed = {f"{name}.weight": layer for name, layer in base.unet.named_modules() if isinstance(layer, Int8Linear)}
    attention = {name for name in before if ".transformer_blocks." in name and name.endswith(".weight")}
    assert {
        name for name in attention if before[name].ndim == 2
    } < packed.keys()  # and each transformer's ways in and out
    assert all(".attentions." in name for name in packed)
    for name, layer in packed.items():
        assert layer.packed.dtype == torch.int8
        step = before[name].abs().amax(dim=1, keepdim=True) / 127
        assert ((layer.weight - before[name]).abs() <= 0.55 * step).all()
    assert before.keys() - packed.keys() == dict(base.unet.named_parameters()).keys()


@pytest.fixture(scope="module")
def sdxl() -> Components:
    """SDXL at its full size, without a number in it, in bf16."""
    config = json.loads((Path(configs.__file__).parent / "sdxl.json").read_text())
    with torch.device("meta"):
        return Components(
            "sdxl", UNet2DConditionModel.from_config(config["unet"]).to(torch.bfloat16),
            AutoencoderKL.from_config(config["vae"]),
            (
                CLIPTextModel(CLIPTextConfig(**config["text_encoder"])).to(torch.bfloat16),
                CLIPTextModelWithProjection(CLIPTextConfig(**config["text_encoder_2"])).to(torch.bfloat16),
            ),
            (), "epsilon",
        )  # fmt: skip


def of_1024(**more: Any) -> Training:
    return Training.model_validate({"resolution": 1024, "rank": 32, "text_encoder_lr": 0, **more})


# SDXL's own sizes: U-Net 2,567,463,684 numbers, of which its 722 linear layers in transformers have 2,207,744,000 in
# 1,436,160 rows; VAE 83,653,863; text encoders 123,060,480 and 694,659,840. A LoRA of rank 32 on the former has
# 85,114,880 numbers, each with gradient and AdamW's two moments in fp32.
UNET, LINEAR, ROWS, VAE, TEXTS = 2_567_463_684, 2_207_744_000, 1_436_160, 83_653_863, 123_060_480 + 694_659_840
LORA = 85_114_880 * 16
MAP = 1024 * 1024 // 64 * 320 * 2  # one of the U-Net's first level, bf16


@pytest.mark.parametrize(
    ("more", "by_hand"),
    [
        ({"memory_saving": "off"}, (UNET + TEXTS) * 2 + VAE * 4 + LORA + 650 * 1.5 * MAP),
        ({"memory_saving": "offload"}, UNET * 2 + LORA + 650 * 1.5 * MAP),
        ({"memory_saving": "offload", "shuffle_caption": True}, (UNET + TEXTS) * 2 + LORA + 650 * 1.5 * MAP),
        ({"memory_saving": "offload", "gradient_checkpointing": True}, UNET * 2 + LORA + 100 * 1.5 * MAP),
        (
            {"memory_saving": "int8", "gradient_checkpointing": True},
            (UNET - LINEAR) * 2 + LINEAR + ROWS * 4 + LORA + 100 * 1.5 * MAP,
        ),
    ],
)
def test_the_estimate_for_sdxl_at_1024_px_is_the_sum_by_hand(
    sdxl: Components, more: dict[str, Any], by_hand: float
) -> None:
    assert memory.memory_of(sdxl, of_1024(**more)) == pytest.approx(by_hand, rel=1e-9)


@needs_bitsandbytes
@pytest.mark.parametrize(
    ("card_gb", "more", "saving", "checkpointing"),
    [
        (24, {}, "off", False),
        (18, {}, "offload", False),
        (12, {}, "offload", True),
        (8, {}, "int8", True),
        (4, {}, "int8", True),  # too little, and nothing more can be saved
        (8, {"network": Network(kind="dora")}, "offload", True),
        (8, {"memory_saving": "off"}, "off", False),
    ],
)
def test_the_least_that_fits_the_card_is_saved(
    sdxl: Components, card_gb: int, more: dict[str, Any], saving: str, checkpointing: bool
) -> None:
    chosen = memory.settled(of_1024(**more), card_gb * GB, lambda: sdxl)
    assert (chosen.memory_saving, chosen.gradient_checkpointing) == (saving, checkpointing)
    fits = memory.memory_of(sdxl, chosen) <= card_gb * GB
    assert fits == (card_gb > 8 or (saving == "int8" and card_gb == 8))


def test_without_a_card_nothing_is_saved_and_no_model_is_asked_for() -> None:
    def refuse() -> Components:
        raise AssertionError

    assert memory.settled(of_1024(), None, refuse).memory_saving == "off"


def test_what_is_saved_is_said() -> None:
    options = of_1024(memory_saving="int8", gradient_checkpointing=True)
    assert memory.saving_text(options, 5_900_000_000, 7_700_000_000) == (
        "about 5.9 GB of the 7.7 that the card has for it: VAE and text encoders off the card after encoding, gradient "
        "checkpointing, the U-Net's linear layers in 8 bits"
    )
    assert memory.saving_text(of_1024(), 5_300_000_000, None) == "about 5.3 GB"


def test_without_bitsandbytes_8_bits_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"pip install 'headcanon\[bnb\]'"):
        memory.check_memory_saving(of_1024(memory_saving="int8"))
    with pytest.raises(ValueError, match="rounds the lengths that a DoRA trains"):
        of_1024(memory_saving="int8", network=Network(kind="dora"))
