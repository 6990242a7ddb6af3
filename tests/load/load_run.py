"""Use a running service in all its ways for some minutes, and see whether it loses or gains.

Real processes on this machine: an API, two workers, PostgreSQL and an SQS emulator. Clients submit
job groups, follow them, call some of them off, list, read receipts and have them verified; all the
while an operator prunes what ended some seconds ago. No call may fail, each group that was accepted
has to end as its client expects it, and neither memory nor open files of the service may grow.

``make load`` runs it for ten minutes; ``make test-slow`` has a small one.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
from attrs import Factory, define, frozen
from metric_pages import scrape, total
from postgres_server import postgres_server
from prover_processes import Installation
from rich.console import Console
from rich.table import Table
from sqs_server import SqsEmulator, moto_server
from waiting import PATIENCE_SECONDS

from prover_framework.client import AsyncClient
from prover_framework.errors import ProverError
from prover_framework.model.actions import Action
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.model.listing import GroupQuery
from prover_framework.model.views import GroupView
from prover_framework.serialization.json_text import Json, dump_json

DAYS = 15
END = 1_704_067_200
HOUR = 3600

WORKERS = 2

# What ended so long ago is pruned. Whoever waits for a group has looked at it by then, and no
# message of a job that was cancelled before its next attempt is on its way any more: one that comes
# later asks for a job that is not there, and becomes a dead letter.
PRUNED_AFTER = "120s"

# How long a client rests between two looks, and an operator between two times that he prunes.
LOOK_SECONDS = 0.1
PRUNE_SECONDS = 5.0

# How often the processes are looked at.
SAMPLE_SECONDS = 1.0

# What a process may have gained from the second quarter of the time to the last, when it is warm: a
# part of its memory, a few megabytes more for what allocators round up to, and as many descriptors
# as connections may come and go.
MEMORY_PART = 0.10
MEMORY_MB = 8.0
DESCRIPTORS = 8

# The longest that the service may take to end what is left when the clients stop.
DRAIN_SECONDS = 120.0


@frozen(kw_only=True)
class Plan:
    """How much of what.

    Args:
        seconds: How long it goes on.
        seed: Decides what clients do.
        submitters: Clients that submit groups and wait for them, one after the other.
        readers: Clients that list and look.
    """

    seconds: float
    seed: int
    submitters: int = 4
    readers: int = 1


FULL_SECONDS = 600.0
FULL_SEED = 1559


@frozen
class Usage:
    """What a process with its children has, and how many of them there are.

    Args:
        memory_mb: Resident memory of all of them.
        descriptors: Open files and connections of the process itself.
    """

    memory_mb: float
    descriptors: int


@frozen
class Trend:
    """What a process had in the second quarter of the time, and in the last: medians."""

    before: Usage
    after: Usage

    @property
    def is_flat(self) -> bool:
        """Whether it has gained no more than what comes and goes."""
        allowed = self.before.memory_mb * (1 + MEMORY_PART) + MEMORY_MB
        return (
            self.after.memory_mb <= allowed
            and self.after.descriptors <= self.before.descriptors + DESCRIPTORS
        )


@frozen(kw_only=True)
class Report:
    """What came of a run.

    Args:
        seconds: How long it took.
        calls: Seconds of each call, by what was asked.
        errors: What failed, in words.
        accepted: Groups that were accepted.
        ended: How many of these ended as they should.
        pruned: Groups that were removed.
        left: Jobs that have not ended when it is over.
        messages: Messages that are left in the queue, dead letters included.
        trends: For each process what it had early and late; none in a run that is too short.
        complaints: Lines of the logs that tell of an error.
    """

    seconds: float
    calls: dict[str, list[float]]
    errors: list[str]
    accepted: int
    ended: int
    pruned: int
    left: int
    messages: int
    trends: dict[str, Trend]
    complaints: list[str]

    @property
    def broken(self) -> list[str]:
        """What did not hold, in words."""
        growing = [name for name, trend in self.trends.items() if not trend.is_flat]
        found = {
            f"{len(self.errors)} errors, such as {self.errors[:3]}": bool(self.errors),
            f"{self.accepted - self.ended} groups are lost": self.ended < self.accepted,
            "nothing was accepted": not self.accepted,
            f"{self.left} jobs have not ended": self.left > 0,
            f"{self.messages} messages are left": self.messages > 0,
            f"{', '.join(growing)} grew": bool(growing),
            f"the logs tell of errors: {self.complaints[:3]}": bool(self.complaints),
        }
        return [words for words, holds in found.items() if holds]


@define(eq=False)
class Load:
    """What the clients share."""

    url: str
    ends: float
    calls: dict[str, list[float]] = Factory(dict)
    errors: list[str] = Factory(list)
    accepted: int = 0
    ended: int = 0
    pruned: int = 0
    open: set[str] = Factory(set)

    @property
    def is_over(self) -> bool:
        """Whether no client begins anything more."""
        return time.monotonic() >= self.ends

    async def timed(self, what: str, call: Awaitable[object]) -> object:
        """Make a call, and note how long it took."""
        began = time.monotonic()
        try:
            return await call
        finally:
            self.calls.setdefault(what, []).append(time.monotonic() - began)


async def submit_and_wait(
    load: Load, client: AsyncClient, chance: random.Random, name: str
) -> None:
    """Submit a group, see to its end, and look at what has come of it."""
    hours = chance.randrange(48, 24 * (DAYS - 2))
    end = END - HOUR * chance.randrange(24)
    span: dict[str, Json] = {"start_timestamp": end - hours * HOUR, "end_timestamp": end}
    body = dump_json(
        {"job_group_id": name, "twap": span, "max_return": {**span, "window_hours": 24}}
    ).encode()
    await load.timed("submit", client.submit(body, priority=chance.choice([-1, 0, 0, 1])))
    load.accepted += 1
    load.open.add(name)
    wanted = {JobState.SUCCEEDED}
    if chance.random() < 0.15:
        await load.timed("cancel", client.act(Action.CANCEL, name))
        # It may have been faster, wholly or in part.
        wanted = {JobState.SUCCEEDED, JobState.CANCELLED}
    group = await _ended(load, client, name)
    load.open.discard(name)
    if group.status not in wanted:
        load.errors.append(f"{name} is {group.status}: {[job.error for job in group.jobs]}")
        return
    load.ended += 1
    if group.status is JobState.SUCCEEDED and chance.random() < 0.3:
        receipt = await load.timed("receipt", client.receipt(name, "twap"))
        assert isinstance(receipt, bytes)
        if chance.random() < 0.5:
            report = await load.timed("verify", client.verify(receipt))
            if not getattr(report, "accepted", False):
                load.errors.append(f"the receipt of {name} is not accepted: {report}")


async def _ended(load: Load, client: AsyncClient, name: str) -> GroupView:
    while True:
        group = await load.timed("status", client.status(name))
        assert isinstance(group, GroupView)
        if group.status in FINAL:
            return group
        await asyncio.sleep(LOOK_SECONDS)


async def look_around(load: Load, client: AsyncClient, chance: random.Random) -> None:
    """List groups by one thing or another, to the second page, and look at one in detail."""
    query = GroupQuery(
        state=chance.choice([None, *JobState]),
        proof_type=chance.choice([None, "twap"]),
        text=chance.choice([None, "load-1"]),
        limit=20,
    )
    page = await load.timed("list", client.find(query))
    cursor = getattr(page, "next_cursor", None)
    if cursor:
        await load.timed("list", client.find(query.from_cursor(cursor)))
    if load.open:
        name = chance.choice(sorted(load.open))
        await load.timed("status in detail", client.status(name, verbose=True))
    await asyncio.sleep(LOOK_SECONDS)


async def prune(load: Load, installation: Installation) -> None:
    """Remove what ended some seconds ago, as an operator does."""
    arguments = ("prune", "--older-than", PRUNED_AFTER, "--yes")
    told = await load.timed("prune", asyncio.to_thread(installation.command, *arguments))
    load.pruned += int(str(told).split()[0])
    await asyncio.sleep(PRUNE_SECONDS)


async def use(load: Load, plan: Plan, installation: Installation) -> None:
    """Let all clients do what they do until the time is over."""

    async def again(work: Callable[[int], Awaitable[None]]) -> None:
        number = 0
        while not load.is_over:
            try:
                await work(number)
            except (ProverError, httpx.HTTPError, AssertionError) as error:
                load.errors.append(f"{type(error).__name__}: {error}")
            number += 1

    async with AsyncClient(load.url) as client:
        chances = [random.Random(f"{plan.seed} {number}") for number in range(100)]
        works: list[Callable[[int], Awaitable[None]]] = [
            *(
                (
                    lambda number, who=who: submit_and_wait(
                        load, client, chances[who], f"load-{who}-{number}"
                    )
                )
                for who in range(plan.submitters)
            ),
            *(
                (lambda _, who=who: look_around(load, client, chances[50 + who]))
                for who in range(plan.readers)
            ),
            lambda _: prune(load, installation),
        ]
        await asyncio.wait_for(
            asyncio.gather(*map(again, works)), plan.seconds + DRAIN_SECONDS + PATIENCE_SECONDS
        )


async def watch(processes: dict[str, psutil.Process], seen: dict[str, list[Usage]]) -> None:
    """Look at the processes again and again."""
    while True:
        for name, process in processes.items():
            seen.setdefault(name, []).append(await asyncio.to_thread(usage, process))
        await asyncio.sleep(SAMPLE_SECONDS)


def usage(process: psutil.Process) -> Usage:
    """Look at a process and its children."""
    memory = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            memory += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Usage(memory / 2**20, process.num_fds())


def trend(seen: Sequence[Usage]) -> Trend:
    """Compare the second quarter of what was seen with the last one."""
    quarter = len(seen) // 4
    return Trend(_median(seen[quarter : 2 * quarter]), _median(seen[-quarter:]))


def _median(seen: Sequence[Usage]) -> Usage:
    return Usage(
        statistics.median(one.memory_mb for one in seen),
        round(statistics.median(one.descriptors for one in seen)),
    )


# Fewer looks than these say nothing of a trend.
FEWEST_SAMPLES = 40


def run(plan: Plan, directory: Path, *, database_url: str, sqs: SqsEmulator) -> Report:
    """Run the service and use it.

    Args:
        plan: How much of what.
        directory: For logs and files of the service.
        database_url: An empty database.
        sqs: An emulator of SQS.
    """
    installation = Installation(
        directory,
        {},
        {
            **sqs.environment,
            "DATABASE_URL": database_url,
            "PROVER_REQUIRED": "none",
            "PROVER_WORKER_SLOTS": "1",
            "PROVER_SWEEP_SECONDS": "1",
        },
    )
    installation.command("migrate")
    queue = installation.command("queue", "create", f"load-{directory.name}").strip()
    installation.environment["SQS_QUEUE_URL"] = queue
    installation.command("headers", "simulate", "--days", str(DAYS), "--end", str(END))
    began = time.monotonic()
    seen: dict[str, list[Usage]] = {}
    names = [f"worker {number + 1}" for number in range(WORKERS)]
    with ExitStack() as stack:
        started = {"API": stack.enter_context(installation.running("api"))}
        for name in names:
            started[name] = stack.enter_context(installation.running("worker"))
        load = Load(installation.url("api"), time.monotonic() + plan.seconds)
        processes = {name: psutil.Process(process.pid) for name, process in started.items()}

        async def both() -> None:
            watching = asyncio.create_task(watch(processes, seen))
            try:
                await use(load, plan, installation)
            finally:
                watching.cancel()

        asyncio.run(both())
        left, messages = _left(load.url)
        complaints = _complaints(installation)
    return Report(
        seconds=time.monotonic() - began,
        calls=load.calls,
        errors=load.errors,
        accepted=load.accepted,
        ended=load.ended,
        pruned=load.pruned,
        left=left,
        messages=messages,
        trends={
            name: trend(samples) for name, samples in seen.items() if len(samples) >= FEWEST_SAMPLES
        },
        complaints=complaints,
    )


def _left(url: str) -> tuple[int, int]:
    """Return how many jobs have not ended, and how many messages there are, once it is quiet."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        now = scrape(url)
        left, messages = total(now, "prover_open_jobs"), total(now, "prover_queue_messages")
        if not left + messages or time.monotonic() > deadline:
            return round(left), round(messages + total(now, "prover_dead_letters"))
        time.sleep(SAMPLE_SECONDS)


