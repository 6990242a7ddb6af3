"""A transaction of the embedded engine as a connection of the ORM."""

from typing import Any

from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper

from prover_framework.database.orm import NAME
from prover_framework.database.sqlite import SqliteTransaction


class OrmSqlite(SqliteTransactionWrapper):
    """What the ORM runs its statements through.

    Args:
        transaction: The transaction that they are part of.
    """

    def __init__(self, transaction: SqliteTransaction) -> None:
        outside = SqliteClient(str(transaction.engine.path), connection_name=NAME)
        outside._connection = transaction.raw  # noqa: SLF001 - it has no other way in
        super().__init__(outside)
        self._transaction = transaction

    def acquire_connection(self) -> Any:
        """Lend the connection for one call."""
        return self._transaction.lend()

    async def execute_script(self, query: str) -> None:
        """Run a script one statement after the other: the driver would commit before it."""
        for statement in query.split(";"):
            if statement.strip():
                await self.execute_query(statement)
