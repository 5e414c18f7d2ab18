"""`headcanon store ls|verify|gc`."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.echo import echo

app = typer.Typer(help="What is stored, whether its bytes are right, what can go.", no_args_is_help=True)

Where = Annotated[Path, typer.Option("--store", help="The store's folder (`runtime.store` in the recipe).")]


@app.command("ls")
def ls(store: Where = Path(".headcanon")) -> None:
    """What is stored, and how much room it takes.

    Example: headcanon store ls
    """
    from rich.table import Table

    from tasks.terminal import Terminal

    root = _existing(store)
    table = Table("what", "files", "size", box=None, pad_edge=False)
    for folder, what in (
        ("objects", "pictures, models, LoRAs, manifests"),
        ("elsewhere", "base models that stay where you keep them"),
        ("records", "what single pieces of work came to"),
        ("results", "finished steps"),
        ("work", "state of steps that are not finished"),
        ("curves", "figures of trainings, step by step"),
    ):
        paths = [path for path in (root / folder).rglob("*") if path.is_file()]
        size_bytes = sum(path.stat().st_size for path in paths)
        table.add_row(what, f"{len(paths)}", f"{size_bytes / 1e6:,.1f} MB")
    Terminal().print(table)


@app.command("verify")
def verify(
    store: Where = Path(".headcanon"),
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is wrong, so that it is made again.")] = False,
) -> None:
    """Read every byte and say what is wrong. Exit status 1 when something is.

    Example: headcanon store verify --repair
    """
    from lora_core import housekeeping
    from lora_core.store import Store

    problems = list(housekeeping.verify(Store(_existing(store)), repair=repair))
    for problem in problems:
        echo(f"{problem.path}: {problem.what}{'; removed' if repair else ''}")
    echo(f"{len(problems)} problems" if problems else "Everything is as it should be.")
    if problems and not repair:
        raise typer.Exit(1)


@app.command("gc")
def gc(
    store: Where = Path(".headcanon"),
    unused_days: Annotated[float, typer.Option(min=0, help="Keep what was made in the last so many days.")] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Really remove; without it the list is only printed.")] = False,
) -> None:
    """What can go: steps finished long ago, what only they need, and the leftovers of killed runs.

    Your published LoRAs are not in the store and are never touched.

    Example: headcanon store gc --unused-days 7 --yes
    """
    from lora_core import housekeeping
    from lora_core.store import Store

    paths = housekeeping.garbage(Store(_existing(store)), unused_days=unused_days)
    size_bytes = sum(_size(path) for path in paths)
    for path in paths if yes else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    done = "removed" if yes else "could go; --yes removes them"
    echo(f"{len(paths)} files, {size_bytes / 1e6:,.1f} MB: {done}")


def _existing(store: Path) -> Path:
    from lora_core.errors import StoreError

    if not (store / "objects").is_dir():
        raise StoreError(f"{store}: there is no store here; name it with --store")
    return store


def _size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )
