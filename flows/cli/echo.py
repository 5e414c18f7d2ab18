"""The door to stdout, for people and programs; `tasks.terminal` is the one for tables and colours."""

import typer

from lora_core.printable import printable


def echo(text: object = "") -> None:
    """Print lines; what a terminal would obey in them is written out."""
    typer.echo(printable(text))
