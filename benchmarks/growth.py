"""Measure what grows with the jobs that have ended and with the headers: ``make bench-growth``.

The plans behind these figures are held by ``tests/database/test_growth.py``.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

from grown_database import BLOCK_SECONDS, grow
from postgres_server import NoServer, postgres_server
from rich.console import Console
from rich.table import Table
from support import PROVER

from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.jobs.records import Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.views import view
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.model.listing import GroupQuery
from prover_framework.model.series import TimeRange

SIZES = (10_000, 100_000, 1_000_000)

# Of each call the median of so many; the first is left out, since it opens a connection.
CALLS = 9

# The service has calls of half a second to ten; filling the database takes longer.
FILL_SECONDS = 900.0

# How long after one group is stored the next one comes while headers are imported.
REQUEST_SECONDS = 0.02

# Headers that an hour holds, and the hours of a series: what fits into the smallest size.
HOUR_BLOCKS = 3600 // BLOCK_SECONDS
HOURS = 24

Call = Callable[[], Awaitable[object]]


def main() -> None:
    """Measure each size on each engine and print one table."""
    console = Console(highlight=False, soft_wrap=True)
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    console.rule("Milliseconds a call, with so many ended jobs and as many headers (median)")
    table = Table("", *(f"{size:,}" for size in sizes))
    with tempfile.TemporaryDirectory(prefix="prover-bench-") as folder:
        asyncio.run(_beside_imports(console, Path(folder), sizes))
        files = iter(f"sqlite:///{folder}/{size}.sqlite3" for size in sizes)
        _add_rows(table, "SQLite, full sync", sizes, files)
    try:
        with postgres_server() as server:
            urls = iter(server.create_database() for _ in sizes)
            _add_rows(table, "PostgreSQL, fsync off", sizes, urls)
    except NoServer as reason:
        console.print(f"PostgreSQL is not measured: {reason}")
    console.print(table)


async def _beside_imports(console: Console, directory: Path, sizes: Sequence[int]) -> None:
    console.rule("Groups stored in the file of SQLite that headers are imported into meanwhile")
    table = Table("headers", "seconds", "groups", "median ms", "99 % ms", "longest ms")
    for size in sizes:
        csv = _csv(directory / f"import-{size}", size)
        began = time.perf_counter()
        waits = await _store_beside_import(csv.parent, csv)
        seconds = time.perf_counter() - began
        figures = (median(waits), quantiles(waits, n=100)[-1], max(waits))
        shown = (f"{figure * 1000:.1f}" for figure in figures)
        table.add_row(f"{size:,}", f"{seconds:.1f}", str(len(waits)), *shown)
    console.print(table)


def _csv(directory: Path, size: int) -> Path:
    directory.mkdir()
    csv = directory / "headers.csv"
    lines = (f"{number},{number * BLOCK_SECONDS},{10**10 + number}\n" for number in range(size))
    csv.write_text("number,timestamp,base_fee_per_gas\n" + "".join(lines))
    return csv


async def _store_beside_import(directory: Path, csv: Path) -> list[float]:
    waits: list[float] = []
    async with Database(directory / "prover.sqlite3") as database:
        await database.migrate()
        jobs = JobStore(database, RetryPolicy())
        command = await asyncio.create_subprocess_exec(
            PROVER,
            *("headers", "import", csv),
            env={**os.environ, "PROVER_DATA_DIR": str(directory)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        ended = asyncio.create_task(command.wait())
        while not ended.done():
            name = f"group-{len(waits)}"
            began = time.perf_counter()
            await jobs.submit(NewGroup(name, (NewJob(name, "type0", "{}", "default"),)))
            waits.append(time.perf_counter() - began)
            await asyncio.wait({ended}, timeout=REQUEST_SECONDS)
        if ended.result():
            raise RuntimeError(f"the import of {csv} failed")
    return waits


def _add_rows(table: Table, engine: str, sizes: Sequence[int], urls: Iterator[str]) -> None:
    columns = [asyncio.run(_measure(url, size)) for url, size in zip(urls, sizes, strict=False)]
    for name in columns[0]:
        table.add_row(f"{engine}: {name}", *(f"{column[name] * 1000:.2f}" for column in columns))


async def _measure(url: str, size: int) -> dict[str, float]:
    async with Database(url, bounds=Bounds(FILL_SECONDS)) as database:
        await database.migrate()
        await grow(database, jobs=size, headers=size)
    async with Database(url, bounds=Bounds(FILL_SECONDS)) as database:
        return {name: await _median(call) for name, call in _calls(database, size).items()}


def _calls(database: Database, size: int) -> dict[str, Call]:
    jobs, headers = JobStore(database, RetryPolicy()), HeaderStore(database)
    numbers = iter(range(sys.maxsize))

    async def life() -> None:
        job_id = f"job-{next(numbers)}"
        await jobs.submit(NewGroup(job_id, (NewJob(job_id, "type0", "{}", "default"),)))
        await jobs.mark_sent([job_id])
        taken = await jobs.take(job_id, worker="w", lease_seconds=60)
        assert isinstance(taken, Taken)
        lease: Lease = taken.lease
        await jobs.extend([lease], lease_seconds=60)
        await jobs.succeed(lease, "1")

    async def show() -> None:
        view(await jobs.group(f"old-{size // 6}"))

    begin = size // 10 // HOUR_BLOCKS * 3600
    return {
        "a sweep that finds nothing": lambda: jobs.sweep(100),
        "waking the jobs that wait": jobs.wake_waiting,
        "the newest 50 groups": lambda: jobs.listing.page(GroupQuery()),
        "the newest 50 with a failed job": lambda: jobs.listing.page(
            GroupQuery(state=JobState.FAILED)
        ),
        "those with a queued job": lambda: jobs.listing.page(GroupQuery(state=JobState.QUEUED)),
        "a group's status": show,
        "a job from submit to result": life,
        "a day of the series": lambda: headers.series_and_blocks(
            TimeRange(begin, begin + HOURS * 3600)
        ),
        "the newest header": headers.newest,
    }


async def _median(call: Call) -> float:
    seconds = []
    for _ in range(CALLS + 1):
        began = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])


if __name__ == "__main__":
    main()
