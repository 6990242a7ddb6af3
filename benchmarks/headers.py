"""Measure the import of headers on both engines, and their verification: ``make bench``."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from postgres_server import NoServer, postgres_server
from rich.console import Console
from rich.table import Table
from support import PROVER, peak_memory

from prover_framework.chain.audit import verify_stored
from prover_framework.chain.headers import EncodedHeader
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.rule_book import SIMULATED
from prover_framework.chain.sources.simulated import BLOCKS_PER_HOUR, made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.verification import verify_chain
from prover_framework.database.database import Database

FIRST_HOUR = 1_680_000_000 // 3600 * 3600

FIRST_BLOCK = 16_930_000

# Eight months of blocks, and a tenth of it to see whether memory grows with the number.
EIGHT_MONTHS = 1_700_000
# A round of 30 days.
ROUND = 216_000

AIM_SECONDS = 15
AIM_PER_CORE = 30_000


def main() -> None:
    """Run both and print a table for each."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="prover-bench-") as folder:
        directory = Path(folder)
        _imports(console, directory)
        asyncio.run(_verification(console, directory))


def _imports(console: Console, directory: Path) -> None:
    console.rule(f"prover headers import of a CSV file, with hourly sums (aim: {AIM_SECONDS} s)")
    table = Table("", "headers", "seconds", "of one core, without the server", "memory, at most")
    files = [_csv(directory, count) for count in (EIGHT_MONTHS // 10, EIGHT_MONTHS)]
    for file, count in files:
        url = f"sqlite:///{directory}/{count}.sqlite3"
        table.add_row("SQLite", *_import(file, count, url))
    try:
        with postgres_server() as server:
            for file, count in files:
                table.add_row("PostgreSQL", *_import(file, count, server.create_database()))
    except NoServer as reason:
        console.print(f"PostgreSQL is not measured: {reason}")
    console.print(table)


def _csv(directory: Path, count: int) -> tuple[Path, int]:
    path = directory / f"{count}.csv"
    with path.open("w") as file:
        file.write("number,timestamp,base_fee_per_gas,gas_used,gas_limit\n")
        for number in range(count):
            # Half of the gas is the target: the fee stays as it is.
            block, time_ = FIRST_BLOCK + number, FIRST_HOUR + number * 12
            file.write(f"{block},{time_},{10**10},15000000,30000000\n")
    return path, count


def _import(file: Path, count: int, url: str) -> list[str]:
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([PROVER, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
    began, used = time.perf_counter(), _cpu_seconds()
    with (
        subprocess.Popen(
            [PROVER, "headers", "import", file], env=environment, stdout=subprocess.DEVNULL
        ) as command,
        peak_memory(psutil.Process(command.pid)) as peak,
    ):
        if command.wait():
            raise RuntimeError(f"the import of {file} failed")
    seconds, used = time.perf_counter() - began, _cpu_seconds() - used
    return [f"{count:,}", f"{seconds:.1f}", f"{used:.1f}", f"{peak():.0f} MiB"]


def _cpu_seconds() -> float:
    """Return what this process and its children that have ended used of the processors."""
    return sum(os.times()[:4])


def _chain() -> Iterator[EncodedHeader]:
    return made_whole(simulate(FIRST_HOUR, ROUND // BLOCKS_PER_HOUR))


async def _verification(console: Console, directory: Path) -> None:
    console.rule(f"Verification of {ROUND:,} headers (aim: {AIM_PER_CORE:,} headers/s per core)")
    table = Table("", "headers/s", "per second of a core")
    cores = os.cpu_count() or 1
    part = [header for header, _ in zip(_chain(), range(ROUND // 5), strict=False)]
    used = _cpu_seconds()
    verify_chain(part, SIMULATED)
    rate = len(part) / (_cpu_seconds() - used)
    table.add_row("RLP, keccak, links and base fees", "", f"{rate:,.0f}")
    async with Database(directory / "whole.sqlite3") as database:
        await database.migrate()
        store = HeaderStore(database)
        began = time.perf_counter()
        await store.import_headers(_chain(), ChainFacts(1559, simulated=True, source="bench"))
        imported = (ROUND + 1) / (time.perf_counter() - began)
        for processes in (1, cores):
            began, used = time.perf_counter(), _cpu_seconds()
            await verify_stored(store, processes=processes)
            rate = (ROUND + 1) / (time.perf_counter() - began)
            per_core = (ROUND + 1) / (_cpu_seconds() - used)
            table.add_row(
                f"prover headers verify --processes {processes}", f"{rate:,.0f}", f"{per_core:,.0f}"
            )
    table.add_row("(making them up, and an import that verifies)", f"{imported:,.0f}", "")
    console.print(table)


if __name__ == "__main__":
    main()
