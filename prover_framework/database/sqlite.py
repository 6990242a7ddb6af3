"""The embedded engine: a file of SQLite, synchronised fully, one writer at a time."""

import asyncio
import json
import re
import sqlite3
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import copy_context
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import aiosqlite

from prover_framework.database.engine import Body, Bounds, Clock, Connection, LaneUse, Row
from prover_framework.database.turns import WriteTurns
from prover_framework.errors import NumberTooLarge, StoreError
from prover_framework.files import make_private_directory

T = TypeVar("T")

WRITER = "sqlite"
READER = "sqlite_reader"
HEARTBEAT = "sqlite_heartbeat"

# What is left of the write-ahead log once all of it is in the file.
LOG_BYTES = 16_384

# How often a file that others have locked is tried again when it is opened; they need milliseconds.
LOCKED_SECONDS = 0.01

# Who waits for the write lock of SQLite does not stand in a line but looks again and again, for the
# first tenth of a second after at most this time.
TURN_SECONDS = 0.025

# Who has waited for the write lock will want it again soon, and then it should be free: after so
# many long transactions others get their turn whether they wait or not, for a second or two.
POLITE_TURNS = 40

# A thread that hangs in the file system is left behind when the process ends.
CLOSE_SECONDS = 1.0

# 2440587.5 is the Julian day of the Unix epoch.
NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

# Values that one statement inserts. Any build of SQLite takes 999, and more of them gain nothing.
INSERTED_VALUES = 400

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
    embedded = True
    one_writer = True

    def __init__(self, path: Path, clock: Clock | None, bounds: Bounds) -> None:
        self.path = self.where = path
        self.name = str(path)
        self.bounds = bounds
        self._clock = clock
        # The calls that are under way, and whether anybody waits for more.
        self._calls: set[asyncio.Timeout] = set()
        self._given_up = False
        self._opened: list[SqliteConnection] = []
        # After how many of the next long transactions others get their turn in any case.
        self._polite_turns = 0

    async def connect(self) -> dict[str, Connection]:
        """Open the file, and make it and its directory where there is none."""
        try:
            make_private_directory(self.path.parent)
        except OSError as error:
            raise StoreError(
                f"the data directory {self.path.parent} cannot be made: {error.strerror}"
            ) from None
        with self.refusals():
            # A file that cannot be opened would leave the driver's thread behind.
            await self._prepare_file()
            named: dict[str, Connection] = {}
            for name in (WRITER, READER, HEARTBEAT):
                named[name] = connection = SqliteConnection(self, query_only=name == READER)
                self._opened.append(connection)
                async with self.limited():
                    await connection.open()
        return named

    async def close(self) -> None:
        """Close all connections: one that stays open keeps the interpreter from ending."""
        while self._opened:
            await self._opened.pop().close()

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

    async def write(
        self, client: Connection, statement: str, values: Sequence[object]
    ) -> Sequence[Row]:
        """Run one statement, which takes the write lock when it begins."""
        return await _client(client).write(statement, values)

    @asynccontextmanager
    async def transaction(self, client: Connection) -> AsyncIterator[Connection]:
        """Take the write lock and run the body.

        A plain ``BEGIN`` that reads first and then writes fails at once, whatever the busy
        timeout, if another process wrote in between.
        """
        parent = _client(client)
        lock = parent._lock  # noqa: SLF001 - the engine's own lock on its connection
        async with AsyncExitStack() as stack:
            async with self.limited():
                await stack.enter_async_context(lock)
            transaction = SqliteTransaction(self, parent.raw)
            connection = parent.raw
            try:
                async with self.limited():
                    await _in_thread(connection, lambda raw, _: parent.wait_and_begin(raw))
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

    async def let_others_write(self, client: Connection) -> bool:
        """Rest if others wait for the write lock, or have done so lately, or if none can tell."""
        own = _client(client)
        async with self.limited():
            # In its thread, since the file system may hang.
            waiting = await _in_thread(own.raw, lambda *_: own.turns.is_anybody_waiting())
        if waiting:
            self._polite_turns = POLITE_TURNS
        elif waiting is not None and not self._polite_turns:
            return False
        else:
            self._polite_turns = max(self._polite_turns - 1, 0)
        await asyncio.sleep(TURN_SECONDS)
        return True

    async def transact(self, client: Connection, body: Body[T]) -> T:
        """Run a body as one call of the connection's thread, from BEGIN to COMMIT.

        Each statement by itself would go there and come back, which costs as much as the statement.
        One whose caller waits no longer is rolled back, unless it is being committed.
        """
        parent = _client(client)
        context = copy_context()

        def run(raw: sqlite3.Connection, is_wanted: Callable[[], bool]) -> T:
            parent.wait_and_begin(raw)
            try:
                done = context.run(_completed, body(_Statements(raw, self)))
                _require_wanted(is_wanted)
                raw.commit()
            except BaseException:
                # A commit that the disk refuses has left the transaction open.
                with suppress(sqlite3.Error):
                    raw.rollback()
                raise
            return done

        async with self.limited(), parent._lock:  # noqa: SLF001 - the engine's own lock
            return await _in_thread(parent.raw, run)

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
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            kind = NumberTooLarge if "integer overflow" in str(error) else StoreError
            raise kind(f"the database {self.name} refused: {error}") from error

    async def analyze(self, client: Connection, tables: Sequence[str]) -> None:
        """Do nothing: the plans of our statements do not depend on statistics."""

    async def apply_migrations(self, transaction: Connection) -> None:
        """Have the ORM apply all migrations that the schema lacks."""
        # Imported where it is used: nothing else needs the ORM, which takes as long as the rest.
        from prover_framework.database import orm
        from prover_framework.database.sqlite_orm import OrmSqlite

        if not isinstance(transaction, SqliteTransaction):
            raise TypeError("migrations are applied in a transaction")
        await orm.migrate(OrmSqlite(transaction.raw, transaction.lend))

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


