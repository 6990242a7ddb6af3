"""An SQLite file that somebody else writes to for long, and a disk that hangs."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.database.sqlite import CLOSE_SECONDS, SqliteConnection
from prover_framework.errors import StoreError

CALL_SECONDS = 1.0
BOUNDS = Bounds(CALL_SECONDS)
SLACK_SECONDS = 20.0

WRITE = "INSERT INTO event (kind, group_id, created_at) VALUES ('k', 'g', 1)"
COUNT = "SELECT COUNT(*) FROM event"

# Longer than a start takes on a busy machine.
PATIENCE_SECONDS = 60.0

ENDS_WHILE_ITS_DISK_HANGS = """
import asyncio, sys, threading
from prover_framework.errors import StoreError
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds

async def main():
    async with Database(sys.argv[1], bounds=Bounds(0.5)) as database:
        await database._writer._connection.create_function("hang", 0, threading.Event().wait)
        try:
            await database.write("SELECT hang()")
        except StoreError as error:
            print(error)

asyncio.run(main())
"""


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> Path:
    path = tmp_path / "prover.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    return path


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert took < seconds + SLACK_SECONDS, f"it took {took:.1f} s"


async def refused(call: Awaitable[object]) -> None:
    with within(CALL_SECONDS), pytest.raises(StoreError):
        await call


async def in_a_transaction(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.fetch(WRITE)


async def test_who_waits_for_another_writer_waits_for_the_time_of_a_call(path: Path) -> None:
    # Nobody knows what became of the one that was under way; the others were not written later.
    async with Database(path, bounds=BOUNDS) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            # All at once: who waits for those before does not wait longer.
            calls = [database.write(WRITE) for _ in range(10)]
            calls += [database.beat(WRITE)]
            waiting = [refused(call) for call in calls]
            waiting += [refused(in_a_transaction(database)) for _ in range(10)]
            await asyncio.gather(*waiting)
            assert await database.read(COUNT)
            other.execute("COMMIT")
        await in_a_transaction(database)
        await database.beat(WRITE)
        ((count,),) = await database.read(COUNT)
        assert (int(count)) in (2, 3)


async def test_a_thread_that_hangs_holds_up_neither_heartbeats_nor_the_end(path: Path) -> None:
    # For good: the thread is left behind, as it would be in a process that ends.
    disk = threading.Event()

    with within(4 * CALL_SECONDS + CLOSE_SECONDS):
        async with Database(path, bounds=BOUNDS) as database:
            writer = database._writer
            assert isinstance(writer, SqliteConnection)
            assert writer._connection
            await writer._connection.create_function("hang", 0, disk.wait)
            await refused(database.write("SELECT hang()"))
            await asyncio.gather(*(refused(database.write(WRITE)) for _ in range(5)))
            await refused(in_a_transaction(database))
            with within(0):
                await database.beat(WRITE)
                await database.read(COUNT)


async def test_what_waits_for_a_file_ends_when_it_is_given_up(path: Path) -> None:
    with within(2 * CLOSE_SECONDS):
        async with Database(path, bounds=Bounds(600)) as database:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                calls: list[asyncio.Task[object]] = [
                    asyncio.create_task(call)
                    for call in (
                        database.write(WRITE),
                        database.beat(WRITE),
                        in_a_transaction(database),
                    )
                ]
                await asyncio.wait(calls, timeout=0.1)
                database.give_up()
                for call in calls:
                    await refused(call)
                await refused(database.read(COUNT))


def test_a_process_ends_while_its_disk_hangs(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS_WHILE_ITS_DISK_HANGS, str(path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "does not answer within 0.5 s" in done.stdout
