"""The recipe: every section under its name, and the methods, which are presets over the sections."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lora_core.methods import FIRST, METHODS, Method
from lora_core.recipe.evaluation import Gates, Judging, Publish, Sampling
from lora_core.recipe.models import Base, Tagger
from lora_core.recipe.names import checked_name, trigger_from
from lora_core.recipe.options import TRIGGER, OnDisk, Options
from lora_core.recipe.pictures import Captions, Character, Downscale, Outfit, Preprocess, ShotPlan, Style
from lora_core.recipe.presets import PRESETS, of_folders, with_preset
from lora_core.recipe.redraw import Redraw
from lora_core.recipe.training import CharacterTraining, Merge, Regularization, StyleTraining


class Difference(Options):
    """Instead of stage 2: the style LoRA out of the character's (docs/adr/0004-difference.md)."""

    use: bool = Field(default=False, title="Use")
    """Train the character on the plain base with stage 1's pictures beside it, by the words that stage 1 was trained
    with and as often as the character's, so that this LoRA learns the look as strongly; then subtract stage 1's LoRA,
    module by module. Not together with [merge] use."""
    weight: float = Field(default=1.0, gt=0, le=4, title="Strength")
    """How much of the style LoRA is taken out. 1.0: all that it learned."""
    rank: int = Field(default=32, ge=0, le=1024, title="Rank")
    """What is left is cut back to this rank by its singular values; alpha / rank stays as trained. 32 is the method's
    for a character LoRA. 0: exact, of the rank of both trainings together."""


class Speed(Options):
    """What may be done on a CUDA GPU to keep it busy; on the CPU only `compile = "on"` has an effect."""

    compile: Literal["auto", "on", "off"] = Field(default="off", title="Compile the U-Net")
    """torch.compile for every size of picture and batch. auto: in a training, for sizes with so much left to do that
    compiling should pay; a line says what was chosen and why. Kernels are kept in the store, so the next training
    begins faster. Off until its gain is measured on a GPU (docs/performance.md)."""
    cuda_graphs: Literal["auto", "off"] = Field(default="off", title="CUDA graphs")
    """Record a step's thousands of kernels once for every size and replay them: at small batches a GPU otherwise waits
    for them to be launched. auto: wherever the recipe allows it; a line says where it does not. Off until its gain is
    measured on a GPU (docs/performance.md)."""
    deterministic: bool = Field(default=False, title="Deterministic")
    """On a GPU, choose the same kernels every time, so that a training that was killed ends in the same bytes: without
    TF32, graphs and compiling, so slower. On the CPU it is always so."""


class Runtime(Options):
    """Where work happens. Nothing here changes what comes out, so nothing here is part of a cache key."""

    out: Annotated[str, OnDisk()] = Field(default="out", title="Output folder")
    """The LoRA, its epochs, samples and report go to OUT/NAME."""
    store: Annotated[str, OnDisk()] = Field(default=".headcanon", title="Store")
    """Folder of everything that was computed, shared by all runs."""
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", title="Device")
    """'auto' takes a GPU when there is one."""
    processes: int = Field(default=1, ge=1, le=16, title="Training processes")
    """How many share the pictures of every step of a training: one a GPU, each on its own. The batch stays what it is,
    and so does the result but for last bits. More than 1 on a CPU: each takes some of its cores, which helps models so
    small that two cores are hardly faster than one."""
    speed: Speed = Speed()


_NO_DIFFERENCE = (
    "what a DoRA changes depends on the base, so no difference of two can be taken; set another kind, or take another "
    "method"
)


