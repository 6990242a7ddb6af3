"""Measure the framework on this machine, everything in one run: ``make bench``.

Absolute figures depend on the machine and its disk; what is compared stands side by side.
"""

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from support import (
    NOOP_PLUGIN,
    free_port,
    idle_memory,
    install_plugin,
    memory,
    peak_memory,
    post_all,
    process,
    wait_for_port,
)

from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.sources.simulated import simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.model.series import TimeRange

ROOT = Path(__file__).resolve().parent.parent

END_HOUR = 1_704_067_200
SERIES_HOURS = 90 * 24
NAIVE_SERIES = """
SELECT timestamp - timestamp % 3600, SUM(base_fee_wei), COUNT(*) FROM block_header
WHERE timestamp >= ? AND timestamp < ? GROUP BY 1 ORDER BY 1
"""

POSTS = 6000
POSTS_ONE_BY_ONE = 300
CONNECTIONS = 64
NOOP_JOBS = 3000


def main() -> None:
    """Run all benchmarks and print a table for each."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(prefix="prover-bench-") as directory:
        _reserve_price(console)
        asyncio.run(_series(console, Path(directory, "series")))
        _posts(console, Path(directory, "posts"))
        _noop_jobs(console, Path(directory, "noop"))


def _reserve_price(console: Console) -> None:
    console.rule("Reserve price against a plain transcription of the method")
    subprocess.run(
        [sys.executable, ROOT / "plugins" / "reserve_price" / "bench_reserve_price.py"],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


async def _series(console: Console, directory: Path) -> None:
    console.rule("Hourly series of 90 days from 648,001 stored headers")
    async with Database(directory / "prover.sqlite3") as database:
        await database.migrate()
        store = HeaderStore(database)
        first_hour = END_HOUR - SERIES_HOURS * 3600
        began = time.perf_counter()
        await store.import_headers(
            simulate(first_hour, SERIES_HOURS), ChainFacts(1, simulated=True, source="bench")
        )
        imported = time.perf_counter() - began
        wanted = TimeRange(first_hour, END_HOUR)
        kept, naive = [], []
        for _ in range(5):
            for _ in range(10):
                began = time.perf_counter()
                (await store.series_and_blocks(wanted))[0]
                kept.append(time.perf_counter() - began)
            began = time.perf_counter()
            await database.reader.execute_query(NAIVE_SERIES, [first_hour, END_HOUR])
            naive.append(time.perf_counter() - began)
        table = Table("", "median", "ratio")
        quick, slow = statistics.median(kept), statistics.median(naive)
        table.add_row("hourly sums kept current", f"{quick * 1000:.1f} ms", f"{slow / quick:.0f}")
        table.add_row("summed up from headers", f"{slow * 1000:.1f} ms", "1")
        table.add_row("(simulating and storing them)", f"{imported:.1f} s", "")
        console.print(table)


def _posts(console: Console, directory: Path) -> None:
    console.rule("POST /api/job, three jobs each, stored durably (full sync)")
    port = free_port()
    with process(["api", "--port", str(port)], directory) as api:
        wait_for_port(port)
        rest = memory(api)
        one_by_one = asyncio.run(post_all(port, POSTS_ONE_BY_ONE, 1, "serial"))
        with peak_memory(api) as peak:
            together = asyncio.run(post_all(port, POSTS, CONNECTIONS, "parallel"))
        table = Table("", "groups/s", "ratio")
        table.add_row(f"{CONNECTIONS} clients", f"{together:,.0f}", f"{together / one_by_one:.1f}")
        table.add_row("1 client: one commit after the other", f"{one_by_one:,.0f}", "1")
        console.print(table)
        console.print(f"API memory: {rest:.0f} MiB at rest, {peak():.0f} MiB at most under load")


def _noop_jobs(console: Console, directory: Path) -> None:
    console.rule("No-op jobs through queue, worker, compute process and store")
    extra = install_plugin(directory / "site", "noop", NOOP_PLUGIN)
    window = asyncio.run(_store_noop_jobs(directory))
    with process(["worker"], directory / "idle", extra) as worker:
        rest = idle_memory(worker)
    with process(["worker"], directory, extra) as worker:
        with peak_memory(worker) as peak:
            rate = asyncio.run(_wait_for_noop_jobs(directory, window))
        console.print(f"{rate:,.0f} jobs/s, {os.cpu_count()} slots")
        console.print(
            f"worker memory with its compute processes: {rest:.0f} MiB at rest, "
            f"{peak():.0f} MiB at most under load"
        )


async def _store_noop_jobs(directory: Path) -> int:
    async with Database(directory / "prover.sqlite3") as database:
        await database.migrate()
        await HeaderStore(database).import_headers(
            simulate(END_HOUR - 3600, 1), ChainFacts(1, simulated=True, source="bench")
        )
        jobs = JobStore(database, RetryPolicy(), by_messages=False)
        parameters = json.dumps({"start_timestamp": END_HOUR - 3600, "end_timestamp": END_HOUR})
        await asyncio.gather(
            *(
                jobs.submit(
                    NewGroup(f"n{i}", (NewJob(f"{i:032x}", "noop", parameters, "default"),))
                )
                for i in range(NOOP_JOBS)
            )
        )
    return NOOP_JOBS


async def _wait_for_noop_jobs(directory: Path, count: int) -> float:
    async with Database(directory / "prover.sqlite3") as database:
        while True:
            _, rows = await database.reader.execute_query(
                "SELECT COUNT(*) AS done, MIN(started_at) AS began, MAX(finished_at) AS ended "
                "FROM job WHERE state = ?",
                [JobState.SUCCEEDED],
            )
            if rows[0]["done"] == count:
                seconds: float = (rows[0]["ended"] - rows[0]["began"]) / 1000
                return count / seconds
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    main()
