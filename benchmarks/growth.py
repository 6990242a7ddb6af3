"""Measure what grows with the jobs that have ended and with the headers: ``make bench-growth``.

The plans behind these figures are held by ``tests/database/test_growth.py``.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from statistics import median
from typing import Any

from grown_database import BLOCK_SECONDS, grow
from report import Table
from stand import Engine, Stand

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

# The tables of the largest are filled by a statement each.
FILL_SECONDS = 900.0

# Headers that an hour holds, and the hours of a series: what fits into the smallest size.
HOUR_BLOCKS = 3600 // BLOCK_SECONDS
HOURS = 24

TYPES = ("type0", "type1", "type2")

Call = Callable[[], Awaitable[object]]


def growing(stand: Stand) -> Iterator[Table]:
    """Measure each size on each engine."""
    rows = [
        *_rows(Engine.SQLITE, (f"sqlite:///{stand.folder('size')}/prover.sqlite3" for _ in SIZES)),
        *_rows(Engine.POSTGRES, (stand.postgres.create_database() for _ in SIZES)),
    ]
    yield Table(
        "Milliseconds a call, with so many ended jobs and as many headers",
        ("", "stored", *(f"{size:,}" for size in SIZES)),
        rows,
        [f"Median of {CALLS} calls each."],
    )


def _rows(engine: Engine, urls: Iterator[str]) -> Iterator[Sequence[str]]:
    columns = [asyncio.run(_measure(url, size)) for url, size in zip(urls, SIZES, strict=True)]
    for name in columns[0]:
        yield name, engine.value, *(f"{column[name] * 1000:.2f}" for column in columns)


async def _measure(url: str, size: int) -> dict[str, float]:
    async with Database(url, bounds=Bounds(FILL_SECONDS)) as database:
        await database.migrate()
        await grow(database, jobs=size, headers=size)
    async with Database(url) as database:
        found = {name: await _median(call) for name, call in _calls(database, size).items()}
    begin = size // 10 // HOUR_BLOCKS * 3600
    wanted = TimeRange(begin, begin + HOURS * 3600)
    found["a day of the series, the first on a connection"] = median(
        [await _first_read(url, wanted) for _ in range(CALLS)]
    )
    return found


async def _first_read(url: str, wanted: TimeRange) -> float:
    """Return how many seconds the first read of a series takes on a new connection."""
    async with Database(url) as database:
        headers = HeaderStore(database)
        # Opens the connection.
        await headers.newest()
        return await _seconds(lambda: headers.series_and_blocks(wanted))


def _calls(database: Database, size: int) -> dict[str, Call]:
    jobs, headers = JobStore(database, RetryPolicy(), by_messages=False), HeaderStore(database)
    numbers = iter(range(sys.maxsize))

    async def accept() -> None:
        name = f"new-{next(numbers)}"
        await jobs.submit(
            NewGroup(name, tuple(NewJob(name + kind, kind, "{}", "default") for kind in TYPES))
        )

    async def take() -> None:
        taken = await jobs.take_ready("default", TYPES, limit=1, worker="w", lease_seconds=60)
        assert len(taken) == 1

    async def life() -> None:
        job_id = f"job-{next(numbers)}"
        await jobs.submit(NewGroup(job_id, (NewJob(job_id, "type0", "{}", "default"),)))
        taken = await jobs.take(job_id, worker="w", lease_seconds=60)
        assert isinstance(taken, Taken)
        lease: Lease = taken.lease
        await jobs.extend([lease], lease_seconds=60)
        await jobs.succeed(lease, "1")

    async def show() -> None:
        view(await jobs.group(f"old-{size // 6}"))

    def listed(**filters: Any) -> Call:
        return lambda: jobs.listing.page(GroupQuery(**filters))

    return {
        "a sweep that finds nothing": lambda: jobs.sweep(100),
        "waking the jobs that wait": jobs.wake_waiting,
        "the newest 50 groups": listed(),
        "the newest 50 with a failed job": listed(state=JobState.FAILED),
        "those of a type": listed(state=JobState.FAILED, proof_type="type0"),
        "those of a namespace": listed(state=JobState.FAILED, namespace="team"),
        "those of a code, none of them of the type": listed(code="gone", proof_type="none"),
        "those with a queued job": listed(state=JobState.QUEUED),
        "a group's status": show,
        "a group of three is accepted": accept,
        "a worker takes a job": take,
        "a job from submit to result": life,
        "the newest header": headers.newest,
    }


async def _median(call: Call) -> float:
    seconds = [await _seconds(call) for _ in range(CALLS + 1)]
    return median(seconds[1:])


async def _seconds(call: Call) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began
