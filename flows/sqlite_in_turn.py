"""Prefect's server on SQLite, but for one fault: two writers at once, and one of them fails with "database is locked".

Prefect begins a transaction that will write as one that only reads. When somebody else has written meanwhile, SQLite
refuses its first write at once, whatever the timeout: what it has read is old. Here such a transaction takes its turn
at its beginning, as SQLite's own documentation advises, and waits for it up to Prefect's 60 seconds.
https://www.sqlite.org/lang_transaction.html
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_begin = AioSqliteConfiguration.begin_transaction


@asynccontextmanager
async def _begin_in_turn(
    self: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = False
) -> AsyncGenerator[AsyncSessionTransaction, None]:
    async with _begin(self, session, with_for_update=True) as transaction:
        yield transaction


AioSqliteConfiguration.begin_transaction = _begin_in_turn  # type: ignore[method-assign]
