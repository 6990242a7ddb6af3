"""Ill-treat a running service from all sides, and see whether it still answers and computes.

Real processes on this machine: API and worker, and an SQS emulator. For some time strangers send
what is no HTTP, drip requests byte by byte, post bodies that are too much, come under wrong hosts
and origins, guess keys and addresses, send receipts that are made to keep somebody busy, and write
nonsense into the queue; all of it decided by a seed. Meanwhile somebody honest has his job groups
computed, and a prober asks for ``/health/live``.

``make abuse`` runs it at full size; ``make test`` has a small one.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from attrs import Factory, define, evolve, frozen
from hostile_receipts import TRAP
from prover_processes import Installation
from rich.console import Console
from rich.table import Table
from sqs_server import SqsEmulator, moto_server
from strangers import (
    ANSWER_SECONDS,
    END,
    KINDS,
    NO_ANSWER,
    REST_SECONDS,
    STRANGERS,
    Prepared,
    Stage,
    be_honest,
    be_slow,
    group_body,
    hostile_messages,
    prepare,
    send_receipts,
)
from waiting import PATIENCE_SECONDS

from prover_framework.queues.sqs.client import open_client

# How often the prober asks, each time on a new connection, as probes do.
PROBE_SECONDS = 0.02

# What a service that is healthy answers within, as the run has it to hold.
HEALTH_SECONDS = 0.25

# What a service may have gained when it is over, beyond what it had when it was warm.
MEMORY_MB = 100

# Statuses that nobody may be able to bring about from outside.
FORBIDDEN = frozenset({500, 502, 504})

# Where other programs have the processors for more than this part of the time that the service
# wants them, its answers say how busy the machine is.
BUSY_PART = 0.15


@frozen(kw_only=True)
class Plan:
    """How much of what.

    Args:
        seconds: How long it goes on.
        seed: Decides what is sent.
        each: How many strangers of each kind there are at a time.
        slow: How many connections drip or rest.
        verifying: How many send receipts at a time.
        health_seconds: What the longest answer of ``/health/live`` may take, beyond that of a
            server beside it that does nothing: the machine may be busy with something else.
    """

    seconds: float
    seed: int
    each: int = 2
    slow: int = 200
    verifying: int = 4
    health_seconds: float = HEALTH_SECONDS


FULL = Plan(seconds=60.0, seed=1559)


@frozen(kw_only=True)
class Report:
    """What came of a run.

    Args:
        plan: What was done.
        answers: How often each status was answered, by the kind of stranger; `NO_ANSWER` where
            the connection was closed without one.
        health: Seconds of each answer of ``/health/live``, sorted.
        beside: The same of a server beside it that does nothing: how late the machine alone is.
        health_failures: How often it was not answered, or not with 200.
        waited: The part of the time that the service stood ready and had no processor, since other
            programs had them; 0 where the system does not tell.
        cpu_seconds: Time of the processor that API and worker took meanwhile.
        memory_mb: Of API and worker, before and after.
        groups: How many groups of somebody honest were accepted.
        succeeded: How many of these have succeeded.
        messages: How many messages strangers wrote into the queue.
        tracebacks: How many there are in the log.
        stopped: Whether it ended well when it was asked to.
    """

    plan: Plan
    answers: dict[str, Counter[int]]
    health: list[float]
    beside: list[float]
    health_failures: int
    waited: float
    cpu_seconds: float
    memory_mb: tuple[float, float]
    groups: int
    succeeded: int
    messages: int
    tracebacks: int
    stopped: bool

    @property
    def is_judged(self) -> bool:
        """Whether the machine had time for the service, so that a late answer is its own fault."""
        return self.waited < BUSY_PART

    @property
    def broken(self) -> list[str]:
        """What did not hold, in words."""
        statuses = sum((counts for counts in self.answers.values()), Counter[int]())
        longest = self.health[-1] if self.health else float("inf")
        machine = self.beside[-1] if self.beside else 0.0
        wrong = {status: n for status, n in statuses.items() if status in FORBIDDEN}
        gained = self.memory_mb[1] - self.memory_mb[0]
        found = {
            f"/health/live took {longest * 1000:.0f} ms, more than "
            f"{self.plan.health_seconds * 1000:.0f} ms beyond what the machine takes": (
                self.is_judged and longest > self.plan.health_seconds + machine
            ),
            f"/health/live failed {self.health_failures} times": self.health_failures > 0,
            f"statuses that may not be: {wrong}": bool(wrong),
            f"{self.groups - self.succeeded} groups of somebody honest did not succeed": (
                self.succeeded < self.groups
            ),
            "nobody honest got anything in": self.groups == 0,
            f"{self.tracebacks} tracebacks in the log": self.tracebacks > 0,
            f"{gained:.0f} MB more memory than before": gained > MEMORY_MB,
            "it did not stop well": not self.stopped,
        }
        return [words for words, holds in found.items() if holds]


# Asks again and again how the service is, on a new connection each time, until its input ends; and
# the same of a server that does nothing else, which is as late as the machine is busy. It is a
# process of its own: whoever sends many megabytes has no time to look at a clock.
PROBE = """
import http.client, json, select, subprocess, sys, time

