"""The embedded engine: a file of SQLite, synchronised fully, one writer at a time."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import aiosqlite
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper
from tortoise.exceptions import IntegrityError, OperationalError

from prover_framework.database.engine import (
    APP,
    MIGRATIONS,
    MODELS,
    Bounds,
    Clock,
    Connection,
    LaneUse,
    Row,
)
from prover_framework.errors import NumberTooLarge, StoreError
from prover_framework.files import make_private_directory

WRITER = "sqlite"
READER = "sqlite_reader"
HEARTBEAT = "sqlite_heartbeat"

# How often a file that others have locked is tried again when it is opened; they need milliseconds.
LOCKED_SECONDS = 0.01

# Who waits for the write lock of SQLite does not stand in a line but looks again and again, for the
# first tenth of a second after at most this time.
TURN_SECONDS = 0.025

# A thread that hangs in the file system is left behind when the process ends.
CLOSE_SECONDS = 1.0

# 2440587.5 is the Julian day of the Unix epoch.
NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

# Statements that are kept in the form of this engine: more than the code has.
KEPT_STATEMENTS = 512

ROW_LOCK = re.compile(r"\bFOR (NO KEY )?UPDATE( SKIP LOCKED)?")
ANY_OF = re.compile(r"= ANY\(\?\)")
ROWS = re.compile(r"\bROWS\(\?\) AS (\w+)\(([^)]*)\)")


class SqliteEngine:
    """See `prover_framework.database.engine.Engine`."""

    writer_name = WRITER
    reader_name = READER
    heartbeat_name = HEARTBEAT
    turn_seconds = TURN_SECONDS
    embedded = True

    def __init__(self, path: Path, clock: Clock | None, bounds: Bounds) -> None:
        self.path = path
        self.name = str(path)
        self.bounds = bounds
        self._clock = clock
        # The calls that are under way, and whether anybody waits for more.
        self._calls: set[asyncio.Timeout] = set()
        self._given_up = False

    def config(self) -> dict[str, Any]:
        """Return the ORM's configuration for the file."""
        pragmas = {
            "busy_timeout": round(self.bounds.statement_seconds * 1000),
            # An accepted job survives a power cut, not only a crash.
            "synchronous": "FULL",
            "foreign_keys": "ON",
        }
        return {
            "connections": {
                name: {
                    "engine": __name__,
                    "credentials": {"file_path": str(self.path), "engine": self, **pragmas, **more},
                }
                for name, more in ((WRITER, {}), (READER, {"query_only": "ON"}), (HEARTBEAT, {}))
            },
            "apps": {
                APP: {"models": [MODELS], "migrations": MIGRATIONS, "default_connection": WRITER}
            },
        }

    async def connect(self, clients: Sequence[BaseDBAsyncClient]) -> None:
        """Open the file, and make it and its directory where there is none."""
        try:
            make_private_directory(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"the data directory {self.path.parent} cannot be made: {error.strerror}"
            ) from None
        with self.refusals():
            # A file that cannot be opened would leave the ORM's thread behind.
            await self._prepare_file()
            # The ORM connects at the first use and never lets go of its lock when that fails.
            for client in clients:
                async with self.limited():
                    await client.create_connection(with_db=True)

    async def _prepare_file(self) -> None:
        """Make the file if there is none, and have it keep a write-ahead log from now on.

        Several processes may do so to a new file at once. Whoever comes while another switches is
        refused at once, however long it would wait: SQLite takes that for a deadlock.
        """
        async with self.limited():
            while not self._keeps_log():  # noqa: ASYNC110 - SQLite tells nobody
                await asyncio.sleep(LOCKED_SECONDS)

    def _keeps_log(self) -> bool:
        """Switch the file to a write-ahead log; return False if it is locked at the moment."""
        # SQLite gives the files beside it the same mode; by itself it would let others read them.
        # What cannot be made it says in its own words.
        with suppress(OSError):
            self.path.touch(mode=0o600, exist_ok=False)
        try:
            with closing(sqlite3.connect(self.path, timeout=0)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # The low byte is the kind of the error, whatever the cause of it.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def reader(self, client: BaseDBAsyncClient) -> Connection:
        """Return the connection that only reads."""
        return _client(client)

    async def write(
        self, client: BaseDBAsyncClient, statement: str, values: Sequence[object]
    ) -> Sequence[Row]:
        """Run one statement, which takes the write lock when it begins."""
        return await _client(client).fetch(statement, values)

    @asynccontextmanager
    async def transaction(self, client: BaseDBAsyncClient) -> AsyncIterator[Connection]:
        """Take the write lock and run the body.

        A plain ``BEGIN`` that reads first and then writes fails at once, whatever the busy
        timeout, if another process wrote in between.
        """
        parent = _client(client)
        lock = parent._lock  # noqa: SLF001 - the ORM's own lock on its connection
        async with AsyncExitStack() as stack:
            async with self.limited():
                await stack.enter_async_context(lock)
            transaction = SqliteTransaction(parent)
            connection = transaction._connection  # noqa: SLF001 - as above
            try:
                async with self.limited():
                    await connection.execute("BEGIN IMMEDIATE")
                yield transaction
                async with self.limited():
                    await connection.commit()
            except BaseException:
                # Statements run one after the other in a thread of their own, and one that
                # is cancelled here runs there all the same. Whatever is under way, BEGIN and
                # COMMIT too, this comes after it, and before what the next one sends. It is sent
                # in any case, and waited for in vain where the thread hangs.
                with suppress(sqlite3.Error, TimeoutError):
                    async with asyncio.timeout(0 if self._given_up else self.bounds.call_seconds):
                        await connection.rollback()
                raise

    def limited(self) -> AbstractAsyncContextManager[None]:
        """Give the body, a call, up when it takes too long.

        Raises:
            StoreError: It did.
        """
        return _Call(self)

    async def begin_call(self) -> asyncio.Timeout:
        """Begin to limit a call; `end_call` has to follow."""
        call = asyncio.timeout(0 if self._given_up else self.bounds.call_seconds)
        await call.__aenter__()
        self._calls.add(call)
        return call

    async def end_call(self, call: asyncio.Timeout, error: BaseException | None) -> None:
        """Limit a call no longer.

        Raises:
            StoreError: It has taken too long.
        """
        self._calls.discard(call)
        try:
            await call.__aexit__(None if error is None else type(error), error, None)
        except TimeoutError as late:
            raise self.too_late() from late
        if isinstance(error, TimeoutError):
            raise self.too_late() from error

    def too_late(self) -> StoreError:
        """Return the error of a call that has taken too long."""
        if self._given_up:
            return StoreError(
                f"the database {self.name} cannot be used: this process ends and waits for "
                "it no longer"
            )
        return StoreError(
            f"the database {self.name} does not answer within {self.bounds.call_seconds:g} s: "
            "another process writes for long, or the disk hangs"
        )

    def use(self) -> tuple[LaneUse, ...]:
        """Return nothing: each connection is one for itself."""
        return ()

    def give_up(self) -> None:
        """End all calls."""
        self._given_up = True
        now = asyncio.get_running_loop().time()
        for call in self._calls:
            call.reschedule(now)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Tell what the database itself is to blame for from what its user did wrong."""
        try:
            yield
        except (IntegrityError, sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except (OperationalError, sqlite3.DatabaseError) as error:
            kind = NumberTooLarge if "integer overflow" in str(error) else StoreError
            raise kind(f"the database {self.name} refused: {error}") from error

    async def analyze(self, client: BaseDBAsyncClient, tables: Sequence[str]) -> None:
        """Do nothing: the plans of our statements do not depend on statistics."""

    async def has_table(self, connection: Connection, table: str) -> bool:
        """Look into the schema."""
        return bool(
            await connection.fetch(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [table]
            )
        )

    @property
    def log_file(self) -> Path:
        """The file of the write-ahead log."""
        return self.path.with_name(f"{self.path.name}-wal")

    def sql(self, statement: str) -> str:
        """Return a statement in the form of this engine."""
        statement = _own_form(statement)
        now = NOW_MS if self._clock is None else str(self._clock.ms)
        return statement.replace("NOW_MS", now)


class _Call(AbstractAsyncContextManager[None]):
    """See `SqliteEngine.limited`. Each statement is one: a generator would cost as much as it."""

    __slots__ = ("_engine", "_limit")

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine

    async def __aenter__(self) -> None:
        self._limit = await self._engine.begin_call()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._engine.end_call(self._limit, exc)


class SqliteConnection(SqliteClient, Connection):
    """A connection outside of transactions."""

    def __init__(self, file_path: str, engine: SqliteEngine, **pragmas: Any) -> None:
        super().__init__(file_path, **pragmas)
        self.engine = engine

    async def create_connection(self, with_db: bool) -> None:  # noqa: ARG002, FBT001 - the ORM's
        """Open the file."""
        connection = aiosqlite.connect(self.filename, isolation_level=None)
        # Else a thread that hangs in the file system would keep the interpreter from ending. (It
        # was the connection itself up to version 0.21 of the driver.)
        thread: Any = getattr(connection, "_thread", connection)
        thread.daemon = True
        self._connection = await connection
        self._connection.row_factory = sqlite3.Row
        for pragma, value in self.pragmas.items():
            await self._connection.execute_fetchall(f"PRAGMA {pragma}={value}")
        await self._post_connect()

    async def close(self) -> None:
        """Close the file, unless the thread hangs."""
        closing = asyncio.create_task(super().close())
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
        while not closing.done():
            # The driver waits a second time when it is told to wait no longer.
            closing.cancel()
            await asyncio.wait({closing}, timeout=0)
        if not closing.cancelled():
            closing.result()

    def acquire_connection(self) -> Any:
        """Lend the connection for one call."""
        return self._acquired()

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        async with self.engine.limited(), self._lock:
            yield self._connection

    async def execute_many(self, query: str, values: list[list[Any]]) -> None:
        """Run a statement once for each row of values, all or none of them."""
        async with self.engine.transaction(self) as transaction:
            await transaction.execute_many(query, values)

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows."""
        with self.engine.refusals():
            async with self.engine.limited(), self._lock:
                connection = cast(aiosqlite.Connection, self._connection)
                return await _fetch(connection, self.engine.sql(statement), _values(values))

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""
        with self.engine.refusals():
            await self.execute_many(self.engine.sql(statement), list(map(list, rows)))

    async def copy(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Insert the rows with one prepared statement."""
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        with self.engine.refusals():
            async with self.acquire_connection() as connection:
                await connection.executemany(statement, rows)

    async def lock(self, name: str) -> None:
        """Do nothing: a transaction has the whole database to itself."""


class SqliteTransaction(SqliteTransactionWrapper, SqliteConnection):
    """A connection inside of a transaction."""

    def __init__(self, parent: SqliteConnection) -> None:
        super().__init__(parent)
        self.engine = parent.engine

    def acquire_connection(self) -> Any:
        """Lend its connection for one call."""
        return self._acquired()

    async def execute_script(self, query: str) -> None:
        """Run a script of one statement: the driver would commit before it ran a longer one."""
        await self.execute_query(query)


client_class = SqliteConnection
"""Where the ORM looks for it."""


def _client(client: BaseDBAsyncClient) -> SqliteConnection:
    if not isinstance(client, SqliteConnection):
        raise TypeError(f"{type(client).__name__} is no connection of this engine")
    return client


async def _fetch(
    connection: aiosqlite.Connection, statement: str, values: Sequence[object]
) -> Sequence[Row]:
    """Run a statement in the connection's thread; not any more if nobody waits for it by then.

    One that hangs there holds up those behind it, which are given up in the meantime.
    """
    wanted = True

    def run() -> Sequence[Row]:
        if not wanted:
            return []
        raw: sqlite3.Connection = connection._conn  # noqa: SLF001 - it runs in the driver's thread
        return raw.execute(statement, values).fetchall()

    # The driver's way into the thread.
    in_thread: Callable[..., Awaitable[Sequence[Row]]] = connection._execute  # noqa: SLF001
    try:
        return await in_thread(run)
    except asyncio.CancelledError:
        wanted = False
        raise


def _values(values: Sequence[object]) -> Sequence[object]:
    return [json.dumps(value) if isinstance(value, list) else value for value in values]


@lru_cache(KEPT_STATEMENTS)
def _own_form(statement: str) -> str:
    statement = ROW_LOCK.sub("", statement)
    statement = ANY_OF.sub("IN (SELECT value FROM json_each(?))", statement)
    return ROWS.sub(_rows, statement)


def _rows(match: re.Match[str]) -> str:
    name, columns = match.groups()
    names = [column.split()[0] for column in columns.split(",")]
    fields = ", ".join(f"json_extract(value, '$.{field}') AS {field}" for field in names)
    return f"(SELECT {fields} FROM json_each(?)) AS {name}"  # noqa: S608 - of our statements
