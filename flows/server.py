"""Prefect's server behind our door: `python -m flows.server --host HOST --port PORT [--origin URL …]`.

As `prefect server start` runs it (`prefect.cli._server_utils._run_in_foreground`): the API, the UI, migrations and all
services in one process, under uvicorn.
"""

import argparse
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from flows.door import PREFECT_SETTINGS, Door, Names, reached_at
from flows.run_names import run_name

if TYPE_CHECKING:
    from prefect.server.schemas.core import FlowRun
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
    from starlette.types import ASGIApp


def guarded(host: str = "127.0.0.1", origins: Sequence[str] = (), port: int = 0) -> Door:
    """Prefect's whole application behind our door; also a factory for uvicorn.

    Args:
        host: address that it will be served at.
        origins: further addresses that browsers open it under, as `https://studio.example.org`.
        port: its port. With it, and a home (`HEADCANON_HOME`), the studio page stands before Prefect's UI.
    """
    os.environ.update(PREFECT_SETTINGS)  # before Prefect is imported and reads them
    from prefect.server.api.server import create_app

    _begin_transactions_in_turn()
    _name_runs_when_made()

    server: ASGIApp = create_app(final=True)
    if port and os.environ.get("HEADCANON_HOME"):
        server = _with_studio(server, f"http://{reached_at(host)}:{port}/api")
    return Door(server, Names.of(host, socket.gethostname(), origins))


def _with_studio(server: "ASGIApp", api: str) -> "ASGIApp":
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

    from flows.studio.app import before, studio

    return before(studio(api, str(PREFECT_SERVER_API_AUTH_STRING.value() or "")), server)


def _begin_transactions_in_turn() -> None:
    """Mend a fault of Prefect's server on SQLite: of two writers at once, one fails with "database is locked".

    Prefect begins a transaction that will write as one that only reads. When somebody else has written meanwhile,
    SQLite refuses its first write at once, whatever the timeout: what it has read is old. Here such a transaction waits
    for its turn at its beginning, up to Prefect's 60 seconds. https://www.sqlite.org/lang_transaction.html
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    @asynccontextmanager
    async def begin_in_turn(
        self: AioSqliteConfiguration, session: "AsyncSession", with_for_update: bool = False
    ) -> "AsyncGenerator[AsyncSessionTransaction, None]":
        async with begin(self, session, with_for_update=True) as transaction:
            yield transaction

    AioSqliteConfiguration.begin_transaction = begin_in_turn  # type: ignore[method-assign]


def _name_runs_when_made() -> None:
    """Call a run as its flow will, whatever chance name Prefect's form sends with it."""
    from prefect.server.models import flow_runs, flows

    create: Callable[..., Awaitable[Any]] = flow_runs.create_flow_run
    read_flow: Callable[..., Awaitable[Any]] = flows.read_flow

    @wraps(create)
    async def create_named(session: "AsyncSession", flow_run: "FlowRun", **more: Any) -> Any:
        flow = await read_flow(session=session, flow_id=flow_run.flow_id) if flow_run.deployment_id else None
        flow_run.name = (flow and run_name(flow.name, flow_run.parameters)) or flow_run.name
        return await create(session=session, flow_run=flow_run, **more)

    flow_runs.create_flow_run = create_named


def serve(host: str, port: int, origins: Sequence[str]) -> None:
    """Run the server until it is told to end.

    Args:
        host: address to listen at.
        port: its port.
        origins: as for `guarded`.
    """
    app = guarded(host, origins, port)
    import uvicorn
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    uvicorn.run(
        app,
        host=host,
        port=port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--origin", action="append", default=[])
    given = parser.parse_args(arguments)
    serve(given.host, given.port, given.origin)


if __name__ == "__main__":
    main()
