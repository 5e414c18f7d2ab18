"""What a training trains, and with which noise: the options that most people leave alone."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lora_core.recipe.options import Options

_Share = Annotated[float, Field(ge=0, lt=1)]

_BLOCK = r"(?:IN|OUT)(?:\d\d)?|MID"
_FACTOR = r"\d+(?:\.\d*)?|\.\d+"


class Network(Options):
    """The LoRA's kind, and what goes beyond one rank for everything."""

    kind: Literal["lora", "dora", "loha", "lokr"] = Field(default="lora", title="Kind")
    """lora: the method's. dora: with a trained length for every input (Liu et al. 2024); loha and lokr: Hadamard and
    Kronecker products (LyCORIS; Hyeon-Woo et al. 2021, Yeh et al. 2023). All four load in A1111, Forge and ComfyUI;
    diffusers, `headcanon merge` and the other LoRA tools read lora only."""
    conv_rank: int = Field(default=0, ge=0, le=512, title="Rank of 3×3 convolutions")
    """Above 0 the residual blocks are trained too, as sd-scripts' conv_dim does (LoCon): their 3×3 convolutions at this
    rank, the rest at the plain one. 0: attention alone, as in the method."""
    conv_alpha: float = Field(default=0.0, ge=0, le=512, title="Alpha of 3×3 convolutions")
    """0: so that alpha / rank is the same everywhere. sd-scripts' conv_alpha is 1 when not given."""
    text_encoder_rank: int = Field(default=0, ge=0, le=512, title="Rank of the text encoders")
    """0: the plain one, as in the method."""
    text_encoder_alpha: float = Field(default=0.0, ge=0, le=512, title="Alpha of the text encoders")
    """0: so that alpha / rank is the same everywhere."""
    block_lr: tuple[str, ...] = Field(default=(), title="Learning rates of blocks")
    """Factors on the learning rates, such as "IN04 = 0.5". Blocks are named as web UIs do: IN00 to IN11, MID, OUT00 to
    OUT11 (SDXL: to 08); IN and OUT mean all of them, a single block goes before them. TE1 and TE2 are the text encoders
    (SD1 and SD2 have TE1 alone). What is at 0 is not trained and not in the file. Empty: 1 everywhere. sd-scripts'
    down, mid and up_lr_weight, text_encoder_lr1 and lr2."""
    block_rank: tuple[str, ...] = Field(default=(), title="Ranks of blocks")
    """Ranks that differ from the plain one, such as "MID = 64"; blocks are named as above, without text encoders. alpha
    / rank is the same everywhere; 3×3 convolutions keep conv_rank. Empty: one rank. sd-scripts' block_dims."""
    factor: int = Field(default=0, ge=0, le=512, title="LoKr factor")
    """Side of LoKr's first matrix. 0: as near to the square root as divides. LyCORIS' factor; its -1."""
    dropout: _Share = Field(default=0.0, title="Dropout")
    """Share of the values between down and up that are left out (Srivastava et al. 2014), drawn for every picture. For
    lora and dora. sd-scripts' network_dropout, 0 there too."""
    rank_dropout: _Share = Field(default=0.0, title="Rank dropout")
    """Share of a LoRA's ranks (loha, lokr: of its rows) left out at a step. sd-scripts' and LyCORIS'."""
    module_dropout: _Share = Field(default=0.0, title="Module dropout")
    """Share of the modules that do nothing at a step. sd-scripts' and LyCORIS'."""
    max_norm: float = Field(default=0.0, ge=0, le=100, title="Largest norm")
    """Of a module's whole change of a weight; a larger one is scaled down to it after each step. 0: no limit.
    sd-scripts' scale_weight_norms; 1 is what its help suggests to start with."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.dropout and self.kind in ("loha", "lokr"):
            raise ValueError(f"dropout is for lora and dora; for {self.kind} use rank_dropout or module_dropout")
        if self.factor and self.kind != "lokr":
            raise ValueError("factor is for kind = 'lokr' only; leave it at 0")
        _ = self.block_factors, self.block_ranks
        return self

    @property
    def block_factors(self) -> Mapping[str, float]:
        """Block, group of blocks or text encoder → factor on its part's learning rate."""
        pattern, wanted = (
            rf"({_BLOCK}|TE[12])\s*=\s*({_FACTOR})",
            'a block and a factor from 0 on, such as "IN04 = 0.5"',
        )
        return {name: float(value) for name, value in _entries(self.block_lr, "block_lr", pattern, wanted)}

    @property
    def block_ranks(self) -> Mapping[str, int]:
        """Block or group of blocks → rank."""
        pattern, wanted = rf"({_BLOCK})\s*=\s*([1-9]\d{{0,2}})", 'a block and a rank from 1 to 999, such as "MID = 64"'
        return {name: int(value) for name, value in _entries(self.block_rank, "block_rank", pattern, wanted)}


def _entries(texts: tuple[str, ...], option: str, pattern: str, wanted: str) -> Iterator[tuple[str, str]]:
    for text in texts:
        found = re.fullmatch(pattern, text.strip())
        if found is None:
            raise ValueError(f"{option} has {text!r}; write {wanted}")
        yield found[1], found[2]


class Noise(Options):
    """Changes of the noise that pictures are mixed with; all off in the method. Drawn for every sample on its own."""

    offset: float = Field(default=0.0, ge=0, le=1, title="Noise offset")
    """Standard deviation of one more number for each channel, so that whole pictures become darker or lighter (N.
    Guttenberg 2023). 0: off. 0.05 to 0.1 is usual."""
    multires_iterations: int = Field(default=0, ge=0, le=16, title="Multi-resolution noise (levels)")
    """Coarser and coarser noise on top (J. Whitaker 2023, 'pyramid noise'). 0: off. 6 to 10 is usual."""
    multires_discount: float = Field(default=0.3, gt=0, lt=1, title="Multi-resolution discount")
    """Strength of each level compared with the finer one. 0.3 is sd-scripts' default."""
    input_perturbation: float = Field(default=0.0, ge=0, le=1, title="Input perturbation")
    """Noise on the noise that is mixed in, not on what is to be predicted (Ning et al. 2023). 0: off. 0.1 is the
    paper's; sd-scripts' ip_noise_gamma."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.offset and self.multires_iterations:
            raise ValueError("offset and multires_iterations do the same in two ways; set one of them to 0")
        return self
