"""The recipe: every section under its name."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lora_core.recipe.captions import Captions
from lora_core.recipe.method import PRESETS, Difference, Method, with_preset
from lora_core.recipe.models import Base, Tagger
from lora_core.recipe.options import TRIGGER, Options
from lora_core.recipe.pictures import Downscale, Preprocess, Set, ShotPlan, Style
from lora_core.recipe.results import Gates, Judging, Publish, Sampling
from lora_core.recipe.speed import Speed
from lora_core.recipe.training import CharacterTraining, Merge, Regularization, StyleTraining

_NAME = r"^[^\\/:*?\"<>|\x00-\x1f.][^\\/:*?\"<>|\x00-\x1f]*$"
_NAME_BYTES = 160


class Runtime(Options):
    """Where work happens. Nothing here changes what comes out, so nothing here is part of a cache key."""

    out: str = Field(
        default="out", title="Output folder", description="The LoRA, its epochs, samples and report go to OUT/NAME."
    )
    store: str = Field(
        default=".headcanon", title="Store", description="Folder of everything that was computed, shared by all runs."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", title="Device", description="'auto' takes a GPU when there is one."
    )
    processes: int = Field(
        default=1,
        ge=1,
        le=16,
        title="Training processes",
        description="How many share the pictures of every step of a training: one a GPU, each on its own. The batch "
        "stays what it is, and so does the result but for last bits. More than 1 on a CPU: each takes some of its "
        "cores, which helps models so small that two cores are hardly faster than one.",
    )
    speed: Speed = Speed()


_NO_DIFFERENCE = (
    "what a DoRA changes depends on the base, so no difference of two can be taken; set another kind, or take another "
    "method"
)


class Recipe(Options):
    """The whole method for one character."""

    name: str = Field(
        min_length=1,
        max_length=80,
        pattern=_NAME,
        title="Name",
        description="Of the LoRA file. It must not contain / or \\.",
    )
    trigger: str = Field(
        default="",
        pattern=r"^$|" + TRIGGER,
        title="Trigger",
        description="The word that calls the character; best one that no model knows. Empty: made from the name.",
    )
    method: Method = Field(
        default="note",
        title="Method",
        description="A preset of the sections below; a key that is set there wins. "
        + "; ".join(f"'{name}': {preset.what}" for name, preset in PRESETS.items())
        + ".",
    )
    base: Base
    tagger: Tagger = Tagger()
    style: Style = Style()
    character: Set
    preprocess: Preprocess = Preprocess()
    plan: ShotPlan = ShotPlan()
    captions: Captions = Captions()
    downscale: Downscale = Downscale()
    style_training: StyleTraining = StyleTraining()
    merge: Merge = Merge()
    difference: Difference = Difference()
    regularization: Regularization = Regularization()
    character_training: CharacterTraining = CharacterTraining()
    sampling: Sampling = Sampling()
    gates: Gates = Gates()
    judging: Judging = Judging()
    publish: Publish = Publish()
    runtime: Runtime = Runtime()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        return with_preset(data)

    @field_validator("name")
    @classmethod
    def _fits_a_file(cls, value: str) -> str:
        """Files are called after it, with a version, an epoch and an ending behind; file systems take 255 bytes."""
        if (taken := len(value.encode())) > _NAME_BYTES:
            raise ValueError(f"takes {taken} bytes, more than {_NAME_BYTES}; choose a shorter one")
        return value

    @field_validator("base", "character", "tagger", mode="before")
    @classmethod
    def _short_forms(cls, value: Any, info: Any) -> Any:
        """`base = "model.safetensors"` is short for `[base] model = …`, likewise a folder for a set."""
        if isinstance(value, str):
            return {"images" if info.field_name == "character" else "model": value}
        return value

    @field_validator("style", mode="before")
    @classmethod
    def _short_style(cls, value: Any) -> Any:
        return {"images": value} if isinstance(value, str) else value

    @field_validator("difference")
    @classmethod
    def _one_way(cls, value: Difference, info: ValidationInfo) -> Difference:
        if value.use and "merge" in info.data and info.data["merge"].use:
            raise ValueError(
                "a difference is taken between two LoRAs of the plain base; set [merge] use = false, or use "
                "method = 'difference', which does"
            )
        return value

    @field_validator("difference")
    @classmethod
    def _what_can_be_taken_away(cls, value: Difference, info: ValidationInfo) -> Difference:
        if value.use and "style_training" in info.data and info.data["style_training"].network.kind == "dora":
            raise ValueError(f"style_training.network.kind = 'dora': {_NO_DIFFERENCE}")
        return value

    @field_validator("character_training")
    @classmethod
    def _what_can_be_subtracted(cls, value: CharacterTraining, info: ValidationInfo) -> CharacterTraining:
        if "difference" in info.data and info.data["difference"].use and value.network.kind == "dora":
            raise ValueError(f"network.kind = 'dora': {_NO_DIFFERENCE}")
        return value

    @model_validator(mode="after")
    def _look_to_learn(self) -> Self:
        if self.needs_style and not self.style.images:
            raise ValueError(
                f"'style' is missing: method {self.method!r} learns the look from screenshots of another character, "
                "very different from yours; name their folder, or take method = 'captions-only', which needs none "
                "(neither merge, difference nor regularization)"
            )
        return self

    @model_validator(mode="after")
    def _trigger_from_name(self) -> Self:
        if self.trigger:
            return self
        made = "hc" + "".join(letter for letter in self.name.lower() if letter.isalnum())
        return self.model_copy(update={"trigger": made})

    @property
    def trains_style(self) -> bool:
        """Whether there is a style LoRA: to be merged into the base, or to be subtracted."""
        return self.merge.use or self.difference.use

    @property
    def needs_style(self) -> bool:
        """Whether the style screenshots are trained on, by themselves or beside the character's."""
        return self.trains_style or self.regularization.use

    @property
    def captions_style(self) -> bool:
        """Whether the style screenshots are trained on with words of their own."""
        return self.needs_style and self.style.captions == "tags"
