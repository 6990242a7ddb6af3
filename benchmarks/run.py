"""Measure the framework on this machine, everything in one run: ``make bench``.

Absolute figures depend on the machine and its disk; what is compared stands side by side.
"""

import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from prover_framework.chain.simulated import simulate
from prover_framework.jobs import JobState, RetryPolicy
from prover_framework.model import TimeRange
from prover_framework.plugins import Plugins
from prover_framework.queues.embedded import EmbeddedQueue
from prover_framework.service import ProvingService
from prover_framework.store.database import Database
from prover_framework.store.headers import ChainFacts, HeaderStore
from prover_framework.store.jobs import JobStore, NewGroup, NewJob

PROVER = Path(sys.executable).with_name("prover")
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

NOOP_PLUGIN = """
from attrs import frozen
from prover_framework import ProofType, RangeParameters, hookimpl

@frozen
class NoopResult:
    noop: int

@hookimpl
def proof_type():
    return ProofType(name="noop", title="No-op", version="1", parameters=RangeParameters,
                     result=NoopResult)

@hookimpl
def compute():
    return NoopResult(1)
"""


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
                await store.hourly_series(wanted)
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
    port = _free_port()
    with _process(["api", "--port", str(port)], directory) as api:
        _wait_for_port(port)
        rest = _memory(api)
        one_by_one = asyncio.run(_post_all(port, POSTS_ONE_BY_ONE, 1, "serial"))
        with _peak_memory(api) as peak:
            together = asyncio.run(_post_all(port, POSTS, CONNECTIONS, "parallel"))
        table = Table("", "groups/s", "ratio")
        table.add_row(f"{CONNECTIONS} clients", f"{together:,.0f}", f"{together / one_by_one:.1f}")
        table.add_row("1 client: one commit after the other", f"{one_by_one:,.0f}", "1")
        console.print(table)
        console.print(f"API memory: {rest:.0f} MiB at rest, {peak():.0f} MiB at most under load")


async def _post_all(port: int, count: int, connections: int, prefix: str) -> float:
    """POST ``count`` groups over some connections; return how many a second."""
    numbers = iter(range(count))
    window = {"start_timestamp": 1_696_291_200, "end_timestamp": 1_704_067_200}

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = json.dumps(
                {
                    "job_group_id": f"{prefix}-{number}",
                    "twap": window,
                    "reserve_price": window,
                    "max_return": window,
                }
            ).encode()
            writer.write(
                b"POST /api/job HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return count / (time.perf_counter() - began)


def _noop_jobs(console: Console, directory: Path) -> None:
    console.rule("No-op jobs through queue, worker, compute process and store")
    plugin = directory / "site" / "noop_plugin.py"
    metadata = directory / "site" / "noop_plugin-1.dist-info"
    metadata.mkdir(parents=True)
    plugin.write_text(NOOP_PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: noop-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[prover_framework]\nnoop = noop_plugin\n")
    window = asyncio.run(_store_noop_jobs(directory))
    extra = {"PYTHONPATH": str(plugin.parent), "PROVER_PLUGINS": "noop"}
    with _process(["worker"], directory / "idle", extra) as worker:
        rest = _idle_memory(worker)
    with _process(["worker"], directory, extra) as worker:
        with _peak_memory(worker) as peak:
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
        jobs = JobStore(database, RetryPolicy())
        queue = EmbeddedQueue(database)
        service = ProvingService(Plugins(found=(), hooks={}), jobs, queue)
        parameters = json.dumps({"start_timestamp": END_HOUR - 3600, "end_timestamp": END_HOUR})
        submitted = await asyncio.gather(
            *(
                jobs.submit(
                    NewGroup(f"n{i}", (NewJob(f"{i:032x}", "noop", parameters, "default"),))
                )
                for i in range(NOOP_JOBS)
            )
        )
        await asyncio.gather(*(service.send(group.jobs) for group in submitted))
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


@contextmanager
def _process(
    arguments: list[str], directory: Path, extra: dict[str, str] | None = None
) -> Iterator[psutil.Process]:
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PROVER_DATA_DIR": str(directory),
        "PROVER_LOG_LEVEL": "ERROR",
        **(extra or {}),
    }
    child = subprocess.Popen([PROVER, *arguments], env=environment)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def _memory(process: psutil.Process) -> float:
    """Return the memory of a process and its children in MiB, shared pages counted once."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**20


def _idle_memory(process: psutil.Process) -> float:
    """Return the memory of a worker that has started its compute processes and has no job."""
    for _ in range(100):
        if len(process.children()) == os.cpu_count():
            break
        time.sleep(0.1)
    time.sleep(2)  # Until their imports are done; nothing tells.
    return _memory(process)


@contextmanager
def _peak_memory(process: psutil.Process) -> Iterator[Callable[[], float]]:
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, _memory(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        watcher.join()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for_port(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
