"""The door to the terminal: whatever text comes through, from files, names or servers, it commands nothing there."""

from typing import Any

from rich.console import Console
from rich.text import Text

from lora_core.printable import printable


class Terminal(Console):
    """Rich's console; every text that it is given, in tables too, is made printable first."""

    def render_str(self, text: str, **more: Any) -> Text:
        """As rich does with a text."""
        return super().render_str(printable(text), **more)
