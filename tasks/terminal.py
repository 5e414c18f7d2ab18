"""The door to the terminal: whatever text comes through, from files, names or servers, it commands nothing there."""

from typing import Any

from rich.console import Console
from rich.text import Text

from lora_core.printable import printable


class Terminal(Console):
    """Rich's console; every text that it is given, in tables too, is made printable first, and is shown as it is.

    Square brackets are letters here, as in `aiko [v2]`: what is to be bold or coloured is a `styled` text.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(markup=False, emoji=False, **more)

    def render_str(self, text: str, **more: Any) -> Text:
        """As rich does with a text."""
        return super().render_str(printable(text), **more)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A text of which some parts have a style of rich's: `styled(("Done.", "bold green"), " Look at it.")`."""
    text = Text()
    for part in parts:
        words, style = part if isinstance(part, tuple) else (part, "")
        text.append(printable(words), style)
    return text