BARE = '''
import asyncio

async def answer(reader, writer):
    await reader.readuntil(bytes([13, 10, 13, 10]))
    end = bytes([13, 10])
    writer.write(b"HTTP/1.1 200 OK" + end + b"Content-Length: 0" + end + end)
    writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
'''

def ask(address):
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
        connection.close()
    except (OSError, http.client.HTTPException):
        status = 0
    return time.monotonic() - began, status

bare = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
try:
    beside = f"127.0.0.1:{bare.stdout.readline().strip()}"
    seconds, idle, failures = [], [], 0
    while not select.select([sys.stdin], [], [], float(sys.argv[2]))[0]:
        took, status = ask(sys.argv[1])
        seconds.append(took)
        failures += status != 200
        idle.append(ask(beside)[0])
finally:
    bare.kill()
    bare.wait()
print(json.dumps([sorted(seconds), failures, sorted(idle)]))
"""


@define(eq=False)
class Probe:
    """What the prober has found, once it has ended."""

    seconds: list[float] = Factory(list)
    failures: int = 0
    beside: list[float] = Factory(list)


@contextmanager
def probing(url: str) -> Iterator[Probe]:
    """Ask for ``/health/live`` while the body runs."""
    found = Probe()
    process = subprocess.Popen(
        [sys.executable, "-c", PROBE, url.removeprefix("http://"), str(PROBE_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield found
        written, _ = process.communicate(timeout=PATIENCE_SECONDS)
        found.seconds, found.failures, found.beside = json.loads(written)
    finally:
        process.kill()
        process.wait()


async def ill_treat(stage: Stage, plan: Plan, prepared: Prepared, queue_url: str) -> None:
    """Let all strangers in at once, for as long as the plan says, and until each had an answer."""
    chance = random.Random(plan.seed)

    async def again(work: Callable[[random.Random], Awaitable[None]], rest: float) -> None:
        own = random.Random(chance.random())
        while True:
            try:
                await work(own)
            except (httpx.HTTPError, httpx.InvalidURL):
                stage.count("clients that gave up", NO_ANSWER)
            await asyncio.sleep(rest)

    async with open_client(2) as sqs, _async_client(stage) as client:

        async def write_message(own: random.Random) -> None:
            body = own.choice(hostile_messages())
            await sqs.send_message(QueueUrl=queue_url, MessageBody=body)
            stage.messages += 1

        works: list[tuple[Callable[[random.Random], Awaitable[None]], float]] = [
            *(
                (lambda own, do=stranger: do(stage, client, own), REST_SECONDS)
                for stranger in STRANGERS
                for _ in range(plan.each)
            ),
            *((lambda own: be_slow(stage, own), 0.0) for _ in range(plan.slow)),
            *(
                (lambda own: send_receipts(stage, client, own, prepared), 10 * REST_SECONDS)
                for _ in range(plan.verifying)
            ),
            (lambda own: be_honest(stage, client, own), 0.0),
            (write_message, 5 * REST_SECONDS),
        ]
        tasks = [asyncio.create_task(again(*work)) for work in works]
        try:
            done, _ = await asyncio.wait(
                tasks, timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not done and KINDS - stage.answers.keys() and time.monotonic() < deadline:
                done, _ = await asyncio.wait(
                    tasks, timeout=REST_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            for task in done:
                # None of them ends but by a mistake.
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def _async_client(stage: Stage) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=stage.url,
        headers={"Authorization": f"Bearer {stage.key}"},
        timeout=ANSWER_SECONDS,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=50),
    )


def run(plan: Plan, directory: Path, sqs: SqsEmulator) -> Report:
    """Run the service and ill-treat it.

    Args:
        plan: How much of what.
        directory: For logs and files of the service.
        sqs: An emulator of SQS; its variables are this process's, too.
    """
    installation = Installation(
        directory,
        {"prover_test_trap": TRAP},
        {
            **sqs.environment,
            "PROVER_OTHER_SENDERS": "true",
            "PROVER_VERIFY_SECONDS": "2",
            "PROVER_SWEEP_SECONDS": "0.5",
            "PROVER_WORKER_SLOTS": "1",
        },
    )
    queue_url = installation.command("queue", "create", directory.name).strip()
    installation.environment["SQS_QUEUE_URL"] = queue_url
    installation.command("headers", "simulate", "--days", "2", "--end", str(END))
    generous = ("--requests-per-minute", "1000000", "--verifications-per-minute", "1000000")
    scopes = [part for scope in ("submit", "read", "verify") for part in ("--scope", scope)]
    key = installation.command("key", "api", "create", "honest", *scopes, *generous).strip()
    with installation.running("up") as process:
        stage = Stage(installation.url("up"), key)
        service = psutil.Process(process.pid)
        receipt = _proved(stage, "before", "receipt/trap")
        prepared = prepare(receipt)
        before = service.memory_info().rss / 2**20
        used, waited, began = sum(service.cpu_times()[:2]), _waited(process.pid), time.monotonic()
        with probing(stage.url) as probe:
            asyncio.run(ill_treat(stage, plan, prepared, queue_url))
        used = sum(service.cpu_times()[:2]) - used
        waited = (_waited(process.pid) - waited) / (time.monotonic() - began)
        succeeded = sum(_succeeds(stage, group) for group in stage.groups)
        after = service.memory_info().rss / 2**20
        process.send_signal(signal.SIGTERM)
        try:
            stopped = process.wait(PATIENCE_SECONDS) == 0
        except subprocess.TimeoutExpired:
            stopped = False
    return Report(
        plan=plan,
        answers=stage.answers,
        health=probe.seconds,
        beside=probe.beside,
        health_failures=probe.failures,
        waited=waited,
        cpu_seconds=used,
        memory_mb=(before, after),
        groups=len(stage.groups),
        succeeded=succeeded,
        messages=stage.messages,
        tracebacks=_tracebacks(installation.log("up").read_text()),
        stopped=stopped,
    )


def _waited(pid: int) -> float:
    """Return for how many seconds a process has stood ready without a processor."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def _client(stage: Stage) -> httpx.Client:
    return httpx.Client(
        base_url=stage.url,
        headers={"Authorization": f"Bearer {stage.key}"},
        timeout=ANSWER_SECONDS,
    )