def _complaints(installation: Installation) -> list[str]:
    return [
        line
        for arguments in (("api",), ("worker",))
        for line in installation.log(*arguments).read_text().splitlines()
        if " ERROR " in line or line.startswith("Traceback")
    ]


def show(report: Report, console: Console) -> None:
    """Print what came of a run."""
    table = Table("call", "how often", "median", "99 of 100", "longest")
    for what, seconds in sorted(report.calls.items()):
        ranked = sorted(seconds)
        shown = (ranked[len(ranked) // 2], ranked[len(ranked) * 99 // 100], ranked[-1])
        table.add_row(what, str(len(ranked)), *(f"{one * 1000:.0f} ms" for one in shown))
    console.print(table)
    trends = Table("process", "memory early", "late", "descriptors early", "late")
    for name, one in report.trends.items():
        trends.add_row(
            name,
            f"{one.before.memory_mb:.0f} MB",
            f"{one.after.memory_mb:.0f} MB",
            str(one.before.descriptors),
            str(one.after.descriptors),
        )
    console.print(trends)
    console.print(
        f"{report.seconds:.0f} s, {report.accepted} groups accepted, {report.ended} ended as they "
        f"should, {report.pruned} pruned, {len(report.errors)} errors, {report.left} jobs and "
        f"{report.messages} messages left"
    )


def main() -> None:
    """Run it for as long as the arguments say: seconds, and a seed."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else FULL_SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else FULL_SEED
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="prover-load-") as directory,
        postgres_server() as postgres,
        moto_server() as sqs,
    ):
        report = run(
            Plan(seconds=seconds, seed=seed),
            Path(directory),
            database_url=postgres.create_database(),
            sqs=sqs,
        )
    show(report, console)
    for words in report.broken:
        console.print(f"[red]{words}[/red]")
    if report.broken:
        raise SystemExit(1)
    console.print("nothing was lost, and nothing grew")


if __name__ == "__main__":
    main()
