"""`headcanon up`."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import echo


def up(
    folder: Annotated[
        Path, typer.Argument(help="Recipes, characters and results go here; made if it does not exist.")
    ] = Path(),
    allow: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A further folder that forms in the UI may name. May be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Another than this machine's own needs a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI.")] = 4200,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A further address that browsers open the UI under, such as a reverse proxy's. May be repeated.",
        ),
    ] = None,
    database: Annotated[
        str, typer.Option(envvar="HEADCANON_DATABASE", help="A Postgres URL, postgresql+asyncpg://… Empty: SQLite.")
    ] = "",
    api: Annotated[str, typer.Option(help="Add a worker to a Prefect server that runs elsewhere, http://…/api.")] = "",
    runs: Annotated[int, typer.Option(min=1, max=64, help="How many runs are worked on at once.")] = 2,
    notify: Annotated[
        str,
        typer.Option(
            envvar="HEADCANON_NOTIFY",
            show_envvar=True,
            metavar="URL",
            help="A webhook to call when a run failed, waits for you, or published a LoRA.",
        ),
    ] = "",
) -> None:
    """Serve the studio page, with Prefect's UI, a worker and schedules on this machine, until Ctrl-C.

    Models go into DIR/models and are chosen on the page, or for all characters in DIR/recipes/default.toml. Drop
    screenshots on the page, or put them into DIR/characters/NAME. A run starts when you press Start there, by itself
    when a folder has not changed for ten minutes, or from the form train-character in Prefect's UI.

    Examples:

      headcanon up studio

      headcanon up studio --allow /mnt/screenshots

      headcanon up studio --api http://server:4200/api      on a GPU machine: one more worker
    """
    echo(f"Starting the studio in {folder}; the address comes when it is ready, in about 20 seconds.")
    from flows.up import run_until
    from flows.wanted import Wanted
    from tasks.terminal import Terminal

    console = Terminal(stderr=True)
    _refuse_address("" if api else host, origin or ())
    _refuse_missing(allow or ())
    home, also = folder.expanduser().resolve(), tuple(path.resolve() for path in allow or ())
    wanted = Wanted(home, also, host, port, tuple(origin or ()), database, api.rstrip("/"), runs, notify)
    with _until_told_to_end() as ended:
        run_until(wanted, ended, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


@contextlib.contextmanager
def _until_told_to_end() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, so that nothing is cut off in the middle."""
    from tasks.stopping import SIGNALS

    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in SIGNALS}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_missing(folders: Sequence[Path]) -> None:
    from lora_core.errors import UserError

    if missing := next((path for path in folders if not path.is_dir()), None):
        raise UserError(f"--allow {missing}: there is no such folder")


def _refuse_address(host: str, origins: Sequence[str]) -> None:
    """Refuse to listen where anybody could start runs, and what is no browser's address. No host: nobody listens."""
    from flows.door import LOOPBACK, Origin
    from lora_core.errors import UserError

    for url in origins:
        try:
            Origin.of(url)
        except ValueError as error:
            raise UserError(f"--origin: {error}") from None
    if host and host not in LOOPBACK and not _has_password():
        raise UserError(
            f"--host {host}: whoever reaches this address could start runs; set a password first: "
            "export PREFECT_SERVER_API_AUTH_STRING=user:password"
        )


def _has_password() -> bool:
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

    return bool(PREFECT_SERVER_API_AUTH_STRING.value())
