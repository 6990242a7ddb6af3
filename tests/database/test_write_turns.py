"""Who writes a lot to a file of SQLite rests for those who wait to write, and for nobody else."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from waiting import until, wait_until

from prover_framework.chain import ingest
from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.store import HeaderStore
from prover_framework.database import sqlite
from prover_framework.database.database import Database
from prover_framework.database.turns import WriteTurns

WRITE = "INSERT INTO event (kind, group_id, created_at) VALUES ('k', 'g', 1)"
POLITE_TURNS = 2

WAITS_UNTIL_KILLED = """
import sys
from pathlib import Path
from prover_framework.database.turns import WriteTurns
turns = WriteTurns(Path(sys.argv[1]))
turns.open()
with turns.waiting():
    sys.stdin.read()
"""


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> Path:
    path = tmp_path / "prover.sqlite3"
    path.write_bytes(sqlite_template.read_bytes())
    return path


@pytest.fixture(autouse=True)
def short_politeness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "POLITE_TURNS", POLITE_TURNS)


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@asynccontextmanager
async def somebody_waiting(path: Path, statement: str | None = WRITE) -> AsyncIterator[None]:
    """Have somebody wait for the write lock; without a statement, for a transaction."""

    async def write() -> None:
        if statement is not None:
            await other.write(statement)
            return
        async with other.transaction():
            pass

    seen = WriteTurns(log_of(path))
    async with Database(path) as holder, Database(path) as other:
        async with holder.transaction():
            seen.open()
            waiting = asyncio.create_task(write())
            await until(lambda: seen.is_anybody_waiting() is True)
            yield
        await waiting
    seen.close()


async def test_nobody_rests_for_nobody(database_url: str) -> None:
    async with Database(database_url) as database, Database(database_url):
        async with database.transaction():
            pass
        await database.write(WRITE)
        assert not await database.let_others_write()


@pytest.mark.parametrize("statement", [WRITE, None])
async def test_who_waits_is_rested_for_and_for_a_while_after(
    path: Path, statement: str | None
) -> None:
    async with Database(path) as database:
        async with somebody_waiting(path, statement):
            assert await database.let_others_write()
        rests = [await database.let_others_write() for _ in range(POLITE_TURNS + 1)]
        assert rests == [True] * POLITE_TURNS + [False]


def test_a_process_that_is_killed_waits_no_longer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    turns = WriteTurns(log)
    turns.open()
    with subprocess.Popen(
        [sys.executable, "-c", WAITS_UNTIL_KILLED, log], stdin=subprocess.PIPE
    ) as process:
        wait_until(lambda: turns.is_anybody_waiting() is True)
        process.send_signal(signal.SIGKILL)
    assert turns.is_anybody_waiting() is False
    turns.close()


async def test_where_nobody_can_say_that_he_waits_everybody_rests(path: Path) -> None:
    async with Database(path) as database:
        client = database._writer
        assert isinstance(client, sqlite.SqliteConnection)
        client.turns.close()
        await database.write(WRITE)
        assert await database.let_others_write()


def test_who_cannot_say_that_he_waits_waits_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    ours, theirs = WriteTurns(log), WriteTurns(log)
    with ours.waiting():
        assert ours.is_anybody_waiting() is None
    ours.open()
    theirs.open()
    with theirs.waiting():
        assert ours.is_anybody_waiting() is True
    assert theirs.is_anybody_waiting() is False
    ours.close()
    theirs.close()


def chain(count: int) -> Iterator[Header]:
    return (Header(number, 36_000 + number * 12, 100) for number in range(count))


@pytest.mark.parametrize("waits", [False, True])
async def test_an_import_rests_where_somebody_waits_and_only_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    monkeypatch.setattr(ingest, "CHUNK", 10)
    facts = ChainFacts(100, simulated=False, source="file")
    rests: list[bool] = []
    turns = WriteTurns(log_of(path))
    async with Database(path) as database, Database(path):
        rest = database.let_others_write

        async def let_others_write() -> bool:
            if waits and not rests:
                turns.open()
                with turns.waiting():
                    rests.append(await rest())
            else:
                rests.append(await rest())
            return rests[-1]

        monkeypatch.setattr(database, "let_others_write", let_others_write)
        await HeaderStore(database).import_headers(chain(60), facts)
    turns.close()
    assert rests == ([True] * (1 + POLITE_TURNS) + [False] * 2 if waits else [False] * 5)
