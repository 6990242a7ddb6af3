"""A transaction of the embedded engine as a connection of the ORM."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiosqlite
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper

from prover_framework.database.orm import NAME

Lend = Callable[[], AbstractAsyncContextManager[aiosqlite.Connection]]


class OrmSqlite(SqliteTransactionWrapper):
    """What the ORM runs its statements through.

    Args:
        raw: The driver's connection, inside of the transaction.
        lend: Lends it for one call.
    """

    def __init__(self, raw: aiosqlite.Connection, lend: Lend) -> None:
        outside = SqliteClient("", connection_name=NAME)
        outside._connection = raw  # noqa: SLF001 - it has no other way in
        super().__init__(outside)
        self._lend = lend

    def acquire_connection(self) -> Any:
        """Lend the connection for one call."""
        return self._lend()

    async def execute_script(self, query: str) -> None:
        """Run a script one statement after the other: the driver would commit before it."""
        for statement in query.split(";"):
            if statement.strip():
                await self.execute_query(statement)
