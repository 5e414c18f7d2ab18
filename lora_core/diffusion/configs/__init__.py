"""From a single file's header to the configs that diffusers and transformers build models from.

The architecture gives what tensors do not show (activation, head count, scaling factor); shapes give the rest, so that
a small model of the same architecture loads as well. A file that departs from the conventions can carry its own configs
in the header key `headcanon.configs`: JSON, part → options that replace what was found.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from lora_core.bounded import json_of
from lora_core.errors import CheckpointError
from lora_core.hub.detect import UNET_PREFIX, VAE_PREFIX
from lora_core.hub.formats import Header
from lora_core.hub.layout import OriginalLayout, TextEncoderAt

_CLIP_VOCABULARY = 49408
_CLIP_HEAD_WIDTH = 64
_SD2_LAYERS = 24
_OWN_CONFIGS = "headcanon.configs"


class _Shapes:
    """Shapes by name, with a clear error for what is missing."""

    def __init__(self, header: Header, prefix: str, name: str) -> None:
        self._shapes = {
            key.removeprefix(prefix): info.shape for key, info in header.tensors.items() if key.startswith(prefix)
        }
        self._prefix, self._name = prefix, name

    def __getitem__(self, key: str) -> tuple[int, ...]:
        if key not in self._shapes:
            raise CheckpointError(f"{self._name}: {self._prefix}{key} is missing; the file is not a whole checkpoint")
        return self._shapes[key]

    def __contains__(self, key: str) -> bool:
        return key in self._shapes

    def count(self, pattern: str) -> int:
        """How many numbers the pattern's group takes."""
        return len({found[1] for key in self._shapes if (found := re.match(pattern, key))})


def original_configs(header: Header, layout: OriginalLayout, name: str) -> dict[str, dict[str, Any]]:
    """Configs by part.

    Args:
        header: of a single file in the original layout.
        layout: its build, from `read_layout`.
        name: what the user calls the file.

    Raises:
        CheckpointError: a tensor that shows a size is missing, or the file's own configs are not readable.
    """
    known: dict[str, dict[str, Any]] = json.loads(
        Path(__file__).with_name(f"{layout.architecture}.json").read_text("utf-8")
    )
    unet = _Shapes(header, UNET_PREFIX, name)
    found = {"unet": _unet(unet, layout)}
    if layout.vae_levels:
        found["vae"] = _vae(_Shapes(header, VAE_PREFIX, name), layout.vae_levels)
    for part, at in zip(("text_encoder", "text_encoder_2"), layout.text_encoders, strict=False):
        found[part] = _text(_Shapes(header, at.prefix, name), at, name)
        if layout.architecture == "sd2" and found[part]["num_hidden_layers"] == _SD2_LAYERS:
            found[part]["num_hidden_layers"] -= 1  # SD2 reads the last layer but one: transformers drops the last
    own = own_configs(header, name)
    return {part: {**known[part], **found[part], **own.get(part, {})} for part in found}


def _unet(shapes: _Shapes, layout: OriginalLayout) -> dict[str, Any]:
    levels = range(len(layout.up_attention))
    first = [level * (layout.layers + 1) + 1 for level in levels]
    channels = [shapes[f"input_blocks.{block}.0.out_layers.3.weight"][0] for block in first]
    depths = [shapes.count(rf"input_blocks\.{block}\.1\.transformer_blocks\.(\d+)\.") for block in first]
    cross = next(block for block, depth in zip(first, depths, strict=True) if depth) if any(depths) else None
    attention = f"input_blocks.{cross}.1" if cross else "middle_block.1"
    config: dict[str, Any] = {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": layout.layers,
        "cross_attention_dim": shapes[f"{attention}.transformer_blocks.0.attn2.to_k.weight"][1],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "use_linear_projection": len(shapes[f"{attention}.proj_in.weight"]) == 2,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if there else "UpBlock2D" for there in layout.up_attention],
    }
    if layout.architecture != "sd1":
        config["attention_head_dim"] = [max(1, width // _CLIP_HEAD_WIDTH) for width in channels]
    if "label_emb.0.0.weight" in shapes:
        config["projection_class_embeddings_input_dim"] = shapes["label_emb.0.0.weight"][1]
        if layout.architecture != "sdxl":
            config["class_embed_type"] = "projection"
    return config


def vae_config(
    architecture: str, levels: int, shape_of: Callable[[str], tuple[int, ...]], keys: Collection[str]
) -> dict[str, Any]:
    """The config of a VAE alone.

    Args:
        architecture: whose scaling factor it has.
        levels: of resolution.
        shape_of: the shape of a tensor by diffusers' name.
        keys: the file's own names.
    """
    known: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name(f"{architecture}.json").read_text("utf-8"))
    blocks = {
        found[1]
        for key in keys
        if (found := re.match(r"encoder\.down(?:_blocks)?\.0\.(?:block|resnets)\.(\d+)\.", key))
    }
    widths = [shape_of(f"encoder.down_blocks.{level}.resnets.0.conv2.weight")[0] for level in range(levels)]
    return known["vae"] | {
        "block_out_channels": widths,
        "layers_per_block": len(blocks),
        "latent_channels": shape_of("post_quant_conv.weight")[0],
        "in_channels": shape_of("encoder.conv_in.weight")[1],
        "out_channels": shape_of("decoder.conv_out.weight")[0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _vae(shapes: _Shapes, levels: int) -> dict[str, Any]:
    return {
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv2.weight"][0] for level in range(levels)],
        "layers_per_block": shapes.count(r"encoder\.down\.0\.block\.(\d+)\."),
        "latent_channels": shapes["post_quant_conv.weight"][0],
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _text(shapes: _Shapes, at: TextEncoderAt, name: str) -> dict[str, Any]:
    if at.style == "open_clip":
        tokens, positions = shapes["token_embedding.weight"], shapes["positional_embedding"]
        layers = shapes.count(r"transformer\.resblocks\.(\d+)\.")
        inner = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
    else:
        tokens, positions = shapes["embeddings.token_embedding.weight"], shapes["embeddings.position_embedding.weight"]
        layers = shapes.count(r"encoder\.layers\.(\d+)\.")
        inner = shapes["encoder.layers.0.mlp.fc1.weight"][0]
    if tokens[0] < _CLIP_VOCABULARY:
        raise CheckpointError(
            f"{name}: its text encoder knows {tokens[0]} tokens, CLIP's vocabulary has {_CLIP_VOCABULARY}; "
            "a model with its own vocabulary has to come as a diffusers folder"
        )
    config: dict[str, Any] = {
        "vocab_size": tokens[0],
        "hidden_size": tokens[1],
        "max_position_embeddings": positions[0],
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, tokens[1] // _CLIP_HEAD_WIDTH),
    }
    if not at.prefix.startswith("cond_stage_model.") and "text_projection" in shapes:
        config["projection_dim"] = shapes["text_projection"][1]
    return config


def own_configs(header: Header, name: str) -> Mapping[str, Mapping[str, Any]]:
    """The configs that a file carries in its header, by part; `scheduler` tells of the diffusion process.

    Raises:
        CheckpointError: they are not readable.
    """
    text = header.metadata.get(_OWN_CONFIGS, "{}")
    try:
        value = json_of(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(options, dict) for options in value.values()):
        raise CheckpointError(f"{name}: its header key {_OWN_CONFIGS!r} is not JSON of the form part → options")
    return value
