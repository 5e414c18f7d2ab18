"""Words for style pictures, where a recipe wants some."""

from lora_core.captions.rules import Rules
from lora_core.recipe import LEAK_TAGS


def style_rules() -> Rules:
    """All that is seen but the 3D look.

    What a word explains a LoRA need not learn (that is why the character's own captions leave out what it is): with
    hair, eyes and clothes said, the look is all that the style LoRA has left.
    """
    return Rules(prune=False, drop=LEAK_TAGS, add=(), face=())
