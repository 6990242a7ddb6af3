"""PostgreSQL, for API and workers on more than one machine."""

import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit
from zlib import crc32

import asyncpg
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.exceptions import BaseORMException, IntegrityError

from prover_framework.errors import NumberTooLarge, StoreBusy, StoreError
from prover_framework.store.engine import (
    APP,
    MIGRATIONS,
    MODELS,
    Clock,
    Connection,
    Row,
)

WRITER = "postgres"
READER = "postgres_reader"

# Connections of a process, opened as they are needed and closed when they have been idle for five
# minutes. What is written often is written in batches, one at a time for each kind, so that these
# are seldom all in use; a server's usual hundred are enough for eight processes.
MAX_CONNECTIONS = {WRITER: 8, READER: 4}

# A server that is there answers sooner, one that is not should not hold up a stop or a retry.
CONNECT_SECONDS = 10.0

# Longer than any statement of ours takes; the sum over eight months of headers takes some seconds.
# A server that hangs is given up after this time.
STATEMENT_SECONDS = 60.0

# Of the moment and not of the transaction's begin, as now() is: a transaction may have waited for
# another one since, and what has expired meanwhile has expired.
NOW_MS = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"

# A process that is stopped in the middle of a transaction keeps its locks, and others that want the
# same jobs wait. The server ends such a transaction after this time. Ours pause for less, an
# import's reading of its next headers included.
IDLE_TRANSACTION_SECONDS = 10

# Statements that are kept in the form of this engine: more than the code has.
KEPT_STATEMENTS = 512

ROWS = re.compile(r"\bROWS\(\?\) AS ")

