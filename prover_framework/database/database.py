"""The database: open it, read, write, transact, bring its schema up to date."""

import pkgutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from prover_framework.database.engine import (
    MIGRATIONS,
    MIGRATIONS_TABLE,
    Body,
    Bounds,
    Clock,
    Connection,
    Engine,
    LaneUse,
    Row,
)
from prover_framework.database.sqlite import SqliteEngine
from prover_framework.database.watching import CommitWatch
from prover_framework.errors import SchemaMismatch
from prover_framework.settings import SQLITE_SCHEME
from prover_framework.urls import POSTGRES_SCHEMES

T = TypeVar("T")

APPLIED = f"SELECT name FROM {MIGRATIONS_TABLE} ORDER BY name"  # noqa: S608 - no value of anyone's

# The databases that the running task has a transaction of, and so the tasks that it starts there.
_IN_TRANSACTION: ContextVar[tuple["Database", ...]] = ContextVar("in_transaction", default=())


class Database:
    """One database, open for one process. Use it as an async context manager.

    Args:
        where: A file of SQLite, or a URL: ``sqlite:///FILE``, ``postgres://...``.
        clock: Stands in for the database's own clock, the one that all workers share, whatever
            their machines say.
        bounds: How long it may take; None: as long as the statements of commands need.
    """

    def __init__(
        self, where: Path | str, clock: Clock | None = None, bounds: Bounds | None = None
    ) -> None:
        self._engine = open_engine(where, clock, bounds)
        self._connections: Mapping[str, Connection] = {}

    async def __aenter__(self) -> Self:
        try:
            self._connections = await self._engine.connect()
        except BaseException:
            await self._engine.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._engine.close()

    @property
    def name(self) -> str:
        """What messages call the database; without a password."""
        return self._engine.name

    @property
    def where(self) -> Path | str:
        """The file of SQLite or the URL, with its password: for another process that opens it."""
        return self._engine.where

    @property
    def embedded(self) -> bool:
        """Whether nobody looks after the database, so that it makes its tables itself."""
        return self._engine.embedded

    @property
    def one_writer(self) -> bool:
        """Whether transactions that write commit in the order in which they have begun."""
        return self._engine.one_writer

    @property
    def reader(self) -> Connection:
        """A connection for reads outside of transactions, which no writer makes wait."""
        return self._connections[self._engine.reader_name]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Lend `reader` to the body.

        Raises:
            StoreError: The database refused, and why.
        """
        with self._engine.refusals():
            yield self.reader

    async def read(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run one statement that only reads, outside of transactions.

        Raises:
            StoreError: The database refused, and why.
        """
        return await self.reader.fetch(statement, values)

    async def write(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run one statement as a transaction of its own, and return its rows.

        Raises:
            StoreError: The database refused, and why (no space left, for one).
        """
        return await self._engine.write(self._outside(), statement, values)

    async def beat(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Write as `write` does, on a connection that is there for signs of life alone.

        Raises:
            StoreError: The database refused, and why.
        """
        heartbeat = self._connections[self._engine.heartbeat_name]
        return await self._engine.write(heartbeat, statement, values)

    def use(self) -> tuple[LaneUse, ...]:
        """Return how its connections are used; none where they are not pooled."""
        return self._engine.use()

    def give_up(self) -> None:
        """Let every call end with a `StoreError`, now and from now on: the process has to end."""
        self._engine.give_up()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Run the body in one transaction; an exception rolls all of it back.

        Raises:
            StoreError: The database refused, and why (no space left, for one).
        """
        with self._engine.refusals():
            async with self._engine.transaction(self._outside()) as transaction:
                token = _IN_TRANSACTION.set((*_IN_TRANSACTION.get(), self))
                try:
                    yield transaction
                finally:
                    _IN_TRANSACTION.reset(token)

    async def transact(self, body: Body[T]) -> T:
        """Run a body in one transaction and return what it does; an error rolls all of it back.

        Where the database is a file that costs one call into its thread, and not one for each
        statement.

        Args:
            body: Takes what its statements go to. It awaits nothing else, and uses no ORM.

        Raises:
            StoreError: The database refused, and why (no space left, for one).
        """
        with self._engine.refusals():
            return await self._engine.transact(self._outside(), body)

    async def analyze(self, tables: Sequence[str]) -> None:
        """Have the database look at tables anew after a bulk load.

        Raises:
            StoreError: The database refused, and why.
        """
        await self._engine.analyze(self._writer, tables)

    async def let_others_write(self) -> bool:
        """Rest between two transactions of many, for those who wait for their turn to write.

        Returns:
            Whether it rested: where nobody waits, it does not.

        Raises:
            StoreError: The database does not answer.
        """
        return await self._engine.let_others_write(self._outside())

    async def now_ms(self, connection: Connection | None = None) -> int:
        """Return the time in milliseconds since the Unix epoch, by the clock that counts."""
        (row,) = await (connection or self.reader).fetch("SELECT NOW_MS AS now")
        return int(row["now"])

    def watch(self, on_commit: Callable[[], None]) -> CommitWatch | None:
        """Return what tells of commits, of any process; None where nothing does.

        Args:
            on_commit: Called in a thread. It must return at once.
        """
        file = self._engine.log_file
        return None if file is None else CommitWatch(file, on_commit)

    # The schema

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; return the names of the migrations that were applied.

        Raises:
            SchemaMismatch: The schema is ahead of this version.
            StoreError: The database refused, and why.
        """
        async with self.transaction() as connection:
            # Several processes may start on an empty database at once; one of them migrates.
            await connection.lock("migrations")
            applied = await self._applied(connection)
            self._refuse_unknown(applied)
            pending = [name for name in _known_migrations() if name not in applied]
            if pending:
                await self._engine.apply_migrations(connection)
        return pending

    async def pending_migrations(self) -> list[str]:
        """Return the names of the migrations that the schema lacks, in their order."""
        applied = await self._applied(self.reader)
        return [name for name in _known_migrations() if name not in applied]

    async def require_schema(self) -> None:
        """Require that the schema is the one that this version was written for.

        An embedded database without tables is given them.

        Raises:
            SchemaMismatch: It is behind or ahead, and what to do.
            StoreError: The database refused, and why.
        """
        applied = await self._applied(self.reader)
        if not applied and self.embedded:
            await self.migrate()
            return
        self._refuse_unknown(applied)
        if pending := [name for name in _known_migrations() if name not in applied]:
            raise SchemaMismatch(
                f"the schema of the database {self.name} is behind this version, it lacks "
                f"{', '.join(pending)}: run `prover migrate`"
            )

    def _refuse_unknown(self, applied: Sequence[str]) -> None:
        if unknown := sorted(set(applied) - set(_known_migrations())):
            raise SchemaMismatch(
                f"the schema of the database {self.name} is ahead of this version, which does not "
                f"know {', '.join(unknown)}: run the version that made it, or a later one"
            )

    async def _applied(self, connection: Connection) -> list[str]:
        if not await self._engine.has_table(connection, MIGRATIONS_TABLE):
            return []
        return [row["name"] for row in await connection.fetch(APPLIED)]

    @property
    def _writer(self) -> Connection:
        return self._connections[self._engine.writer_name]

    def _outside(self) -> Connection:
        """Return what begins transactions, to somebody who is in none."""
        if any(one is self for one in _IN_TRANSACTION.get()):
            raise TypeError("a transaction cannot begin inside of another one")
        return self._writer


def open_engine(
    where: Path | str, clock: Clock | None = None, bounds: Bounds | None = None
) -> Engine:
    """Return the engine for a file or a URL; nothing is opened yet.

    Raises:
        StoreError: The URL cannot be used.
    """
    bounds = bounds or Bounds()
    if isinstance(where, str):
        if where.startswith(POSTGRES_SCHEMES):
            # Imported where it is used: the commands of an embedded service start quicker so.
            from prover_framework.database.postgres import PostgresEngine

            return PostgresEngine(where, clock, bounds)
        where = Path(where.removeprefix(SQLITE_SCHEME))
    return SqliteEngine(where, clock, bounds)


def _known_migrations() -> list[str]:
    """Return the names of this version's migrations; they begin with their number."""
    package = import_module(MIGRATIONS)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))
