"""Where the service is measured: on which database and queue, and what is read of them meanwhile.

The same work is given to each checkout through what both have: commands, HTTP, and the database.
"""

import asyncio
import os
import sqlite3
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from attrs import define, field, frozen
from checkouts import Checkout, baseline, this
from load import header_file
from localstack_server import localstack_server
from postgres_server import PostgresServer, postgres_server
from processes import CpuTime, cpu_time, run
from sqs_server import aws_environment

from prover_framework.queues.sqs.admin import create_queue
from prover_framework.queues.sqs.client import open_client

# What a server for tests leaves out and one that is measured must not.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}

HOURS = 100 * 24

NONE = CpuTime(0, 0)

# Of the write-ahead log of SQLite: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
WAL_HEADER = struct.Struct(">4sIIIIIII")
FRAME_HEADER = struct.Struct(">IIIIII")


class Engine(Enum):
    """A database and a queue; the value says how durably a result is stored there."""

    SQLITE = "SQLite, full sync"
    POSTGRES = "PostgreSQL, fsync on"
    SQS = "PostgreSQL, fsync on; SQS in memory"


class Reader:
    """A connection beside the service's, to read what it has stored."""

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Return the rows that a query finds."""
        raise NotImplementedError

    def commits(self) -> int:
        """Return the number of transactions that wrote something, from some beginning on."""
        raise NotImplementedError

    def columns(self, table: str) -> Collection[str]:
        """Return the names of a table's columns."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    def number(self, query: str) -> int:
        """Return the one number that a query finds."""
        ((found,),) = self.rows(query)
        return int(found)


@define
class SqliteReader(Reader):
    """Reads a file of SQLite.

    Args:
        file: The file, in WAL mode.
        writes: Whether to write, too.
    """

    file: Path
    writes: bool = False
    _connection: sqlite3.Connection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = sqlite3.connect(
            f"file:{self.file}?mode={'rw' if self.writes else 'ro'}",
            uri=True,
            isolation_level=None,
        )

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Return the rows that a query finds."""
        return self._connection.execute(query).fetchall()

    def commits(self) -> int:
        """Count the frames of the log that end a transaction: those that say the file's size.

        Frames of an earlier use of the log have other salts. What a checkpoint has let go of is
        not counted, so that this is for short times at rest.
        """
        log = Path(f"{self.file}-wal").read_bytes()
        if not log:
            return 0
        _, _, page_bytes, _, salt, salt2, *_ = WAL_HEADER.unpack_from(log)
        ends = 0
        for start in range(WAL_HEADER.size, len(log), FRAME_HEADER.size + page_bytes):
            _, size, first, second, *_ = FRAME_HEADER.unpack_from(log, start)
            if (first, second) != (salt, salt2):
                break
            ends += size > 0
        return ends

    def columns(self, table: str) -> Collection[str]:
        """Return the names of a table's columns."""
        return {row[1] for row in self.rows(f"PRAGMA table_info({table})")}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@define
class PostgresReader(Reader):
    """Reads a database of PostgreSQL.

    Args:
        url: The database.
    """

    url: str
    _runner: asyncio.Runner = field(factory=asyncio.Runner)
    _connection: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = self._runner.run(asyncpg.connect(self.url))

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """Return the rows that a query finds."""
        return [tuple(row) for row in self._runner.run(self._connection.fetch(query))]

    def commits(self) -> int:
        """Return the next transaction's number; transactions that only read have none."""
        return self.number("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")

    def columns(self, table: str) -> Collection[str]:
        """Return the names of a table's columns."""
        return {
            name
            for (name,) in self.rows(
                f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
            )
        }

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._connection.close())
        self._runner.close()


@frozen
class Place:
    """A database, and a queue where it has one of its own, for one checkout.

    Args:
        checkout: What runs on it.
        engine: What it is.
        environment: The variables that lead there.
        database: Its file or its URL.
        server: The process of the database's server, where it has one.
    """

    checkout: Checkout
    engine: Engine
    environment: Mapping[str, str]
    database: str
    server: psutil.Process | None = None

    @contextmanager
    def reader(self, *, writes: bool = False) -> Iterator[Reader]:
        """Open a connection to read with, or to fill tables with."""
        reader: Reader
        if self.server:
            reader = PostgresReader(self.database)
        else:
            file = Path(self.database.removeprefix("sqlite:///"))
            reader = SqliteReader(file, writes=writes)
        try:
            yield reader
        finally:
            reader.close()

    def server_time(self) -> float:
        """Return what the database's server has used so far, in seconds."""
        return (cpu_time(self.server) if self.server else NONE).all

    def run(self, arguments: Sequence[str | Path]) -> str:
        """Run a command of the checkout to its end and return what it printed."""
        return run(self.checkout, arguments, self.environment)

    def given(self, more: Mapping[str, str]) -> "Place":
        """Return the same place with further variables."""
        environment = {**self.environment, **more}
        return Place(self.checkout, self.engine, environment, self.database, self.server)


@define
class Stand:
    """What all benchmarks of a run share; servers start when they are first needed.

    Args:
        directory: For files of this run.
        resources: Closes what was opened.
        compare: Whether the baseline is measured, too.
    """

    directory: Path
    resources: ExitStack
    compare: bool = True
    _numbers: Iterator[int] = field(factory=count)

    @cached_property
    def checkouts(self) -> tuple[Checkout, ...]:
        """The states that are compared, this one last."""
        return (baseline(), this()) if self.compare else (this(),)

    @cached_property
    def postgres(self) -> PostgresServer:
        """A server of PostgreSQL that keeps what it has confirmed."""
        return self.resources.enter_context(postgres_server(DURABLE))

    @cached_property
    def sqs(self) -> str:
        """The address of an emulator of SQS; also this process is led there."""
        url = self.resources.enter_context(localstack_server()).url
        os.environ.update(aws_environment(url))
        return url

    @cached_property
    def hours(self) -> Path:
        """A file of headers: ninety days for each round, and ten for rounds to differ in."""
        return header_file(self.folder("hours"), HOURS)

    def folder(self, name: str) -> Path:
        """Make a new folder."""
        folder = self.directory / f"{name}-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def place(self, checkout: Checkout, engine: Engine) -> Place:
        """Make a database with the checkout's tables in it, and a queue if the engine has one."""
        folder = self.folder(f"{engine.name.lower()}-{checkout.name}")
        server, database = None, f"sqlite:///{folder}/prover.sqlite3"
        environment = {"PROVER_DATA_DIR": str(folder), "PROVER_LOG_LEVEL": "ERROR"}
        if engine is not Engine.SQLITE:
            database = self.postgres.create_database()
            assert self.postgres.process
            server = psutil.Process(self.postgres.process.pid)
        environment["DATABASE_URL"] = database
        if engine is Engine.SQS:
            environment["SQS_QUEUE_URL"] = self._queue(folder.name)
        place = Place(checkout, engine, environment, database, server)
        run(checkout, ["migrate"], environment)
        return place

    def _queue(self, name: str) -> str:
        assert self.sqs

        async def make() -> str:
            async with open_client(1) as client:
                return (await create_queue(client, name)).url

        return asyncio.run(make())
