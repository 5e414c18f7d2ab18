"""Tensor names: the original layout of Stable Diffusion's single files ↔ the names diffusers and transformers use.

One mapping serves both ways: for a tensor of a model it says where the original file keeps it (`Place`). Loading reads
through it, merging writes through it. It is computed from the number of levels and layers, so it holds for any size.
The names follow CompVis' ldm, Stability's generative-models and open_clip; diffusers' `convert_ldm_*_checkpoint`
functions are the reference that tests compare with.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lora_core.errors import CheckpointError
from lora_core.hub.detect import UNET_PREFIX, VAE_PREFIX, Architecture, Shapes, detect_architecture

if TYPE_CHECKING:
    import torch

Part = Literal["unet", "vae", "text_encoder", "text_encoder_2"]

_UNET_ENDS = (
    ("conv_in.", "input_blocks.0.0."),
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.attentions.0.", "middle_block.1."),
)
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_VAE_NEW_ATTENTION = {"group_norm": "norm", **{name: name for name in ("to_q", "to_k", "to_v", "to_out.0")}}
"""As diffusers' converters of 2023 left it."""
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_QKV = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Place:
    """Where a model's tensor lies in a file."""

    key: str
    third: int | None = None
    """0, 1 or 2: it is that third of the rows, as in open_clip's fused query, key and value."""
    transposed: bool = False

    def take(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """The model's tensor, a view into the file's; 1×1 convolutions and linear layers still differ in shape."""
        part = tensor if self.third is None else tensor.chunk(3, dim=0)[self.third]
        return part.T if self.transposed else part


@dataclass(frozen=True)
class TextEncoderAt:
    """Which text encoder of a single file is meant: where its names begin, and in which style they go on."""

    prefix: str
    style: Literal["transformers", "open_clip"]


@dataclass(frozen=True)
class OriginalLayout:
    """What a single file in the original layout says about the model's build, by its tensors' names alone."""

    architecture: Architecture
    layers: int
    """Residual blocks a level on the U-Net's way down; on its way up there is one more."""
    up_attention: tuple[bool, ...]
    """For each of the U-Net's levels on the way up, whether it has attention."""
    vae_levels: int
    """0: the file has no VAE."""
    text_encoders: tuple[TextEncoderAt, ...]
    vae_new_attention: bool = False
    """Whether the VAE's attention goes by diffusers' newer names."""

    def place(self, part: Part, key: str) -> Place:
        """Where the file keeps tensor `key` of a model.

        Raises:
            KeyError: the original layout has no place for it.
        """
        if part == "unet":
            return Place(UNET_PREFIX + unet_name(key, self.layers, self.up_attention))
        if part == "vae":
            return Place(VAE_PREFIX + vae_name(key, self.vae_levels, new_attention=self.vae_new_attention))
        return text_place(key, self.text_encoders[0 if part == "text_encoder" else 1])


def unet_name(key: str, layers: int, up_attention: tuple[bool, ...]) -> str:
    """The original name of one of diffusers' U-Net tensors or modules (end a module's path with a dot).

    Raises:
        KeyError: there is none.
    """
    for ours, theirs in _UNET_ENDS:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    if found := re.fullmatch(r"mid_block\.resnets\.(\d+)\.(.*)", key):
        return f"middle_block.{2 * int(found[1])}.{_renamed(found[2], _UNET_RESNET)}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if not found:
        raise KeyError(key)
    level, index, rest = int(found[2]), int(found[4]), found[5]
    way = "input_blocks" if found[1] == "down" else "output_blocks"
    block = level * (layers + 1) + index + (1 if found[1] == "down" else 0)
    if found[3] == "resnets":
        return f"{way}.{block}.0.{_renamed(rest, _UNET_RESNET)}"
    if found[3] == "attentions":
        return f"{way}.{block}.1.{rest}"
    if found[3] == "downsamplers":
        return f"{way}.{(level + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
    return f"{way}.{block + layers}.{2 if up_attention[level] else 1}.{rest}"


def vae_name(key: str, levels: int, *, new_attention: bool = False) -> str:
    """The original name of one of diffusers' AutoencoderKL tensors; in some files its attention has newer names.

    Raises:
        KeyError: there is none.
    """
    if key.startswith(("quant_conv.", "post_quant_conv.")):
        return key
    half, _, rest = key.partition(".")
    if rest.startswith("conv_norm_out."):
        return f"{half}.norm_out.{rest.removeprefix('conv_norm_out.')}"
    if rest.startswith(("conv_in.", "conv_out.")):
        return key
    if found := re.fullmatch(r"mid_block\.resnets\.(\d+)\.(.*)", rest):
        return f"{half}.mid.block_{int(found[1]) + 1}.{found[2].replace('conv_shortcut', 'nin_shortcut')}"
    if found := re.fullmatch(r"mid_block\.attentions\.0\.(.*)", rest):
        return f"{half}.mid.attn_1.{_renamed(found[1], _VAE_NEW_ATTENTION if new_attention else _VAE_ATTENTION)}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.*)", rest)
    if not found:
        raise KeyError(key)
    level = int(found[2]) if found[1] == "down" else levels - 1 - int(found[2])
    if found[3] == "resnets":
        return f"{half}.{found[1]}.{level}.block.{found[4]}.{found[5].replace('conv_shortcut', 'nin_shortcut')}"
    return f"{half}.{found[1]}.{level}.{found[1]}sample.{found[5]}"


