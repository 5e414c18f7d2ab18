"""The methods' names, and which of them is offered first. Imports nothing, so that the command line can read it."""

from typing import Final, Literal, NamedTuple, get_args

Method = Literal[
    "auto", "note", "note-low-rank", "named-look", "textual-inversion", "difference", "captions-only", "naive"
]
"""Presets over the recipe's sections (`lora_core.recipe.PRESETS`)."""


class Offered(NamedTuple):
    """A method and why it is the one to begin with."""

    method: Method
    why: str


FIRST: Final = Offered(
    "auto", "it measures whether your base knows the 3D look, and takes what suits that best (docs/proof.md)"
)
"""What `headcanon new` writes where no method is named, and what forms recommend. A recipe that names none is the
note's whatever stands here."""

METHODS: Final[tuple[Method, ...]] = (FIRST.method, *(each for each in get_args(Method) if each != FIRST.method))
"""All of them as they are offered."""
