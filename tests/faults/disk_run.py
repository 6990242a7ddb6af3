"""Fill the disk under an embedded service, and see what becomes of its jobs.

The data directory is a small file system of its own, in memory. While job groups come in, it is
filled to its last byte for some seconds; then there is room again. What was accepted has to end,
and each result has to have been stored once.
"""

import asyncio
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
from attrs import frozen
from prover_processes import Installation
from waiting import PATIENCE_SECONDS

END = 1_704_067_200
RANGE = {"start_timestamp": END - 86_400, "end_timestamp": END}

DISK_MB = 48
CHUNK = 64 * 1024

LOOK_SECONDS = 0.05

WATCH = """
CREATE TABLE watched (job_id TEXT, what TEXT);
CREATE TRIGGER watch_result AFTER UPDATE OF result ON job WHEN NEW.result IS NOT NULL
BEGIN INSERT INTO watched VALUES (NEW.id, 'result'); END;
CREATE TRIGGER watch_end AFTER UPDATE OF finished_at ON job
WHEN NEW.finished_at IS NOT NULL AND NEW.finished_at IS NOT OLD.finished_at
BEGIN INSERT INTO watched VALUES (NEW.id, 'end'); END;
"""


class NoDisk(Exception):
    """This machine lets nobody make a file system."""


@frozen(kw_only=True)
class DiskReport:
    """What came of it.

    Args:
        accepted: Jobs that were accepted.
        refused: Requests that were refused while the disk was full.
        ended: Jobs that ended.
        succeeded: Those that have a result.
        twice: Jobs that were given a result, or ended, more than once.
        recovery_seconds: From there being room again until a job ended.
    """

    accepted: int
    refused: int
    ended: int
    succeeded: int
    twice: int
    recovery_seconds: float

    @property
    def promise_kept(self) -> bool:
        """Whether all that was accepted has one result."""
        return self.accepted == self.ended == self.succeeded and self.twice == 0


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """Make a small file system; remove it afterwards.

    Raises:
        NoDisk: This machine lets nobody make one.
    """
    place = directory / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(place)]
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoDisk(str(error)) from None
    if done.returncode:
        raise NoDisk(done.stderr.strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def run_on_a_disk(directory: Path, *, groups: int, full_seconds: float) -> DiskReport:
    """Run an embedded service on a small disk, and fill that.

    Args:
        directory: For the service's logs, and the disk.
        groups: How many groups of two jobs are accepted in all, half of them before it is full.
        full_seconds: How long it is full.

    Raises:
        NoDisk: This machine lets nobody make one.
    """
    with small_disk(directory) as disk:
        settings = {
            "PROVER_REQUIRED": "none",
            "PROVER_SWEEP_SECONDS": "0.5",
            # Usually groups are refused before it comes to that.
            "PROVER_MIN_FREE_DISK_MB": "0",
        }
        installation = Installation(directory, {}, settings)
        installation.environment["PROVER_DATA_DIR"] = str(disk)
        installation.command("headers", "simulate", "--days", "2", "--end", str(END))
        database = disk / "prover.sqlite3"
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(WATCH)
        with installation.running("up"):
            async with httpx.AsyncClient(
                base_url=installation.url("up"), timeout=PATIENCE_SECONDS
            ) as client:
                return await _fill_and_look(client, disk, groups, full_seconds)


async def _fill_and_look(
    client: httpx.AsyncClient, disk: Path, groups: int, full_seconds: float
) -> DiskReport:
    accepted = refused = 0

    async def submit() -> None:
        nonlocal accepted, refused
        document = {
            "job_group_id": f"group_{accepted}",
            "twap": RANGE,
            "max_return": {**RANGE, "window_hours": 12},
        }
        answer = await client.post("/api/job", json=document)
        if answer.status_code in (200, 500):
            accepted += 1
        elif answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            refused += 1
        else:
            raise RuntimeError(f"{answer.status_code} {answer.text}")

    while accepted < groups / 2:
        await submit()
    filler = disk / "filler"
    until = time.monotonic() + full_seconds
    while time.monotonic() < until:
        _fill(filler)
        await submit()
        await asyncio.sleep(LOOK_SECONDS)
    before = await asyncio.to_thread(_ended, disk)
    filler.unlink()
    began = time.monotonic()
    recovery = 0.0
    while accepted < groups:
        await submit()
    while (ended := await asyncio.to_thread(_ended, disk)) < 2 * accepted:
        if ended > before and not recovery:
            recovery = time.monotonic() - began
        if time.monotonic() > began + PATIENCE_SECONDS:
            break
        await asyncio.sleep(LOOK_SECONDS)
    with closing(sqlite3.connect(disk / "prover.sqlite3")) as connection:
        (succeeded,) = connection.execute(
            "SELECT COUNT(*) FROM job WHERE state = 'succeeded' AND result IS NOT NULL"
        ).fetchone()
        (twice,) = connection.execute(
            "SELECT COUNT(*) FROM (SELECT job_id FROM watched GROUP BY job_id, what"
            " HAVING COUNT(*) > 1)"
        ).fetchone()
    return DiskReport(
        accepted=2 * accepted,
        refused=refused,
        ended=ended,
        succeeded=succeeded,
        twice=twice,
        recovery_seconds=recovery or time.monotonic() - began,
    )


def _fill(filler: Path) -> None:
    """Leave no byte free."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        for size in (CHUNK, 4096, 1):
            with suppress(OSError):
                while file.write(os.urandom(size)) == size:
                    pass


def _ended(disk: Path) -> int:
    """Count the jobs that have ended; as before where the database cannot be read now."""
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(disk / "prover.sqlite3", timeout=PATIENCE_SECONDS)) as connection,
    ):
        (count,) = connection.execute(
            "SELECT COUNT(*) FROM job WHERE finished_at IS NOT NULL"
        ).fetchone()
        return int(count)
    return 0
