"""A transaction of PostgreSQL as a connection of the ORM."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper

from prover_framework.database.orm import NAME

Lend = Callable[[], AbstractAsyncContextManager[Any]]


class OrmPostgres(TransactionWrapper):
    """What the ORM runs its statements through.

    Args:
        raw: The driver's connection, inside of the transaction.
        lend: Lends it for one call.
    """

    def __init__(self, raw: Any, lend: Lend) -> None:
        outside = AsyncpgDBClient(connection_name=NAME)
        outside._connection = raw  # noqa: SLF001 - it has no other way in
        super().__init__(outside)
        self._lend = lend

    def acquire_connection(self) -> Any:
        """Lend the connection for one call."""
        return self._lend()
