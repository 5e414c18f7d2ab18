"""The commands, put together. Everything heavy is imported inside a command, so that `--help` answers at once."""

from importlib.metadata import version
from typing import Annotated

import typer

from flows.cli import compare, echo, files, look, lora, models, pictures, run, status, store, up
from flows.cli.commands import Commands

app = Commands(
    name="headcanon",
    help="Screenshots of your 3D-creator character in, a Stable Diffusion LoRA [b]without the 3D look[/b] out.",
    epilog="Start with [b]headcanon demo[/b] to see it work, or [b]headcanon new my-character[/b] for your own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"headcanon {version('headcanon')}")
        raise typer.Exit


@app.callback()
def headcanon(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What all commands share."""


app.command("demo")(run.demo)
app.command("run")(run.run)
app.command("new")(run.new)
app.command("compare")(compare.compare)
app.command("look")(look.look)
app.command("preprocess", rich_help_panel="Single steps")(pictures.preprocess)
app.command("tag", rich_help_panel="Single steps")(pictures.tag)
app.command("caption", rich_help_panel="Single steps")(pictures.caption)
app.command("merge", rich_help_panel="Single steps")(files.merge)
app.command("sample", rich_help_panel="Single steps")(files.sample)
app.command("inspect", rich_help_panel="Inspect")(files.inspect)
app.command("up", rich_help_panel="Prefect")(up.up)
app.command("status", rich_help_panel="Prefect")(status.status)
app.add_typer(models.app, name="models", rich_help_panel="Model files")
app.add_typer(lora.app, name="lora", rich_help_panel="Model files")
app.add_typer(store.app, name="store", rich_help_panel="Inspect")