def _proved(stage: Stage, group: str, address: str) -> bytes:
    """Have a group computed before it begins, so that all is warm; return something of it."""
    with _client(stage) as client:
        client.post("/api/job", json=group_body(group)).raise_for_status()
        if not _succeeds(stage, group):
            raise RuntimeError(client.get(f"/api/job/{group}").text)
        return client.get(f"/api/job/{group}/{address}").raise_for_status().content


def _succeeds(stage: Stage, group: str) -> bool:
    """Wait until a group has ended; return whether all of its jobs but the trap have results."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with _client(stage) as client:
        while time.monotonic() < deadline:
            answer = client.get(f"/api/job/{group}").json()
            if answer.get("status") in ("succeeded", "failed", "cancelled"):
                # The range is too short for a reserve price, which the job says.
                return {job["job_id"]: job["status"] for job in answer["jobs"]} == EXPECTED
            time.sleep(PROBE_SECONDS)
    return False


EXPECTED = {
    "twap": "succeeded",
    "reserve_price": "failed",
    "max_return": "succeeded",
    "trap": "succeeded",
}


def _tracebacks(log: str) -> int:
    """Count the tracebacks in a log, without those of the trap that was sprung."""
    sprung_traps = log.count("RuntimeError: sprung")
    return max(0, log.count("Traceback (most recent call last)") - sprung_traps)


def show(report: Report, console: Console) -> None:
    """Print what came of a run."""
    statuses = sorted({status for counts in report.answers.values() for status in counts})
    table = Table("strangers", *(str(status or "no answer") for status in statuses))
    for kind, counts in sorted(report.answers.items()):
        table.add_row(
            kind, *(f"{counts[status]:,}" if counts[status] else "" for status in statuses)
        )
    console.print(table)
    for name, answers in (
        ("/health/live", report.health),
        ("a server beside it that does nothing", report.beside),
    ):
        milliseconds = [seconds * 1000 for seconds in answers] or [0.0]
        console.print(
            f"{name}: {len(answers):,} answers, median {statistics.median(milliseconds):.1f} ms, "
            f"99 of 100 within {milliseconds[len(milliseconds) * 99 // 100]:.0f} ms, "
            f"longest {milliseconds[-1]:.0f} ms"
        )
    before, after = report.memory_mb
    console.print(
        f"memory: {before:.0f} MB before, {after:.0f} MB after; "
        f"{report.cpu_seconds:.1f} s of the processor, "
        f"and {report.waited:.0%} of the time without one"
    )
    console.print(
        f"{report.messages:,} messages of strangers; {report.succeeded} of {report.groups} groups "
        f"of somebody honest came to what they should"
    )
    if not report.is_judged:
        console.print("health checks are not judged: others kept the machine busy")
    for words in report.broken:
        console.print(f"BROKEN: {words}")
    if not report.broken:
        console.print("it held")


def main() -> None:
    """Run the full plan, or one with another seed: ``abuse_run.py [SEED]``."""
    # A table of statuses is wider than what a pipe is taken for.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    plan = evolve(FULL, seed=int(sys.argv[1])) if len(sys.argv) > 1 else FULL
    directory = Path(tempfile.mkdtemp(prefix="prover-abuse-"))
    console.print(f"logs: {directory}; {plan.seconds:g} s, seed {plan.seed}")
    with moto_server() as sqs:
        os.environ.update(sqs.environment)
        report = run(plan, directory, sqs)
    show(report, console)
    if report.broken:
        sys.exit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