class Recipe(Options):
    """The whole method for one character."""

    name: Annotated[str, AfterValidator(checked_name)] = Field(
        min_length=1,
        max_length=80,
        title="Name",
        description="Of the LoRA file. Letters that files, prompts and web UIs take for something else (/ : , < > …) "
        "are refused.",
    )
    trigger: str = Field(default="", pattern=r"^$|" + TRIGGER, title="Trigger")
    """The word that calls the character; best one that no model knows. Empty: made from the name."""
    # A form offers the best first.
    method: Annotated[Method, WithJsonSchema({"type": "string", "enum": list(METHODS)})] = Field(
        default="note",
        title="Method",
        description=f"A preset of the sections below; a key that is set there wins. Begin with '{FIRST.method}' "
        f"({FIRST.why}). " + "; ".join(f"'{name}': {preset.what}" for name, preset in PRESETS.items()) + ".",
    )
    base: Base
    tagger: Tagger = Tagger()
    style: Style = Style()
    character: Character
    preprocess: Preprocess = Preprocess()
    plan: ShotPlan = ShotPlan()
    captions: Captions = Captions()
    downscale: Downscale = Downscale()
    style_training: StyleTraining = StyleTraining()
    merge: Merge = Merge()
    difference: Difference = Difference()
    regularization: Regularization = Regularization()
    character_training: CharacterTraining = CharacterTraining()
    redraw: Redraw = Redraw()
    sampling: Sampling = Sampling()
    gates: Gates = Gates()
    judging: Judging = Judging()
    publish: Publish = Publish()
    runtime: Runtime = Runtime()

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        return with_preset(data)

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
        return of_folders(value)

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
        if "difference" not in info.data or not info.data["difference"].use:
            return value
        if value.network.kind == "dora":
            raise ValueError(f"network.kind = 'dora': {_NO_DIFFERENCE}")
        if value.start == "last":
            raise ValueError("start = 'last': a difference publishes something else than it trains; set 'new'")
        return value

    @model_validator(mode="after")
    def _word_that_is_read(self) -> Self:
        if self.style_training.inversion and (self.merge.use or self.difference.use or not self.style.named):
            raise ValueError(
                "style_training.inversion teaches a word and no LoRA: set [style] named = true and [merge] and "
                "[difference] use = false, or use method = 'textual-inversion', which does"
            )
        if self.style_training.inversion and not self.style_training.text_encoder_lr:
            raise ValueError("style_training.text_encoder_lr = 0: it is the rate of the word's vectors; 5e-3 is usual")
        return self

    @model_validator(mode="after")
    def _look_to_learn(self) -> Self:
        if self.needs_style and not self.style.folders:
            raise ValueError(
                f"'style' is missing: method {self.method!r} learns the look from screenshots of another character, "
                "very different from yours; name their folder, or take method = 'captions-only', which needs none "
                "(neither merge, difference nor regularization)"
            )
        return self

    @model_validator(mode="after")
    def _look_has_a_word(self) -> Self:
        word, captions = self.style.identifier, self.captions
        if not self.style.named or word in captions.add:
            return self
        return self.model_copy(update={"captions": captions.model_copy(update={"add": (*captions.add, word)})})

    @model_validator(mode="after")
    def _trigger_from_name(self) -> Self:
        if self.trigger:
            return self
        return self.model_copy(update={"trigger": trigger_from(self.name)})

    @model_validator(mode="after")
    def _outfits_are_drawn(self) -> Self:
        return self.wearing(self.character.outfits)

    def wearing(self, outfits: tuple[str, ...]) -> Self:
        """With these outfits and prompts that show each; ValueError: they cannot be read, or not be redrawn."""
        recipe = self.model_copy(update={"character": self.character.model_copy(update={"outfits": outfits})})
        if not (words := tuple(dict.fromkeys(outfit.words for outfit in recipe.wardrobe if outfit.words))):
            return recipe if outfits else self
        if self.redraw.use:
            told = f"[redraw] draws a character in one outfit, and this one has {', '.join(words)}"
            raise ValueError(f"{told}; set [redraw] use = false, or take [character] outfits and their folders away")
        return recipe.model_copy(update={"sampling": self.sampling.worn(words)})

    @property
    def wardrobe(self) -> tuple[Outfit, ...]:
        """The character's outfits; one that is called as the character is has no words of its own."""
        known = {self.trigger.lower(), self.name.lower()}
        return tuple(
            outfit.model_copy(update={"words": ""}) if outfit.words in known else outfit
            for outfit in self.character.wardrobe
        )

    @property
    def is_decided(self) -> bool:
        """Whether the method is known; 'auto' is replaced by another one as soon as the base was asked."""
        return self.method != "auto"

    @property
    def trains_style(self) -> bool:
        """Whether there is a stage 1: a LoRA to be merged into the base or to be subtracted, or a word for the look."""
        learned = self.merge.use or self.difference.use or self.style_training.inversion
        return self.is_decided and learned

    @property
    def needs_style(self) -> bool:
        """Whether the style screenshots are trained on, by themselves or beside the character's."""
        return self.trains_style or (self.is_decided and self.regularization.use)

    @property
    def final_training(self) -> CharacterTraining:
        """How the redrawn LoRA is trained."""
        epochs = self.redraw.epochs or self.character_training.epochs
        return self.character_training.model_copy(update={"epochs": epochs})

    @property
    def captions_style(self) -> bool:
        """Whether the style screenshots are trained on with words of their own."""
        return self.needs_style and self.style.captions == "tags"


class PathField(NamedTuple):
    """An option that names files or folders outside of the recipe."""

    section: str
    name: str
    or_repository: bool

    def texts(self, recipe: Recipe) -> tuple[str, ...]:
        """What a recipe has there."""
        value = getattr(getattr(recipe, self.section), self.name)
        return (value,) if isinstance(value, str) else value


def _path_fields() -> Iterator[PathField]:
    for section, field in Recipe.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            yield from (PathField(section, name, mark.or_repository) for name, mark in field.annotation.on_disk())


PATHS = tuple(_path_fields())
"""Every option that is marked as `OnDisk`: anchoring, the sandbox of a worker and the report go through this."""


def with_paths(recipe: Recipe, change: Callable[[PathField, str], str]) -> Recipe:
    """The recipe with every path in it changed."""
    sections: dict[str, Options] = {}
    for field in PATHS:
        options = sections.get(field.section, getattr(recipe, field.section))
        texts = tuple(change(field, text) for text in field.texts(recipe))
        value = texts[0] if isinstance(getattr(options, field.name), str) else texts
        sections[field.section] = options.model_copy(update={field.name: value})
    return recipe.model_copy(update=sections)
