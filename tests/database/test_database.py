"""Transactions that fail, are cancelled or meet other processes leave the database usable."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds, Row, Statements
from prover_framework.database.sqlite import SqliteConnection
from prover_framework.errors import StoreError

OPEN_AND_MIGRATE = """
import asyncio, sys
from pathlib import Path
from typing import Any
from prover_framework.database.database import Database

async def main():
    async with Database(Path(sys.argv[1])) as database:
        await database.migrate()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "prover.sqlite3"

    async def make() -> None:
        async with Database(path) as database:
            await database.migrate()

    asyncio.run(make())
    return path


@contextmanager
def somebody_writes(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("ROLLBACK")


NOTE = "INSERT INTO chain (chain_id, simulated, source) VALUES (1, TRUE, ?)"
COUNT = "SELECT COUNT(*) FROM chain"


async def note(database: Database, body: str, *, divisor: int = 1) -> None:
    async with database.transaction() as connection:
        await connection.fetch(NOTE, [body])
        assert 1 // divisor


async def break_a_reference(database: Database) -> None:
    async with database.transaction() as connection:
        # COMMIT finds what the statement was allowed to leave behind.
        await connection.fetch("PRAGMA defer_foreign_keys = ON")
        await connection.fetch(
            "INSERT INTO job (id, group_id, name, parameters, queue, state, "
            "sends, attempts, failures, losses, not_before, created_at) "
            "VALUES ('j', 'no group', 't', '', 'q', 's', 0, 0, 0, 0, 1, 1)"
        )


def noted(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as looking:
        return [row[0] for row in looking.execute("SELECT source FROM chain ORDER BY id")]


async def test_a_commit_is_on_the_disk_and_waits_its_turn(path: Path) -> None:
    # It gives up by itself before the call is given up, so that it is known what became of it.
    full, milliseconds = 2, 6000
    async with Database(path, bounds=Bounds(7.5)) as database:
        rows = [
            await database.write(f"PRAGMA {name}")
            for name in ("synchronous", "busy_timeout", "foreign_keys")
        ]
        assert ([int(next(iter(row[0]))) for row in rows]) == [full, milliseconds, 1]


async def test_an_exception_rolls_back(path: Path) -> None:
    async with Database(path) as database:
        with pytest.raises(ZeroDivisionError):
            await note(database, "no", divisor=0)
        await note(database, "yes")
    assert noted(path) == ["yes"]


NOTE = "INSERT INTO chain (chain_id, simulated, source) VALUES (1, TRUE, ?) RETURNING source"


async def note_at_once(database: Database, source: str, *, divisor: int = 1) -> str:
    async def body(connection: Statements) -> str:
        (row,) = await connection.fetch(NOTE, [source])
        await connection.run_many("UPDATE chain SET source = source WHERE id = ?", [[1], [2]])
        assert 1 // divisor
        return str(row["source"])

    return await database.transact(body)


async def test_a_body_is_done_in_one_call_of_the_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(path) as database:
        calls = 0
        writer = database._writer
        assert isinstance(writer, SqliteConnection)
        driver = writer.raw
        in_thread: Any = driver._execute

        async def counted(work: object) -> object:
            nonlocal calls
            calls += 1
            return await in_thread(work)

        monkeypatch.setattr(driver, "_execute", counted)
        assert await note_at_once(database, "yes") == "yes"
        assert calls == 1
    assert noted(path) == ["yes"]


async def test_a_body_that_fails_is_rolled_back(database_url: str) -> None:
    async with Database(database_url) as database:
        with pytest.raises(ZeroDivisionError):
            await note_at_once(database, "no", divisor=0)
        with pytest.raises(StoreError, match="refused"):
            await database.transact(lambda connection: _ask_for_nonsense(connection))
        assert await note_at_once(database, "yes") == "yes"
        rows = await database.read("SELECT source FROM chain")
        assert [row["source"] for row in rows] == ["yes"]


async def _ask_for_nonsense(connection: Statements) -> list[Row]:
    await connection.fetch(NOTE, ["no"])
    return list(await connection.fetch("SELECT nothing FROM nowhere"))


async def test_a_body_waits_for_its_statements_alone(path: Path) -> None:
    async def body(connection: Statements) -> None:
        await connection.fetch(NOTE, ["no"])
        await asyncio.sleep(0)

    async with Database(path) as database:
        with pytest.raises(RuntimeError, match="waits for something else"):
            await database.transact(body)
        await note_at_once(database, "yes")
    assert noted(path) == ["yes"]


async def test_a_body_that_nobody_waits_for_any_longer_is_not_committed(path: Path) -> None:
    let_go = threading.Event()

    async def body(connection: Statements) -> None:
        await connection.fetch(NOTE, ["no"])
        let_go.wait()

    async with Database(path, bounds=Bounds(0.5)) as database:
        with pytest.raises(StoreError, match="does not answer"):
            await database.transact(body)
        let_go.set()
        await note_at_once(database, "yes")
    assert noted(path) == ["yes"]


async def test_a_locked_database_is_refused_and_usable_afterwards(path: Path) -> None:
    async with Database(path, bounds=Bounds(0.5)) as database:
        with somebody_writes(path):
            for _ in range(2):
                with pytest.raises(StoreError, match=r"prover\.sqlite3 refused: .*locked"):
                    await note(database, "no")
        await note(database, "yes")
    assert noted(path) == ["yes"]


async def test_a_failed_commit_rolls_back(path: Path) -> None:
    async with Database(path) as database:
        with pytest.raises(sqlite3.IntegrityError):
            await break_a_reference(database)
        await note(database, "yes")
    assert noted(path) == ["yes"]


async def test_a_full_disk_is_a_refusal_that_says_so(path: Path) -> None:
    async with Database(path) as database:
        await database.write("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match="full"):
            await note(database, "x" * 1_000_000)
        await note(database, "small")
    assert noted(path) == ["small"]


async def test_cancelling_at_any_point_leaves_all_or_nothing(path: Path) -> None:
    async with Database(path) as database:
        for steps in range(60):
            task = asyncio.create_task(note(database, f"body {steps}"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(10):
                await note(database, "after")
    assert noted(path).count("after") == 60


async def test_cancelling_a_wait_for_the_write_lock_gives_it_up(path: Path) -> None:
    async with Database(path) as database:
        with somebody_writes(path) as other:
            task = asyncio.create_task(note(database, "no"))
            # Far enough for BEGIN to wait in the connection's thread.
            for _ in range(10):
                await asyncio.sleep(0)
            assert isinstance(database._writer, SqliteConnection)
            assert database._writer._lock.locked()
            task.cancel()
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await task
        with somebody_writes(path):
            pass
        await note(database, "yes")
    assert noted(path) == ["yes"]


async def test_a_reader_does_not_wait_for_a_writer(path: Path) -> None:
    async with Database(path) as database:
        async with database.transaction() as connection:
            await connection.fetch(NOTE, ["new"])
            async with asyncio.timeout(10), database.reading() as reader:
                assert [tuple(row) for row in await reader.fetch(COUNT)] == [(0,)]
        async with database.reading() as reader:
            assert [tuple(row) for row in await reader.fetch(COUNT)] == [(1,)]


async def test_the_reader_can_not_write(path: Path) -> None:
    with pytest.raises(StoreError, match="readonly"):
        async with Database(path) as database, database.reading() as reader:
            await reader.fetch(NOTE, ["new"])


async def test_transactions_do_not_nest(path: Path) -> None:
    with pytest.raises(TypeError, match="inside of another"):
        async with Database(path) as database, database.transaction():
            await note(database, "no")


async def test_a_violated_constraint_is_not_the_databases_refusal(path: Path) -> None:
    async def twice() -> None:
        async with Database(path) as database, database.transaction() as connection:
            for _ in range(2):
                await connection.fetch(
                    NOTE.replace("(chain_id", "(id, chain_id").replace("(1, ", "(1, 1, "), [""]
                )

    with pytest.raises(sqlite3.IntegrityError):
        await twice()


async def test_a_commit_of_any_process_is_noticed(path: Path) -> None:
    async with Database(path) as database, Database(path) as other:
        noticed = threading.Event()
        watch = database.watch(noticed.set)
        assert watch is not None
        watch.start()
        try:
            for writer in (database, other):
                # The time of a file has the grain of the system's clock.
                await asyncio.sleep(0.05)
                noticed.clear()
                await note(writer, writer.name)
                assert await asyncio.to_thread(noticed.wait, 10)
        finally:
            watch.stop()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "unable to open database file"),
        (lambda path: path.write_bytes(b"not a database " * 100), "not a database"),
    ],
)
async def test_a_file_that_is_no_database_is_an_error_that_names_it(
    tmp_path: Path, make: object, reason: str
) -> None:
    assert callable(make)
    make(tmp_path / "prover.sqlite3")

    with pytest.raises(StoreError, match=rf"prover\.sqlite3 refused: .*{reason}"):
        async with Database(tmp_path / "prover.sqlite3"):
            raise AssertionError("it was opened")


async def test_a_data_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"data directory .*file cannot be made"):
        async with Database(tmp_path / "file" / "prover.sqlite3"):
            raise AssertionError("it was opened")


def test_many_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AND_MIGRATE, str(tmp_path / "prover.sqlite3")]
    starts = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    problems = [process.communicate(timeout=60)[1] for process in starts]
    assert problems == [""] * 4
    assert [process.returncode for process in starts] == [0] * 4
