"""Measure the service on SQS and PostgreSQL: ``make bench``; beside others: ``make bench-peers``.

The servers are LocalStack and PostgreSQL on this machine. They share its cores with what is
measured, and all that is compared runs one after the other against the same servers.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg
import peers
from localstack_server import localstack_server
from postgres_server import postgres_server
from rich.console import Console
from rich.table import Table
from sqs_server import aws_environment
from support import (
    NOOP_PLUGIN,
    free_port,
    install_plugin,
    post_all,
    process,
    wait_for_port,
)

from prover_framework.app import open_runtime
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.sources.simulated import simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.sqs.admin import create_queue
from prover_framework.queues.sqs.client import open_client
from prover_framework.settings import load_settings
from prover_framework.worker.heartbeat import HEARTBEATS_PER_LEASE

END_HOUR = 1_704_067_200
HOUR = {"start_timestamp": END_HOUR - 3600, "end_timestamp": END_HOUR}

POSTS = 3000
CONNECTIONS = 64
NOOP_JOBS = 3000

# Computations that keep every core busy while heartbeats are watched.
BUSY_JOBS = 8
BUSY_SECONDS = 10.0
LEASE_SECONDS = 3.0
HEARTBEAT_SECONDS = LEASE_SECONDS / HEARTBEATS_PER_LEASE

BUSY_PLUGIN = """
import time

from attrs import frozen

from prover_framework import ProofType, RangeParameters, hookimpl
PROVER_API = 1

@frozen(kw_only=True)
class Parameters(RangeParameters):
    seconds: float

@frozen
class Result:
    busy: int

@hookimpl
def proof_type():
    return ProofType(name="busy", title="Busy", version="1", parameters=Parameters, result=Result)

@hookimpl
def compute(parameters):
    end = time.monotonic() + parameters.seconds
    while time.monotonic() < end:
        sum(range(1000))
    return Result(1)
"""


def main() -> None:
    """Measure, and print a table for each measure; ``--peers`` measures others beside it."""
    console = Console(highlight=False, soft_wrap=True)
    beside = "--peers" in sys.argv[1:]
    with (
        tempfile.TemporaryDirectory(prefix="prover-bench-") as text,
        postgres_server() as postgres,
        localstack_server() as localstack,
    ):
        directory = Path(text)
        # AWS's library, in this process too, looks for its settings there only.
        os.environ.update(aws_environment(localstack.url))
        console.rule("On SQS (LocalStack) and PostgreSQL, all on this machine")

        def stand(name: str) -> dict[str, str]:
            return prepare(name, postgres.create_database())

        sends = {"POST /api/job, three jobs each": accepted_messages(stand("posts"), directory)}
        jobs = {"worker, results stored": noop_jobs(stand("jobs"), directory)}
        if beside:
            rivals = peers.measure(localstack.url, postgres.create_database(), directory)
            sends |= rivals.sends
            jobs |= rivals.jobs
        show(console, "sending", "messages/s", sends)
        show(console, "no-op jobs", "jobs/s", jobs)
        late = heartbeat_lateness(stand("busy"), directory)
        console.print(
            f"heartbeats while all cores compute, due every {HEARTBEAT_SECONDS:g} s: "
            f"{statistics.median(late) * 1000:.0f} ms late (median of {len(late)}), "
            f"{max(late) * 1000:.0f} ms at most"
        )


def show(console: Console, what: str, unit: str, rates: Mapping[str, float]) -> None:
    """Print rates and their ratios to the lowest of them."""
    table = Table(what, unit, "ratio")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / min(rates.values()):.1f}")
    console.print(table)


def prepare(name: str, database_url: str) -> dict[str, str]:
    """Make a queue, and schema and headers in a database; return the variables that lead there."""

    async def work() -> str:
        async with Database(database_url) as database:
            await database.migrate()
            await HeaderStore(database).import_headers(
                simulate(END_HOUR - 3600, 1), ChainFacts(1, simulated=True, source="bench")
            )
        async with open_client(1) as client:
            return (await create_queue(client, f"bench-{name}")).url

    return {"DATABASE_URL": database_url, "SQS_QUEUE_URL": asyncio.run(work())}


def accepted_messages(environment: Mapping[str, str], directory: Path) -> float:
    """Return how many messages a second the API stores and sends, in groups of three."""
    port = free_port()
    with process(["api", "--port", str(port)], directory, dict(environment)):
        wait_for_port(port)
        return 3 * asyncio.run(post_all(port, POSTS, CONNECTIONS, "sqs"))


def noop_jobs(environment: Mapping[str, str], directory: Path) -> float:
    """Return how many no-op jobs a second one worker takes, computes, stores and deletes."""
    environment = {
        **environment,
        **install_plugin(directory / "noop", "noop", NOOP_PLUGIN),
    }
    asyncio.run(_send_jobs(environment, "noop", [HOUR] * NOOP_JOBS))
    with process(["worker"], directory, environment):
        return asyncio.run(_rate(environment["DATABASE_URL"], NOOP_JOBS))


def heartbeat_lateness(environment: Mapping[str, str], directory: Path) -> list[float]:
    """Return by how many seconds heartbeats come late while every core computes."""
    environment = {
        **environment,
        **install_plugin(directory / "busy", "busy", BUSY_PLUGIN),
        "PROVER_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    parameters = {**HOUR, "seconds": BUSY_SECONDS}
    asyncio.run(_send_jobs(environment, "busy", [parameters] * BUSY_JOBS))
    with process(["worker"], directory, environment):
        return asyncio.run(_lateness(environment["DATABASE_URL"]))


async def _send_jobs(
    environment: Mapping[str, str], proof_type: str, parameters: Sequence[Mapping[str, float]]
) -> None:
    settings = load_settings(environment)
    async with open_runtime(settings, Plugins(found=(), hooks={})) as runtime:
        groups = await asyncio.gather(
            *(
                runtime.jobs.submit(
                    NewGroup(
                        f"{proof_type}-{i}",
                        (NewJob(f"{i:032x}", proof_type, json.dumps(form), "default"),),
                    )
                )
                for i, form in enumerate(parameters)
            )
        )
        await asyncio.gather(*(runtime.service.send(group.jobs) for group in groups))


async def _rate(database_url: str, count: int) -> float:
    """Wait until so many jobs have succeeded; return how many a second that were."""
    connection = await asyncpg.connect(database_url)
    try:
        while True:
            row = await connection.fetchrow(
                "SELECT COUNT(*) AS done, MIN(started_at) AS began, MAX(finished_at) AS ended "
                "FROM job WHERE state = 'succeeded'"
            )
            if row["done"] == count:
                seconds: float = (row["ended"] - row["began"]) / 1000
                return count / seconds
            await asyncio.sleep(0.2)
    finally:
        await connection.close()


async def _lateness(database_url: str) -> list[float]:
    """Watch the leases of running jobs until all have ended."""
    connection = await asyncpg.connect(database_url)
    until: dict[str, int] = {}
    late: list[float] = []
    try:
        while await connection.fetchval("SELECT COUNT(*) FROM job WHERE finished_at IS NULL"):
            for row in await connection.fetch(
                "SELECT lease_token, lease_until FROM job WHERE state = 'running'"
            ):
                before = until.get(row["lease_token"])
                until[row["lease_token"]] = row["lease_until"]
                # The first heartbeat comes at any time after a job was taken.
                if before is not None and row["lease_until"] != before:
                    late.append((row["lease_until"] - before) / 1000 - HEARTBEAT_SECONDS)
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return late


if __name__ == "__main__":
    main()
