"""The character drawn anew in the base's own look, and trained on that."""

from string import Formatter
from typing import Self

from pydantic import Field, model_validator

from lora_core.recipe.options import Options

_OTHER = 0.5
_DENOISE = 0.6
_SLOTS = ("trigger", "people", "framing", "traits", "clothes", "pose", "scene")


class Redraw(Options):
    """After stage 3: the LoRA draws the character on the base, and the final LoRA is trained on the best of that."""

    use: bool = Field(default=False, title="Use")
    """Draw the character in many scenes with its traits named, keep the pictures that show all of them and nothing of
    the 3D look, and train the final LoRA on these, straight on the base (docs/method.md). The better of both LoRAs is
    published."""
    candidates: int = Field(default=200, ge=1, le=10_000, title="Pictures drawn")
    """In each round, square at the resolution of stage 3. About one in four is kept; more give a better choice and cost
    as many samples."""
    pictures: int = Field(default=0, ge=0, le=1000, title="Pictures kept")
    """What the final LoRA is trained on, spread over compositions as [plan] says. 0: as many as [plan] has."""
    prompt: str = Field(
        default="{trigger}, {people}, {framing}, {traits}, {clothes}, {pose}, {scene}", min_length=1, title="Prompt"
    )
    """Of every picture. {people} is what the captions say (1girl, solo), {framing} goes by [plan], {traits} is what the
    captions leave out; the others come from the lists below."""
    traits: tuple[str, ...] = Field(default=(), title="Traits named")
    """Tags that make the character recognizable; each must be read in a picture that is kept. Empty: what was taken out
    of the captions of at least 40 % of the screenshots."""
    clothes: tuple[str, ...] = Field(
        default=("school uniform", "hoodie", "white dress", "t-shirt, jeans", "black jacket", "sweater", "kimono"),
        title="Clothes",
    )
    """Each is worn about equally often. Not used where the captions have an outfit of the character's own."""
    poses: tuple[str, ...] = Field(
        default=(
            "smile, closed mouth, looking at viewer",
            "open mouth, smile, looking at viewer",
            "frown, closed mouth",
            "surprised, open mouth",
            "from side, smile, closed mouth",
            "from above, looking at viewer, smile",
            "expressionless, looking at viewer",
            "from side, open mouth",
        ),
        title="Poses",
    )
    """Expressions, poses and views, each about equally often."""
    scenes: tuple[str, ...] = Field(
        default=(
            "outdoors, grass, blue sky",
            "night, starry sky, outdoors",
            "indoors, window",
            "street, city",
            "beach, ocean",
            "forest, tree",
            "classroom",
            "simple background",
            "snow, outdoors",
            "flower field, sunset",
            "library, bookshelf",
        ),
        min_length=1,
        title="Scenes",
    )
    """Places and light, each about equally often. The more they differ, the less of them is learned."""
    from_screenshots: float = Field(
        default=0.0, ge=0, le=1, title="Share begun with screenshots", exclude_if=lambda share: not share
    )
    """Of the pictures drawn and of those kept: each begins with a screenshot, under its own caption, instead of noise
    and a scene (img2img). It can keep what no tag says, such as a scar or a pattern. 0: none."""
    denoise: float = Field(
        default=_DENOISE, gt=0, le=1, title="Denoising strength", exclude_if=lambda strength: strength == _DENOISE
    )
    """Of those pictures. Less keeps more of the screenshot (in our proof 0.4 kept most), from some point on also its
    look, and more pictures are refused."""
    worst_trait: float = Field(default=0.35, ge=0, le=1, title="Least score of the worst trait")
    """A picture in which the tagger gives one of the traits less is not kept, unless it cannot be seen there (eyes from
    behind). 0.35 is what makes a tag with WD14 taggers."""
    max_other_trait: float = Field(
        default=_OTHER, ge=0, le=1, title="Largest score of another's trait", exclude_if=lambda score: score == _OTHER
    )
    """A picture is not kept in which the tagger gives more to what would tell another character, or eyes of two
    colours: a colour of hair, eyes or skin, tied hair, ears, horns, tails, wings. What one in twenty screenshots shows,
    or the prompt asks for, is none of that."""
    max_look: float = Field(default=0.15, ge=0, le=1, title="Largest score of the 3D look")
    """A picture with a higher mean of realistic, 3d, nose and lips is not kept; nor one that a classifier
    ([judging] classifier) takes for 3D."""
    least_share: float = Field(default=0.5, gt=0, le=1, title="Least share of pictures kept")
    """With a smaller share of the wanted pictures the gate stops the run, and says which trait fails."""
    screenshots: float = Field(default=0.0, ge=0, le=0.5, title="Share of screenshots")
    """Of the final training set, for what no tag can say: they are captioned with [style] identifier as the word for
    their look, so that it is not learned as the character. 0: none."""
    epochs: int = Field(default=0, ge=0, le=1000, title="Epochs")
    """Of the final training; all else is as in [character_training]. 0: as many as there."""
    rounds: int = Field(default=1, ge=1, le=4, title="Rounds")
    """How often: a further round draws with the LoRA of the one before."""
    seed: int = Field(default=1000, ge=0, lt=2**32, title="First seed")
    """The first picture's; every further one has the next. Decides also which clothes, pose and scene come together."""

    @property
    def drawing(self) -> Self:
        """What decides which pictures are drawn; bounds, shares and epochs change none."""
        begun = ("from_screenshots", "denoise") if self.from_screenshots else ()
        own = ("candidates", "prompt", "traits", "clothes", "poses", "scenes", "seed", *begun)
        return self.model_copy(
            update={name: field.default for name, field in type(self).model_fields.items() if name not in own}
        )

    @property
    def selecting(self) -> Self:
        """What decides which pictures are chosen."""
        return self.model_copy(update={"screenshots": 0.0, "epochs": 0, "rounds": 1, "denoise": _DENOISE})

    @model_validator(mode="after")
    def _prompt_has_known_slots(self) -> Self:
        try:
            found = [name for _, name, spec, conversion in Formatter().parse(self.prompt) if name is not None]
        except ValueError as error:
            raise ValueError(f"prompt: {error}; write a slot as {{traits}}, a single brace not at all") from error
        unknown = next((name for name in found if name not in _SLOTS), None)
        if unknown is not None:
            raise ValueError(f"prompt: there is no {{{unknown}}}; known: {', '.join(f'{{{each}}}' for each in _SLOTS)}")
        missing = next((name for name in ("trigger", "framing", "traits") if name not in found), None)
        if missing is not None:
            raise ValueError(f"prompt: {{{missing}}} is missing; without it the pictures cannot be what is wanted")
        return self
