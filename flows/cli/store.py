"""`headcanon store ls|verify|gc`."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import echo
from flows.cli.commands import Commands

app = Commands(help="List, verify and clean the store of cached results.", no_args_is_help=True)

Where = Annotated[Path, typer.Option("--store", help="The store's folder (`runtime.store` in the recipe).")]


@app.command("ls")
def ls(store: Where = Path(".headcanon")) -> None:
    """List what is stored, and its size.

    Example: headcanon store ls
    """
    from rich.table import Table

    from tasks.terminal import Terminal

    root = _existing(store)
    table = Table("what", "files", "size", box=None, pad_edge=False)
    for folder, what in (
        ("objects", "pictures, models, LoRAs, manifests"),
        ("elsewhere", "base models that stay where you keep them"),
        ("records", "results of steps and of single items"),
        ("work", "state of steps that are not finished"),
        ("curves", "training metrics, step by step"),
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
    """Read every byte, record and pointer, and say what is wrong, a line each.

    Exit status 0: all is sound, or was repaired; 1: something is wrong; 2: there is no store, or it cannot be read.

    Example: headcanon store verify --repair
    """
    from lora_core.store import Store, gc
    from lora_core.store.files import disk_errors

    count = 0
    with disk_errors(_existing(store)):
        for problem in gc.verify(Store(store), repair=repair):
            count += 1
            echo(f"{problem.path}: {problem.what}{'; removed' if repair else ''}")
    echo(f"{count} problem{'s' * (count != 1)}" if count else "Everything is as it should be.")
    if count and not repair:
        raise typer.Exit(1)


@app.command("gc")
def gc(
    store: Where = Path(".headcanon"),
    unused_days: Annotated[
        float, typer.Option("--unused-days", "--days", min=0, help="Keep what was used in the last so many days.")
    ] = 30,
    out: Annotated[
        Path, typer.Option(help="Where LoRAs are published: what killed runs left half-written there.")
    ] = Path("out"),
    yes: Annotated[bool, typer.Option("--yes", help="Really delete; without it the list is only printed.")] = False,
) -> None:
    """List what can be deleted: work that was not used for long, what only it needs, leftovers of killed runs.

    Work is used when a run does it or finds it finished. Nothing is deleted while a run uses the store: then a line
    says which, and the exit status is 2. Your published LoRAs are not in the store and are never touched.

    Example: headcanon store gc --unused-days 7 --yes
    """
    from lora_core.store import Store
    from lora_core.store.files import disk_errors, remove
    from lora_core.store.gc import garbage

    subject = Store(_existing(store))
    with disk_errors(store), subject.unused() if yes else nullcontext():
        found = garbage(subject, unused_days=unused_days, out=out)
        for what, paths in found.kinds.items():
            echo(f"{what}: {_amount(paths)}")
        total = _amount(found.paths)
        for path in found.paths if yes else ():
            remove(path)
    echo(f"kept: {_amount(found.kept)}: used in the last {unused_days:g} days")
    echo(f"{total}: {'deleted' if yes else 'can be deleted; --yes does it'}")


def _amount(paths: Sequence[Path]) -> str:
    size_bytes = sum(_size(path) for path in paths)
    return f"{len(paths)} file{'s' * (len(paths) != 1)}, {size_bytes / 1e6:,.1f} MB"


def _existing(store: Path) -> Path:
    from lora_core.errors import StoreError

    if not (store / "objects").is_dir():
        raise StoreError(f"{store}: there is no store here; name it with --store")
    return store


def _size(path: Path) -> int:
    """In bytes, as far as they are there to be counted."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if file.is_file())
