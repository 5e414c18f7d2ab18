"""`headcanon models`: base models and taggers into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import echo
from flows.cli.commands import Commands

app = Commands(help="Base models and taggers: get them, pinned to what they are today.", no_args_is_help=True)

_NAMES = "illustrious, noobai, noobai-v, pony, animagine, sdxl, sd15, wd-swinv2, wd-swinv2-v3, wd-eva02-v3, ccip"


@app.callback()
def models() -> None:
    """Base models and taggers: get them, pinned to what they are today."""


@app.command("get")
def get(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"{_NAMES}; or owner/name on the hub, :FILE for one file of it.")
    ],
    into: Annotated[Path, typer.Option(help="The folder that holds a folder for each model.")] = Path("models"),
    elsewhere: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="A folder of A1111, Forge, ComfyUI or kohya that may have it."),
    ] = None,
) -> None:
    """Get a model, or check one that is there.

    The files go to INTO/NAME. model.json beside them keeps the commit and every file's SHA-256: whoever gets the model
    again gets the same bytes, or an error.

    Examples:

      headcanon models get illustrious

      headcanon models get wd-swinv2 --into studio/models

      headcanon models get pony --from ~/stable-diffusion-webui
    """
    from lora_core.hub.get import get as get_model

    got = get_model(name, into, elsewhere, echo)
    for file, digest in got.pinned.sha256.items():
        size = (got.folder / file).stat().st_size
        echo(f"{got.folder / file}  {size / 1e6:,.1f} MB  sha256 {digest[:12]}…")
    if "selected_tags.csv" in got.pinned.sha256:
        echo(f"In a recipe: [tagger] model = {str(got.model.absolute())!r}")
    elif name == "ccip":
        echo(f"In a recipe: [judging] character_model = {str(got.model.absolute())!r}")
    else:
        echo(f"headcanon new my-character --base {got.model}")
