"""Commands whose help is shown as it is written: `[preprocess]` and `[default: 1024]` are no markup."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from rich.markup import escape
from typer.core import TyperCommand

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class PlainHelp(TyperCommand):
    """A command in whose texts square brackets are letters."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.help = escape(self.help) if self.help else self.help
        for each in self.params:
            if text := getattr(each, "help", None):
                each.help = escape(text)  # type: ignore[attr-defined]


class Commands(typer.Typer):
    """A group of such commands."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **more: Any
    ) -> Callable[[Decorated], Decorated]:
        """As Typer's."""
        return super().command(name, cls=cls or PlainHelp, **more)