def text_place(key: str, at: TextEncoderAt) -> Place:
    """Where a single file keeps a tensor of transformers' CLIP text model.

    Raises:
        KeyError: there is no place for it.
    """
    name = key.removeprefix("text_model.")
    if at.style == "transformers":
        return Place(at.prefix + name)
    if name in _OPEN_CLIP_ENDS:
        return Place(at.prefix + _OPEN_CLIP_ENDS[name])
    if name == "text_projection.weight":
        return Place(at.prefix + "text_projection", transposed=True)
    found = re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name)
    if not found:
        raise KeyError(key)
    block = f"{at.prefix}transformer.resblocks.{found[1]}."
    module = found[2].removeprefix("self_attn.")
    if module in _QKV:
        return Place(f"{block}attn.in_proj_{found[3]}", third=_QKV.index(module))
    return Place(f"{block}{_OPEN_CLIP_LAYER[found[2]]}.{found[3]}")


def _renamed(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        if key.startswith(f"{ours}."):
            return theirs + key.removeprefix(ours)
    raise KeyError(key)


def read_layout(keys: Shapes, name: str) -> OriginalLayout:
    """Read a single file's build from its tensors' names, and from shapes where names leave it open.

    Raises:
        CheckpointError: it is no Stable Diffusion 1, 2 or XL checkpoint; the message says what it looks like.
    """
    architecture = detect_architecture(keys, name)
    downsamplers = [
        key for key in keys if re.fullmatch(r"model\.diffusion_model\.input_blocks\.\d+\.0\.op\.weight", key)
    ]
    blocks = len({key.split(".")[3] for key in keys if key.startswith(f"{UNET_PREFIX}input_blocks.")})
    levels = len(downsamplers) + 1
    layers = blocks // levels - 1
    attention = tuple(
        any(key.startswith(f"{UNET_PREFIX}output_blocks.{level * (layers + 1)}.1.transformer_blocks.") for key in keys)
        for level in range(levels)
    )
    vae_levels = len({key.split(".")[3] for key in keys if key.startswith(f"{VAE_PREFIX}encoder.down.")})
    has_vae = any(key.startswith(VAE_PREFIX) for key in keys)
    if blocks % levels or layers < 1 or (has_vae and vae_levels < 1):
        raise CheckpointError(
            f"{name}: tensors of the U-Net or the VAE are missing; the file is not a whole checkpoint"
        )
    new_attention = any(key.startswith(VAE_PREFIX) and ".mid.attn_1.to_q." in key for key in keys)
    texts = _text_encoders(keys, architecture)
    return OriginalLayout(architecture, layers, attention, vae_levels, texts, new_attention)


def _text_encoders(keys: Collection[str], architecture: Architecture) -> tuple[TextEncoderAt, ...]:
    if architecture == "sd2" and any(key.startswith("cond_stage_model.model.") for key in keys):
        return (TextEncoderAt("cond_stage_model.model.", "open_clip"),)
    first = "conditioner.embedders.0.transformer." if architecture == "sdxl" else "cond_stage_model.transformer."
    wrapped = any(key.startswith(f"{first}text_model.") for key in keys)
    clip = TextEncoderAt(f"{first}text_model." if wrapped else first, "transformers")
    if architecture != "sdxl":
        return (clip,)
    return (clip, TextEncoderAt("conditioner.embedders.1.model.", "open_clip"))
