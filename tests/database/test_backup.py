"""A backup is the database as it was at one moment, while others write."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from prover_framework.database.backup import back_up
from prover_framework.database.database import Database
from prover_framework.errors import TransferError
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy


async def test_a_backup_is_whole_and_is_restored_by_putting_it_in_place(
    sqlite_template: Path, tmp_path: Path
) -> None:
    live, copy = tmp_path / "live" / "prover.sqlite3", tmp_path / "copy.sqlite3"
    live.parent.mkdir()
    shutil.copyfile(sqlite_template, live)
    stopping = threading.Event()

    def write() -> None:
        # Another connection writes all the time; what it has committed is in the log beside.
        with closing(sqlite3.connect(live, isolation_level=None)) as writer:
            writer.execute("CREATE TABLE pair (a INTEGER, b INTEGER)")
            number = 0
            while not stopping.is_set():
                number += 1
                writer.execute("INSERT INTO pair VALUES (?, ?)", [number, number])

    async with Database(live) as database:
        jobs = JobStore(database, RetryPolicy())
        await jobs.submit(NewGroup("g", (NewJob("j", "twap", "{}", "default"),)))
        writing = threading.Thread(target=write)
        writing.start()
        try:
            told: list[tuple[int, int]] = []
            size = back_up(live, copy, lambda done, total: told.append((done, total)))
        finally:
            stopping.set()
            writing.join()
    assert told
    assert told[-1][0] == told[-1][1]
    assert (copy.stat().st_size, copy.stat().st_mode & 0o777) == (size, 0o600)
    assert not copy.with_name("copy.sqlite3~").exists()
    with closing(sqlite3.connect(copy)) as restored:
        assert restored.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    async with Database(copy) as database:
        await database.require_schema()
        assert (await JobStore(database, RetryPolicy()).group("g"))[0].id == "j"


def test_what_cannot_be_copied_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="there is no database"):
        back_up(tmp_path / "none", tmp_path / "copy")
    there = tmp_path / "there"
    there.write_bytes(b"no database at all, and longer than a header of one has to be" * 10)
    with pytest.raises(TransferError, match="exists already"):
        back_up(there, there)
    with pytest.raises(TransferError, match="cannot be copied"):
        back_up(there, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
