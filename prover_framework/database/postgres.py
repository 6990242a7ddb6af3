"""PostgreSQL, for API and workers on more than one machine."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar
from zlib import crc32

import asyncpg

from prover_framework.database import postgres_connections as connections
from prover_framework.database.engine import Body, Bounds, Clock, Connection, LaneUse, Row
from prover_framework.database.postgres_connections import Connections, Lane, Unusable
from prover_framework.errors import NumberTooLarge, StoreBusy, StoreError
from prover_framework.urls import UrlError, parse_postgres_url

T = TypeVar("T")

WRITER = "postgres"
READER = "postgres_reader"
HEARTBEAT = "postgres_heartbeat"

# Connections of a process, opened as they are needed and closed when they have been idle for some
# seconds. What is written often is written in batches, one at a time for each kind, so that these
# are seldom all in use; a server's usual hundred are enough for seven processes.
LANES = {
    WRITER: Lane(8),
    READER: Lane(4, read_only=True),
    # Signs of life come one after the other, and a connection that is there does not depend on
    # whether the server has one left.
    HEARTBEAT: Lane(1, keeps=True),
}

# A vacuum after an import of some millions of rows, on a slow disk.
ANALYZE_SECONDS = 3600.0

# Of the moment and not of the transaction's begin, as now() is: a transaction may have waited for
# another one since, and what has expired meanwhile has expired.
NOW_MS = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"

# Statements that are kept in the form of this engine: more than the code has.
KEPT_STATEMENTS = 512

ROWS = re.compile(r"\bROWS\(\?\) AS ")

# Sets our locks apart from those that others take in the same database.
LOCK_SPACE = crc32(b"prover_framework") & 0x7FFFFFFF


class PostgresEngine:
    """See `prover_framework.database.engine.Engine`."""

    writer_name = WRITER
    reader_name = READER
    heartbeat_name = HEARTBEAT
    embedded = False
    one_writer = False

    def __init__(
        self,
        url: str,
        clock: Clock | None,
        bounds: Bounds,
        *,
        idle_transaction_seconds: float | None = None,
    ) -> None:
        try:
            self._url = parse_postgres_url(url)
        except UrlError as error:
            raise StoreError(f"the URL of the database {error}") from None
        self.where = url
        self.name = self._url.public
        self.connections = Connections(
            self._url,
            LANES,
            bounds,
            # Tells who does what in the server's views, by the process id that workers' names have.
            application_name=f"prover:{os.getpid()}",
            idle_transaction_seconds=(
                connections.idle_transaction_seconds(bounds)
                if idle_transaction_seconds is None
                else idle_transaction_seconds
            ),
        )
        self._clock = clock

    async def connect(self) -> dict[str, Connection]:
        """Connect to the server; more connections are opened as they are needed."""
        with self.calls():
            async with self.connections.lend(WRITER):
                return {name: PostgresConnection(self, name) for name in LANES}

    async def close(self) -> None:
        """Close the connections."""
        await self.connections.close()

    def give_up(self) -> None:
        """Abort all connections."""
        self.connections.give_up()

    def use(self) -> tuple[LaneUse, ...]:
        """Return how the connections are used."""
        return self.connections.use()

    async def write(
        self, client: Connection, statement: str, values: Sequence[object]
    ) -> Sequence[Row]:
        """Run one statement, a second time if it was the victim of a deadlock."""
        try:
            return await _client(client).fetch(statement, values)
        except StoreBusy:
            return await _client(client).fetch(statement, values)

    @asynccontextmanager
    async def transaction(self, client: Connection) -> AsyncIterator[Connection]:
        """Run the body in a transaction that sees what others commit while it runs."""
        parent = _client(client)
        own = self.connections
        deadline = asyncio.get_running_loop().time() + own.bounds.call_seconds
        async with AsyncExitStack() as stack:
            with self.calls():
                held = own.hold(parent.connection_name, deadline)
                raw = await stack.enter_async_context(held)
                transaction = raw.transaction(isolation="read_committed")
                async with own.limited(raw, deadline):
                    await transaction.start()
            try:
                yield PostgresTransaction(self, parent.connection_name, raw)
            except Exception:
                # With the connection the server has ended the transaction, too.
                if not raw.is_closed():
                    with suppress(*connections.DRIVER_ERRORS, OSError):
                        async with own.limited(raw):
                            await transaction.rollback()
                raise
            with self.calls():
                async with own.limited(raw):
                    await transaction.commit()

    async def transact(self, client: Connection, body: Body[T]) -> T:
        """Run a body in a transaction, statement by statement: a server needs no thread."""
        async with self.transaction(client) as connection:
            return await body(connection)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Tell what the database itself is to blame for from what its user did wrong."""
        try:
            yield
        except connections.DRIVER_ERRORS as error:
            refusal = self._refusal(error)
            if refusal is None:
                raise
            raise refusal from error

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Tell the same of a body that does nothing but call the server."""
        with self.refusals():
            try:
                yield
            except TimeoutError as error:
                raise StoreError(
                    f"the database {self.name} does not answer within "
                    f"{self.connections.bounds.call_seconds:g} s"
                ) from error
            except Unusable as error:
                raise StoreError(f"the database {self.name} cannot be used: {error}") from error
            except OSError as error:
                reason = self._url.redacted(error.strerror or str(error) or type(error).__name__)
                raise StoreError(f"the database {self.name} cannot be reached: {reason}") from error

    def _refusal(self, cause: Exception) -> StoreError | None:
        """Return what a driver's error means; None if its user did something wrong."""
        if isinstance(cause, asyncpg.NumericValueOutOfRangeError):
            kind: type[StoreError] = NumberTooLarge
        elif isinstance(cause, asyncpg.IntegrityConstraintViolationError | asyncpg.DataError) or (
            isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError)
        ):
            return None
        elif isinstance(cause, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
            kind = StoreBusy
        else:
            kind = StoreError
        reason = "; ".join(line.strip() for line in str(cause).splitlines())
        if connections.is_pooled(cause):
            reason = f"{connections.TRANSACTION_MODE} ({reason})"
        return kind(f"the database {self.name} refused: {self._url.redacted(reason)}")

    async def analyze(self, client: Connection, tables: Sequence[str]) -> None:
        """Have the server vacuum and analyse the tables, outside of any transaction."""
        name = _client(client).connection_name
        with self.calls():
            async with self.connections.lend(name, ANALYZE_SECONDS) as connection:
                await connection.execute("SET statement_timeout = 0")
                await connection.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")
                own = round(self.connections.bounds.statement_seconds * 1000)
                await connection.execute(f"SET statement_timeout = '{own}ms'")

    async def apply_migrations(self, transaction: Connection) -> None:
        """Have the ORM apply all migrations that the schema lacks."""
        # Imported where it is used: nothing else needs the ORM, which takes as long as the rest.
        from prover_framework.database import orm
        from prover_framework.database.postgres_orm import OrmPostgres

        if not isinstance(transaction, PostgresTransaction):
            raise TypeError("migrations are applied in a transaction")
        await orm.migrate(OrmPostgres(transaction.raw, transaction.lend))

    async def let_others_write(self, client: Connection) -> bool:  # noqa: ARG002
        """Do nothing: who waits for a lock gets it when it is let go."""
        await asyncio.sleep(0)
        return False

    async def has_table(self, connection: Connection, table: str) -> bool:
        """Look where an unqualified name would be found."""
        (row,) = await connection.fetch("SELECT to_regclass(?) IS NOT NULL AS found", [table])
        return bool(row["found"])

    @property
    def log_file(self) -> None:
        """None. Notifications could tell, but the server lets one commit with any in at a time.

        For a queue with hundreds of changes a second that costs more than to look.
        """

    def sql(self, statement: str) -> str:
        """Return a statement in the form of this engine."""
        statement = _own_form(statement)
        if self._clock is None:
            return statement
        return statement.replace(NOW_MS, f"CAST({self._clock.ms} AS BIGINT)")


class PostgresConnection(Connection):
    """Connections outside of transactions, of one lane."""

    def __init__(self, engine: PostgresEngine, connection_name: str) -> None:
        self.engine = engine
        self.connection_name = connection_name

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """Lend a connection of the driver's for one call."""
        with self.engine.calls():
            async with self.engine.connections.lend(self.connection_name) as connection:
                yield connection

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows."""
        async with self.lend() as connection:
            rows: Sequence[Row] = await connection.fetch(self.engine.sql(statement), *values)
            return rows

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values, all or none of them."""
        async with self.lend() as connection:
            await connection.executemany(self.engine.sql(statement), rows)

    async def copy(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Send the rows with COPY."""
        async with self.lend() as connection:
            await connection.copy_records_to_table(table, columns=columns, records=rows)

    async def lock(self, name: str) -> None:
        """Take a lock of the server's that has no rows."""
        await self.fetch(
            "SELECT pg_advisory_xact_lock(?, ?)", [LOCK_SPACE, crc32(name.encode()) & 0x7FFFFFFF]
        )


class PostgresTransaction(PostgresConnection):
    """A connection inside of a transaction."""

    def __init__(self, engine: PostgresEngine, connection_name: str, raw: Any) -> None:
        super().__init__(engine, connection_name)
        self.raw = raw
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """Lend its connection for one call."""
        with self.engine.calls():
            async with self._lock, self.engine.connections.limited(self.raw):
                yield self.raw


def _client(client: Connection) -> PostgresConnection:
    if not isinstance(client, PostgresConnection):
        raise TypeError(f"{type(client).__name__} is no connection of this engine")
    return client


@lru_cache(KEPT_STATEMENTS)
def _own_form(statement: str) -> str:
    statement = ROWS.sub("json_to_recordset(CAST(? AS json)) AS ", statement)
    first, *others = statement.replace("NOW_MS", NOW_MS).split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
