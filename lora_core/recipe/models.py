"""Whose weights are used: the base model and the tagger."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from lora_core.recipe.options import OnDisk, Options

_Predicts = Annotated[
    Literal["auto", "epsilon", "v_prediction"],
    Field(
        title="Prediction",
        description="What the base's U-Net predicts: the noise (epsilon) or v (Salimans and Ho 2022). 'auto': as the "
        "model says, by a folder's scheduler config, a file's v_pred tensor or its modelspec metadata; SD2 files by "
        "its weights; else epsilon. Set it for a model that does not say so: its samples are noise or flat colour.",
    ),
]


_ZeroTerminalSnr = Annotated[
    bool,
    Field(
        title="Zero terminal SNR",
        description="Rescale the noise schedule so that the last timestep is pure noise (Lin et al. 2023). For "
        "v-prediction models trained that way. false: only where the model says so, by a folder's scheduler config "
        "or a file's ztsnr tensor.",
    ),
]


class Process(Options):
    """The diffusion process of a base model, as far as the recipe tells it."""

    prediction: _Predicts = "auto"
    zero_terminal_snr: _ZeroTerminalSnr = False


class Reading(NamedTuple):
    """How a base model is read: clip skip, and what is told of the diffusion process."""

    clip_skip: int
    process: Process


class Base(Options):
    """The base model that the finished LoRA is for: SD1.x, SD2.x or SDXL, from a file, a folder or a hub repository."""

    model: Annotated[str, OnDisk(or_repository=True)] = Field(min_length=1, title="Base model")
    """A .safetensors file in the original layout, a diffusers folder, or a hub repository such as owner/name. Of a
    merge model A+B rather take the parent A: the method says it takes the style better."""
    revision: str = Field(default="", title="Revision")
    """For a hub repository: the commit to use (40 hexadecimal digits), so that the same recipe means the same bytes
    next year. Must be set for a repository, must be empty for a path."""
    vae: Annotated[str, OnDisk()] = Field(default="", title="VAE")
    """A VAE's .safetensors file, used in place of the model's own: many checkpoints come without one, or with a worse
    one. It decodes samples and encodes what is trained; the LoRA does not hold it. Empty: the model's own."""
    clip_skip: int = Field(default=1, ge=1, le=12, title="Clip skip")
    """Which layer of the text encoder is read, counted from the end; 1 is the last. The method does not say; 1 is
    sd-scripts' default. Many anime models were trained with 2. SDXL always reads the last layer but one of both its
    text encoders, as in sd-scripts and web UIs: there 1 and 2 mean the same."""
    prediction: _Predicts = "auto"
    zero_terminal_snr: _ZeroTerminalSnr = False

    @model_validator(mode="after")
    def _epsilon_keeps_some_signal(self) -> Self:
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise ValueError(
                "zero_terminal_snr needs v-prediction: where only noise is left, predicting the noise teaches nothing; "
                "set prediction to 'v_prediction' or 'auto'"
            )
        return self

    @property
    def process(self) -> Process:
        """What is told of the diffusion process."""
        return Process(prediction=self.prediction, zero_terminal_snr=self.zero_terminal_snr)

    @property
    def reading(self) -> Reading:
        """How the model is read."""
        return Reading(self.clip_skip, self.process)


class Tagger(Options):
    """The tagger that writes the captions and reads the samples: any model in WD14's format."""

    model: Annotated[str, OnDisk(or_repository=True)] = Field(
        default="SmilingWolf/wd-v1-4-swinv2-tagger-v2", min_length=1, title="Tagger"
    )
    """A folder with model.onnx and selected_tags.csv, or a hub repository. The method's own is the WD14 swin-v2."""
    revision: str = Field(default="", title="Revision")
    """For a hub repository: the commit to use (40 hexadecimal digits). Must be set for a repository."""
    threshold: float = Field(default=0.5, gt=0, lt=1, title="Threshold")
    """Tags at or above this probability go into the caption. 0.5 is the method's, for the v2 swin; with a v3 swin 0.35
    keeps about the same tags (its precision = recall point is .265, the v2's .377)."""
    character_threshold: float = Field(default=0, ge=0, lt=1, title="Threshold for names")
    """For tags that name a character. 0: the same as the other threshold, as in the method."""
    tag_thresholds: tuple[str, ...] = Field(default=(), title="Thresholds of single tags")
    """Such as "nose = 0.15": goes before the others for this tag."""
    mcut: bool = Field(default=False, title="MCut")
    """Cut each picture's tags at the widest gap between its scores instead of at a threshold (MCut; Largeron, Moulin
    and Géry 2012). Single tags' thresholds still count."""