class SqliteConnection(Connection):
    """A connection outside of transactions.

    Args:
        engine: Its engine.
        query_only: Whether it refuses to write.
    """

    def __init__(self, engine: SqliteEngine, *, query_only: bool = False) -> None:
        self.engine = engine
        self._query_only = query_only
        self._connection: aiosqlite.Connection | None = None
        self._lock = asyncio.Lock()
        self.turns = WriteTurns(engine.log_file)

    @property
    def raw(self) -> aiosqlite.Connection:
        """The driver's connection."""
        return cast(aiosqlite.Connection, self._connection)

    async def open(self) -> None:
        """Open the file."""
        connection = aiosqlite.connect(self.engine.path, isolation_level=None)
        # Else a thread that hangs in the file system would keep the interpreter from ending. (It
        # was the connection itself up to version 0.21 of the driver.)
        thread: Any = getattr(connection, "_thread", connection)
        thread.daemon = True
        self._connection = await connection
        self._connection.row_factory = sqlite3.Row
        for pragma, value in self._pragmas():
            await self._connection.execute_fetchall(f"PRAGMA {pragma}={value}")
        # Whoever has read something keeps the log open.
        await self._connection.execute_fetchall("SELECT 1 FROM sqlite_master LIMIT 1")
        self.turns.open()

    def _pragmas(self) -> Iterator[tuple[str, object]]:
        yield "busy_timeout", round(self.engine.bounds.statement_seconds * 1000)
        # An accepted job survives a power cut, not only a crash.
        yield "synchronous", "FULL"
        yield "foreign_keys", "ON"
        if self._query_only:
            yield "query_only", "ON"
        yield "journal_mode", "WAL"
        yield "journal_size_limit", LOG_BYTES

    async def close(self) -> None:
        """Close the file, unless the thread hangs."""
        if self._connection is None:
            return
        closing = asyncio.create_task(self._connection.close())
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
        while not closing.done():
            # The driver waits a second time when it is told to wait no longer.
            closing.cancel()
            await asyncio.wait({closing}, timeout=0)
        self.turns.close()
        if not closing.cancelled():
            closing.result()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[aiosqlite.Connection]:
        """Lend the driver's connection for one call."""
        async with self.engine.limited(), self._lock:
            yield self.raw

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows."""
        with self.engine.refusals():
            async with self.engine.limited(), self._lock:
                return await _fetch(self.raw, self.engine.sql(statement), _values(values))

    async def write(self, statement: str, values: Sequence[object]) -> Sequence[Row]:
        """Run a statement that waits for the write lock, and return its rows."""
        with self.engine.refusals():
            async with self.engine.limited(), self._lock:
                sql = self.engine.sql(statement)
                return await _fetch(self.raw, sql, _values(values), self.turns)

    def wait_and_begin(self, raw: sqlite3.Connection) -> None:
        """Wait for the write lock and begin a transaction, in the connection's thread."""
        with self.turns.waiting():
            raw.execute("BEGIN IMMEDIATE")

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values, all or none of them."""
        with self.engine.refusals():
            await self.run_in_transaction(self.engine.sql(statement), rows)

    async def run_in_transaction(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement in the form of this engine once for each row of values."""
        async with self.engine.transaction(self) as transaction:
            await _client(transaction).run_in_transaction(sql, rows)

    async def copy(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """Insert many rows with each statement: to begin one costs more than to insert a row."""
        width = len(columns)
        at_once = max(INSERTED_VALUES // width, 1)
        values = list(chain.from_iterable(rows))
        whole = len(values) - len(values) % (at_once * width)
        insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608
        row = f"({', '.join('?' * width)})"

        def run(raw: sqlite3.Connection, _: Callable[[], bool]) -> None:
            if whole:
                step = at_once * width
                parts = [values[begin : begin + step] for begin in range(0, whole, step)]
                raw.executemany(insert + ", ".join([row] * at_once), parts)
            if rest := values[whole:]:
                raw.execute(insert + ", ".join([row] * (len(rest) // width)), rest)

        with self.engine.refusals():
            async with self.engine.limited(), self._lock:
                await _in_thread(self.raw, run)

    async def lock(self, name: str) -> None:
        """Do nothing: a transaction has the whole database to itself."""


class SqliteTransaction(SqliteConnection):
    """A connection inside of a transaction."""

    def __init__(self, engine: SqliteEngine, raw: aiosqlite.Connection) -> None:
        super().__init__(engine)
        self._connection = raw

    async def run_in_transaction(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement in the form of this engine once for each row of values."""
        async with self.lend() as connection:
            await connection.executemany(sql, rows)


def _client(client: Connection) -> SqliteConnection:
    if not isinstance(client, SqliteConnection):
        raise TypeError(f"{type(client).__name__} is no connection of this engine")
    return client


class _Unwanted(Exception):
    """Nobody waits any longer for what a thread is about to do."""


class _Statements:
    """Runs statements at once, in the connection's thread."""

    __slots__ = ("_engine", "_raw")

    def __init__(self, raw: sqlite3.Connection, engine: SqliteEngine) -> None:
        self._raw = raw
        self._engine = engine

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows."""
        return self._raw.execute(self._engine.sql(statement), _values(values)).fetchall()

    async def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""
        self._raw.executemany(self._engine.sql(statement), rows)


def _completed(body: Coroutine[Any, Any, T]) -> T:
    """Run what has nothing to wait for to its end, without an event loop."""
    try:
        body.send(None)
    except StopIteration as end:
        done: T = end.value
        return done
    body.close()
    raise RuntimeError("the body of a transaction waits for something else than its statements")


async def _fetch(
    connection: aiosqlite.Connection,
    statement: str,
    values: Sequence[object],
    turns: WriteTurns | None = None,
) -> Sequence[Row]:
    """Run a statement in the connection's thread.

    Args:
        connection: The connection.
        statement: In the form of this engine.
        values: Its values.
        turns: Told while it waits for the write lock; None for one that does not.
    """

    def run(raw: sqlite3.Connection, _: Callable[[], bool]) -> Sequence[Row]:
        with nullcontext() if turns is None else turns.waiting():
            return raw.execute(statement, values).fetchall()

    return await _in_thread(connection, run)


async def _in_thread(
    connection: aiosqlite.Connection,
    work: Callable[[sqlite3.Connection, Callable[[], bool]], T],
) -> T:
    """Do something in the connection's thread; not any more if nobody waits for it by then.

    What hangs there holds up what is behind it, which is given up in the meantime.

    Args:
        connection: The connection.
        work: What is done. It is given what tells whether anybody waits for it still.
    """
    wanted = True

    def is_wanted() -> bool:
        return wanted

    def run() -> T:
        _require_wanted(is_wanted)
        return work(connection._conn, is_wanted)  # noqa: SLF001 - it runs in the driver's thread

    # The driver's way into the thread.
    in_thread: Callable[..., Awaitable[T]] = connection._execute  # noqa: SLF001
    try:
        return await in_thread(run)
    except asyncio.CancelledError:
        wanted = False
        raise


def _require_wanted(is_wanted: Callable[[], bool]) -> None:
    if not is_wanted():
        raise _Unwanted


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
