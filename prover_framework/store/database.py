"""The connection to the database: open, transact, tell the time, bring the schema up to date."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.sqlite.client import (
    SqliteClient,
    SqliteTransactionContext,
    SqliteTransactionWrapper,
)
from tortoise.context import TortoiseContext
from tortoise.exceptions import BaseORMException, OperationalError
from tortoise.migrations.executor import MigrationExecutor

from prover_framework.errors import StoreError

APP = "prover"
MODELS = "prover_framework.store.models"
MIGRATIONS = "prover_framework.store.migrations"

# SQLite has one writer at a time. An import of eight months of headers holds it for some
# seconds, and whoever else wants to write should wait for that rather than fail.
BUSY_MILLISECONDS = 60_000


class Clock(Protocol):
    """Tells the time that leases and waits are measured by."""

    async def now_ms(self, connection: BaseDBAsyncClient) -> int:
        """Return milliseconds since the Unix epoch."""
        ...


class DatabaseClock:
    """The database's own clock: the one that all workers share, whatever their machines say."""

    async def now_ms(self, connection: BaseDBAsyncClient) -> int:
        """Ask the database for the time."""
        # 2440587.5 is the Julian day of the Unix epoch.
        _, rows = await connection.execute_query(
            "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now"
        )
        return int(rows[0]["now"])


class Database:
    """One database, open for one process. Use it as an async context manager.

    Tasks that touch the database must be started inside the ``async with``: the ORM finds its
    connections through a context variable.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self.clock: Clock = clock or DatabaseClock()
        self._context = TortoiseContext()

    async def __aenter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the data directory {self.path.parent} can not be made: {error.strerror}"
            ) from None
        await self._context.__aenter__()
        await self._context.init(config=database_config(self.path))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An SQLite connection that stays open keeps the interpreter from ending.
        await self._context.connections.close_all()
        await self._context.__aexit__(exc_type, exc, traceback)

    @property
    def reader(self) -> BaseDBAsyncClient:
        """A connection for reads outside of transactions."""
        return self._context.db()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[BaseDBAsyncClient]:
        """Run the body in one transaction; an exception rolls all of it back.

        Raises:
            StoreError: The database refused, and why (no space left, for one).
        """
        client = self.reader
        if not isinstance(client, SqliteClient):
            raise TypeError(f"no transactions are known for {type(client).__name__}")
        immediate = _ImmediateTransaction(client)
        try:
            async with SqliteTransactionContext(immediate, client._lock) as connection:  # noqa: SLF001
                yield connection
        except OperationalError as error:
            raise StoreError(f"the database {self.path} refused: {error}") from error

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; return the names of the migrations that were applied."""
        if not await self.pending_migrations():
            return []
        # Several processes may start on an empty database at once; one of them migrates.
        with self.path.with_suffix(".migrating").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            pending = await self.pending_migrations()
            if pending:
                await self._executor().migrate()
        return pending

    async def pending_migrations(self) -> list[str]:
        """Return the names of the migrations that the schema lacks, in their order."""
        try:
            plan = await self._executor().plan()
        except BaseORMException as error:
            raise StoreError(f"the database {self.path} can not be used: {error}") from None
        return [step.migration.name for step in plan if not step.backward]

    def _executor(self) -> MigrationExecutor:
        return MigrationExecutor(self.reader, database_config(self.path)["apps"])


class _ImmediateTransaction(SqliteTransactionWrapper):
    """A transaction that takes the write lock when it begins.

    A plain ``BEGIN`` that reads first and then writes fails at once, whatever the busy timeout,
    if another process wrote in between.
    """

    async def begin(self) -> None:
        await self._connection.execute("BEGIN IMMEDIATE")


def database_config(path: Path) -> dict[str, Any]:
    """Return the ORM's configuration for an SQLite file."""
    return {
        "connections": {
            "default": {
                "engine": "tortoise.backends.sqlite",
                "credentials": {
                    "file_path": str(path),
                    "journal_mode": "WAL",
                    # An accepted job survives a power cut, not only a crash.
                    "synchronous": "FULL",
                    "busy_timeout": BUSY_MILLISECONDS,
                    "foreign_keys": "ON",
                },
            }
        },
        "apps": {
            APP: {"models": [MODELS], "migrations": MIGRATIONS, "default_connection": "default"}
        },
    }


async def change_mark(database: Database) -> int:
    """Return a number that differs when another connection has committed in between."""
    _, rows = await database.reader.execute_query("PRAGMA data_version")
    return int(rows[0]["data_version"])
