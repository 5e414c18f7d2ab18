"""`headcanon status`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from flows.runs import Run

_USUAL = "http://127.0.0.1:4200/api"


def status(
    folder: Annotated[Path, typer.Argument(help="The folder that `headcanon up` was given.")] = Path(),
    api: Annotated[
        str, typer.Option(envvar="PREFECT_API_URL", help="The Prefect server; empty: the one of this machine.")
    ] = "",
) -> None:
    """Show running, waiting and ended runs, and how many steps of each character are finished.

    Example: headcanon status studio
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import status as look
    from flows.place import AllowedFolders
    from tasks.terminal import Terminal

    console, address = Terminal(), api or _USUAL
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        if client.api_healthcheck() is not None:
            console.print(f"No Prefect server answers at {address}; `headcanon up` starts one.", highlight=False)
        else:
            there = ", ".join(look.workers(client)) or "none: runs wait until `headcanon up` starts one"
            console.print(f"Prefect: {address.removesuffix('/api')}   workers: {there}", highlight=False)
            for line in look.silent_schedules(client):
                console.print(f"! {line}", highlight=False, markup=False, soft_wrap=True)
            for title, runs in look.runs(client).items():
                console.print(_table(title, runs))
    console.print()
    for one in look.characters(AllowedFolders(home=str(folder.absolute()))):
        if isinstance(one, str):
            console.print(f"! {one}", highlight=False, markup=False, soft_wrap=True)
        else:
            rest = f"next: {one.next_step}" if one.next_step else "finished"
            console.print(f"{one.character}: {one.finished} of {one.steps} steps cached, {rest}", highlight=False)


def _table(title: str, runs: "list[Run]") -> "Table":
    from rich.table import Table

    table = Table("run", "state", "since", "", title=title, title_justify="left", box=None, pad_edge=False)
    for run in runs:
        since = run.since.astimezone().strftime("%d %b %H:%M") if run.since else ""
        table.add_row(run.name, run.state, since, run.doing)
    if not runs:
        table.add_row("nothing", "", "", "")
    return table