# What the ORM and the driver raise. The driver is at a loss, which it calls its own mistake, when
# a server goes down in the middle of its talk with it.
DRIVER_ERRORS = (
    BaseORMException,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# Sets our locks apart from those that others take in the same database.
LOCK_SPACE = crc32(b"prover_framework") & 0x7FFFFFFF


class PostgresEngine:
    """See `prover_framework.store.engine.Engine`."""

    writer_name = WRITER
    reader_name = READER
    embedded = False

    def __init__(self, url: str, clock: Clock | None) -> None:
        self.url = url
        self.name = public_name(url)
        self._clock = clock

    def config(self) -> dict[str, Any]:
        """Return the ORM's configuration for the server."""
        return {
            "connections": {
                name: {"engine": __name__, "credentials": {"engine": self}}
                for name in (WRITER, READER)
            },
            "apps": {
                APP: {"models": [MODELS], "migrations": MIGRATIONS, "default_connection": WRITER}
            },
        }

    async def connect(self, clients: Sequence[BaseDBAsyncClient]) -> None:
        """Connect to the server."""
        for client in clients:
            with self.calls():
                await client.create_connection(with_db=True)

    def reader(self, client: BaseDBAsyncClient) -> Connection:
        """Return the connections that only read."""
        return _client(client)

    async def write(
        self, client: BaseDBAsyncClient, statement: str, values: Sequence[object]
    ) -> Sequence[Row]:
        """Run one statement, a second time if it was the victim of a deadlock."""
        try:
            return await _client(client).fetch(statement, values)
        except StoreBusy:
            return await _client(client).fetch(statement, values)

    @asynccontextmanager
    async def transaction(self, client: BaseDBAsyncClient) -> AsyncIterator[Connection]:
        """Run the body in a transaction that sees what others commit while it runs."""
        parent = _client(client)
        async with parent.acquire_connection() as connection:
            transaction = connection.transaction(isolation="read_committed")
            with self.calls():
                await transaction.start()
            try:
                yield PostgresTransaction(parent, connection)
            except BaseException:
                # With the connection the server has ended the transaction, too.
                with suppress(*DRIVER_ERRORS, OSError):
                    await transaction.rollback()
                raise
            with self.calls():
                await transaction.commit()

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Tell what the database itself is to blame for from what its user did wrong."""
        try:
            yield
        except DRIVER_ERRORS as error:
            # What the ORM raises has the driver's error in it.
            wrapped = isinstance(error, BaseORMException) and error.args
            cause = error.args[0] if wrapped else error
            refusal = self._refusal(cause)
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
                    f"the database {self.name} does not answer in the time allowed"
                ) from error
            except OSError as error:
                reason = error.strerror or str(error)
                raise StoreError(
                    f"the database {self.name} can not be reached: {reason}"
                ) from error

    def _refusal(self, cause: Exception) -> StoreError | None:
        """Return what a driver's error means; None if its user did something wrong."""
        if isinstance(cause, asyncpg.NumericValueOutOfRangeError):
            kind: type[StoreError] = NumberTooLarge
        elif isinstance(
            cause, IntegrityError | asyncpg.IntegrityConstraintViolationError | asyncpg.DataError
        ) or (isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError)):
            return None
        elif isinstance(cause, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
            kind = StoreBusy
        else:
            kind = StoreError
        reason = "; ".join(line.strip() for line in str(cause).splitlines())
        return kind(f"the database {self.name} refused: {reason}")

    async def tidy(self, client: BaseDBAsyncClient, tables: Sequence[str]) -> None:
        """Have the server vacuum and analyse the tables, outside of any transaction."""
        with self.calls():
            async with _client(client).acquire_connection() as connection:
                await connection.execute(f"VACUUM (ANALYZE) {', '.join(tables)}", timeout=None)

    async def has_table(self, connection: Connection, table: str) -> bool:
        """Look where an unqualified name would be found."""
        (row,) = await connection.fetch("SELECT to_regclass(?) IS NOT NULL AS found", [table])
        return bool(row["found"])

    async def change_mark(self, reader: Connection) -> None:
        """Tell nothing. Notifications could, but the server lets one commit with any in at a time.

        For a queue, whose messages are sent and deleted hundreds of times a second, that costs
        more than to look.
        """

    def sql(self, statement: str) -> str:
        """Return a statement in the form of this engine."""
        statement = _own_form(statement)
        if self._clock is None:
            return statement
        return statement.replace(NOW_MS, f"CAST({self._clock.ms} AS BIGINT)")


class PostgresConnection(AsyncpgDBClient, Connection):
    """Connections outside of transactions."""

    def __init__(self, engine: PostgresEngine, connection_name: str) -> None:
        super().__init__(connection_name=connection_name)
        self.engine = engine

    @property
    def pool(self) -> Any:
        """The driver's pool."""
        if self._pool is None:
            raise asyncpg.InterfaceError("it is closed")
        return self._pool

    async def create_connection(self, with_db: bool) -> None:  # noqa: ARG002, FBT001 - the ORM's
        """Open the pool."""
        settings = {
            # Tells who does what in the server's views, by the process id that workers' names have.
            "application_name": f"prover:{os.getpid()}",
            "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS}s",
        }
        if self.connection_name == READER:
            settings["default_transaction_read_only"] = "on"
        self._pool = await asyncpg.create_pool(
            self.engine.url,
            min_size=1,
            max_size=MAX_CONNECTIONS[self.connection_name],
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings=settings,
            reset=_keep_as_it_is,
        )
        await self._post_connect()

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        pool = self.pool
        with self.engine.calls():
            connection = await pool.acquire()
        try:
            yield connection
        finally:
            await pool.release(connection)

    def acquire_connection(self) -> Any:
        """Lend a connection of the pool."""
        return self._acquired()

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows."""
        with self.engine.calls():
            async with self.acquire_connection() as connection:
                rows: Sequence[Row] = await connection.fetch(self.engine.sql(statement), *values)
                return rows

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values, all or none of them."""
        with self.engine.calls():
            async with self.acquire_connection() as connection:
                await connection.executemany(self.engine.sql(statement), rows)

    async def copy(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Send the rows with COPY."""
        with self.engine.calls():
            async with self.acquire_connection() as connection:
                await connection.copy_records_to_table(table, columns=columns, records=rows)

    async def lock(self, name: str) -> None:
        """Take a lock of the server's that has no rows."""
        await self.fetch(
            "SELECT pg_advisory_xact_lock(?, ?)", [LOCK_SPACE, crc32(name.encode()) & 0x7FFFFFFF]
        )


class PostgresTransaction(TransactionWrapper, PostgresConnection):
    """A connection inside of a transaction."""

    def __init__(self, parent: PostgresConnection, connection: Any) -> None:
        super().__init__(parent)
        self.engine = parent.engine
        self._connection = connection


client_class = PostgresConnection
"""Where the ORM looks for it."""


def public_name(url: str) -> str:
    """Return what may be said of a URL: not its user, its password or its options."""
    parts = urlsplit(url)
    where = f" on {parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    return f"{unquote(parts.path).strip('/') or '(default)'}{where}"


def _client(client: BaseDBAsyncClient) -> PostgresConnection:
    if not isinstance(client, PostgresConnection):
        raise TypeError(f"{type(client).__name__} is no connection of this engine")
    return client


async def _keep_as_it_is(connection: object) -> None:
    """Save the statement that undoes changes of a session: ours are as when they were opened."""


@lru_cache(KEPT_STATEMENTS)
def _own_form(statement: str) -> str:
    statement = ROWS.sub("json_to_recordset(CAST(? AS json)) AS ", statement)
    first, *others = statement.replace("NOW_MS", NOW_MS).split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(others, 1))
