"""A transaction of PostgreSQL as a connection of the ORM."""

from typing import Any

from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper

from prover_framework.database.orm import NAME
from prover_framework.database.postgres import PostgresTransaction


class OrmPostgres(TransactionWrapper):
    """What the ORM runs its statements through.

    Args:
        transaction: The transaction that they are part of.
    """

    def __init__(self, transaction: PostgresTransaction) -> None:
        outside = AsyncpgDBClient(connection_name=NAME)
        outside._connection = transaction.raw  # noqa: SLF001 - it has no other way in
        super().__init__(outside)
        self._transaction = transaction

    def acquire_connection(self) -> Any:
        """Lend the connection for one call."""
        return self._transaction.lend()
