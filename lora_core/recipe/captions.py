"""What the captions say."""

from pydantic import Field

from lora_core.recipe.options import Options

LEAK_TAGS = ("realistic", "3d", "nose", "lips")
"""What taggers call the look of 3D creators."""


class Captions(Options):
    """The six caption edits (see the rule file for what is the character's)."""

    rules: str = Field(
        default="",
        title="Rule file",
        description="A captions.toml beside the recipe. Empty: the rules below, with every family of the taxonomy that "
        "describes a body removed.",
    )
    memorize: tuple[str, ...] = Field(
        default=(),
        title="Memorize",
        description="Tags the character *is*, such as blonde_hair or cat_ears. The whole family goes (every hair "
        "colour), "
        "so that it binds to the trigger. Empty: all families of the body that the taxonomy knows.",
    )
    prune: bool = Field(
        default=True,
        title="Prune",
        description="Take out what the character is: 'memorize' and 'outfit'. false: these tags stay in the captions "
        "and the trigger learns little, to compare.",
    )
    outfit: tuple[str, ...] = Field(
        default=(), title="Outfit", description="Clothes that belong to the character, removed like its traits."
    )
    drop: tuple[str, ...] = Field(default=(), title="Drop", description="Tags that do not belong on any picture.")
    add: tuple[str, ...] = Field(
        default=("realistic",),
        title="Add",
        description="Tags put on every picture to soak up the 3D look. The method's: realistic.",
    )
    face: tuple[str, ...] = Field(
        default=("nose", "lips"),
        title="Add where a face shows",
        description="Tags for pictures with a visible face. The method's: nose, lips.",
    )
