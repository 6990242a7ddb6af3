"""The embedded engine: a file of SQLite, synchronised fully, one writer at a time."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper
from tortoise.exceptions import IntegrityError, OperationalError

from prover_framework.errors import NumberTooLarge, StoreError
from prover_framework.store.engine import (
    APP,
    MIGRATIONS,
    MODELS,
    Clock,
    Connection,
    Row,
)

WRITER = "sqlite"
READER = "sqlite_reader"

# SQLite has one writer at a time. An import of eight months of headers holds it for some
# seconds, and whoever else wants to write should wait for that rather than fail.
BUSY_MILLISECONDS = 60_000

# 2440587.5 is the Julian day of the Unix epoch.
NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

# Statements that are kept in the form of this engine: more than the code has.
KEPT_STATEMENTS = 512

ROW_LOCK = re.compile(r"\bFOR UPDATE( SKIP LOCKED)?")
ANY_OF = re.compile(r"= ANY\(\?\)")
ROWS = re.compile(r"\bROWS\(\?\) AS (\w+)\(([^)]*)\)")


class SqliteEngine:
    """See `prover_framework.store.engine.Engine`."""

    writer_name = WRITER
    reader_name = READER
    embedded = True

    def __init__(self, path: Path, clock: Clock | None) -> None:
        self.path = path
        self.name = str(path)
        self._clock = clock

    def config(self) -> dict[str, Any]:
        """Return the ORM's configuration for the file."""
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
                    "engine": __name__,
                    "credentials": {"file_path": str(self.path), "engine": self, **pragmas, **more},
                }
                for name, more in ((WRITER, {}), (READER, {"query_only": "ON"}))
            },
            "apps": {
                APP: {"models": [MODELS], "migrations": MIGRATIONS, "default_connection": WRITER}
            },
        }

    async def connect(self, clients: Sequence[BaseDBAsyncClient]) -> None:
        """Open the file, and make it and its directory where there is none."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the data directory {self.path.parent} can not be made: {error.strerror}"
            ) from None
        with self.refusals():
            # A file that can not be opened would leave the ORM's thread behind.
            sqlite3.connect(self.path).close()
            # The ORM connects at the first use and never lets go of its lock when that fails.
            for client in clients:
                await client.create_connection(with_db=True)

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
        async with parent._lock:  # noqa: SLF001 - the ORM's own lock on its connection
            transaction = SqliteTransaction(parent)
            connection = transaction._connection  # noqa: SLF001 - as above
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

    async def tidy(self, client: BaseDBAsyncClient, tables: Sequence[str]) -> None:
        """Do nothing: the plans of our statements do not depend on statistics."""

    async def has_table(self, connection: Connection, table: str) -> bool:
        """Look into the schema."""
        return bool(
            await connection.fetch(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [table]
            )
        )

    async def change_mark(self, reader: Connection) -> int:
        """Return the number that SQLite keeps of commits by other connections than this."""
        (row,) = await reader.fetch("PRAGMA data_version")
        return int(row["data_version"])

    def sql(self, statement: str) -> str:
        """Return a statement in the form of this engine."""
        statement = _own_form(statement)
        now = NOW_MS if self._clock is None else str(self._clock.ms)
        return statement.replace("NOW_MS", now)


class SqliteConnection(SqliteClient, Connection):
    """A connection outside of transactions."""

    def __init__(self, file_path: str, engine: SqliteEngine, **pragmas: Any) -> None:
        super().__init__(file_path, **pragmas)
        self.engine = engine

    async def fetch(self, statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        """Run a statement and return its rows."""
        with self.engine.refusals():
            async with self.acquire_connection() as connection:
                rows: Sequence[Row] = await connection.execute_fetchall(
                    self.engine.sql(statement), _values(values)
                )
                return rows

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

    async def execute_script(self, query: str) -> None:
        """Run a script of one statement: the driver would commit before it ran a longer one."""
        await self.execute_query(query)


client_class = SqliteConnection
"""Where the ORM looks for it."""


def _client(client: BaseDBAsyncClient) -> SqliteConnection:
    if not isinstance(client, SqliteConnection):
        raise TypeError(f"{type(client).__name__} is no connection of this engine")
    return client


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
