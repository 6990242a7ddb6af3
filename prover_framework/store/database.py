"""The connection to the database: open, transact, tell the time, bring the schema up to date."""

import asyncio
import fcntl
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper
from tortoise.context import TortoiseContext
from tortoise.exceptions import BaseORMException, IntegrityError, OperationalError
from tortoise.migrations.executor import MigrationExecutor

from prover_framework.errors import StoreError

APP = "prover"
MODELS = "prover_framework.store.models"
MIGRATIONS = "prover_framework.store.migrations"

# SQLite has one writer at a time. An import of eight months of headers holds it for some
# seconds, and whoever else wants to write should wait for that rather than fail.
BUSY_MILLISECONDS = 60_000

WRITER = "default"
READER = "reader"


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
        try:
            await self._context.init(config=database_config(self.path))
            with self._refusals():
                # A file that can not be opened would leave the ORM's thread behind.
                sqlite3.connect(self.path).close()
                # The ORM connects at the first use and never lets go of its lock when that fails.
                for name in (WRITER, READER):
                    await self._client(name).create_connection(with_db=True)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        # An SQLite connection that stays open keeps the interpreter from ending.
        try:
            await self._context.connections.close_all()
        finally:
            await self._context.__aexit__(None, None, None)

    @property
    def reader(self) -> BaseDBAsyncClient:
        """A connection for reads outside of transactions, which no writer makes wait."""
        return self._client(READER)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[BaseDBAsyncClient]:
        """Lend `reader` to the body.

        Raises:
            StoreError: The database refused, and why.
        """
        with self._refusals():
            yield self.reader

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[BaseDBAsyncClient]:
        """Run the body in one transaction; an exception rolls all of it back.

        The transaction takes the write lock when it begins: a plain ``BEGIN`` that reads first
        and then writes fails at once, whatever the busy timeout, if another process wrote in
        between.

        Raises:
            StoreError: The database refused, and why (no space left, for one).
        """
        client = self._client(WRITER)
        if isinstance(client, SqliteTransactionWrapper):
            raise TypeError("a transaction can not begin inside of another one")
        with self._refusals():
            async with client._lock:  # noqa: SLF001 - the ORM's own lock on its connection
                transaction = SqliteTransactionWrapper(client)
                connection = transaction._connection  # noqa: SLF001 - as above
                token = self._context.connections.set(WRITER, transaction)
                try:
                    await connection.execute("BEGIN IMMEDIATE")
                    yield transaction
                    await connection.commit()
                except BaseException:
                    # Statements run one after the other in a thread of their own, and one that
                    # is cancelled here runs there all the same. Whatever is under way, BEGIN and
                    # COMMIT too, this comes after it, and before what the next one sends.
                    with suppress(sqlite3.Error):
                        await connection.rollback()
                    raise
                finally:
                    self._context.connections.reset(token)

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; return the names of the migrations that were applied."""
        if not await self.pending_migrations():
            return []
        # Several processes may start on an empty database at once; one of them migrates.
        with self.path.with_suffix(".migrating").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            pending = await self.pending_migrations()
            if pending:
                with self._refusals():
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
        return MigrationExecutor(self._client(WRITER), database_config(self.path)["apps"])

    def _client(self, name: str) -> SqliteClient:
        client = self._context.db(name)
        if not isinstance(client, SqliteClient):
            raise TypeError(f"no transactions are known for {type(client).__name__}")
        return client

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Tell what the database itself is to blame for from what its user did wrong."""
        try:
            yield
        except (IntegrityError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (OperationalError, sqlite3.DatabaseError) as error:
            raise StoreError(f"the database {self.path} refused: {error}") from error


def database_config(path: Path) -> dict[str, Any]:
    """Return the ORM's configuration for an SQLite file: a connection to write, one to read."""
    pragmas = {
        # First of all: several processes may open a new file at once.
        "busy_timeout": BUSY_MILLISECONDS,
        "journal_mode": "WAL",
        # An accepted job survives a power cut, not only a crash.
        "synchronous": "FULL",
        "foreign_keys": "ON",
    }
    return {
        "connections": {
            name: {
                "engine": "tortoise.backends.sqlite",
                "credentials": {"file_path": str(path), **pragmas, **more},
            }
            for name, more in ((WRITER, {}), (READER, {"query_only": "ON"}))
        },
        "apps": {APP: {"models": [MODELS], "migrations": MIGRATIONS, "default_connection": WRITER}},
    }


async def change_mark(database: Database) -> int:
    """Return a number that differs when anybody has committed in between.

    Raises:
        StoreError: The database refused, and why.
    """
    async with database.reading() as reader:
        _, rows = await reader.execute_query("PRAGMA data_version")
    return int(rows[0]["data_version"])
