"""`headcanon demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's screenshots, recipe and results go.")] = Path("out"),
) -> None:
    """The whole method on a drawn demo world: no GPU, no downloads, about ten minutes.

    Draws 3D screenshots of two characters, then runs the very recipe it leaves in OUT/demo/recipe.toml. Run it again:
    everything is cached. Edit the recipe, or add a screenshot, and only what hangs on it is done again.

    Example: headcanon demo --out out
    """
    from demo.project import write_project
    from flows.cli.run import execute

    execute(write_project(out / "demo", Path(".headcanon")), out)
