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
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil
from attrs import Factory, define, evolve, frozen
from hostile_http import CHUNKED, HOSTILE_CHUNKS, HOSTILE_HEADS, OTHER_CODINGS, POST
from hostile_receipts import TRAP, hostile_bodies, sprung
from prover_processes import Installation
from rich.console import Console
from rich.table import Table
from sqs_server import SqsEmulator, moto_server
from waiting import PATIENCE_SECONDS

from prover_framework.queues.sqs.client import open_client

END = 1_704_067_200
RANGE = {"start_timestamp": END - 86_400, "end_timestamp": END}

# How often the prober asks, each time on a new connection, as probes do.
PROBE_SECONDS = 0.02

# What a service that is healthy answers within, as the run has it to hold.
HEALTH_SECONDS = 0.25

# A stranger who comes again at once has to be slower than the machine, or only he is measured.
REST_SECONDS = 0.01

# What a stranger waits for an answer: longer than the service's own limits.
ANSWER_SECONDS = 75.0

# What a service may have gained when it is over, beyond what it had when it was warm.
MEMORY_MB = 100

# Statuses that nobody may be able to bring about from outside.
FORBIDDEN = frozenset({500, 502, 504})

NO_ANSWER = 0

# Receipts of this part are good ones with some bytes changed.
MUTATED_PART = 0.3

OK = 200

# How often somebody honest asks for something.
HONEST_SECONDS = 1.0

# Each kind of stranger that has to have had an answer.
KINDS = frozenset(
    {
        "bad framing",
        "hostile receipts",
        "honest groups",
        "keys guessed",
        "odd addresses",
        "slow clients",
        "too large, deep or broken",
        "wrong host, origin or type",
    }
)


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
    cpu_seconds: float
    memory_mb: tuple[float, float]
    groups: int
    succeeded: int
    messages: int
    tracebacks: int
    stopped: bool

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
                longest > self.plan.health_seconds + machine
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


@define(eq=False)
class Stage:
    """All that the strangers work with."""

    plan: Plan
    url: str
    key: str
    answers: dict[str, Counter[int]] = Factory(dict)
    groups: list[str] = Factory(list)
    messages: int = 0

    def count(self, kind: str, status: int) -> None:
        """Count an answer."""
        self.answers.setdefault(kind, Counter())[status] += 1

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the API."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    @property
    def authorization(self) -> bytes:
        """The header with the key, for requests that are written by hand."""
        return f"Authorization: Bearer {self.key}\r\n".encode()

    async def exchange(self, kind: str, request: bytes) -> None:
        """Send bytes on a connection of its own, and count what comes back."""
        writer = None
        status = NO_ANSWER
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(*self.address)
                writer.write(request)
                if writer.can_write_eof():
                    writer.write_eof()
                status = status_in(await reader.read())
        except (OSError, TimeoutError):
            pass
        finally:
            if writer is not None:
                writer.transport.abort()
        self.count(kind, status)


def status_in(answer: bytes) -> int:
    """Return the status of an answer; `NO_ANSWER` where there is none."""
    parts = answer.split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else NO_ANSWER


# Strangers. Each does one thing, whatever becomes of it, and is called again and again.

Stranger = Callable[[Stage, httpx.AsyncClient, random.Random], Awaitable[None]]


async def frame_badly(stage: Stage, client: httpx.AsyncClient, chance: random.Random) -> None:
    """Send what is not exactly HTTP."""
    del client
    request = chance.choice(
        (
            chance.choice(HOSTILE_HEADS),
            CHUNKED + chance.choice(HOSTILE_CHUNKS),
            POST + b"Transfer-Encoding: " + chance.choice(OTHER_CODINGS) + b"\r\n\r\n0\r\n\r\n",
            mutated(POST + stage.authorization + b"Content-Length: 2\r\n\r\n{}", chance),
            chance.randbytes(chance.randrange(1, 4000)),
        )
    )
    await stage.exchange("bad framing", request)


@cache
def bodies_too_much() -> tuple[bytes, ...]:
    """Return bodies that are deep, long, wide or broken; made once, since that takes its time."""
    bodies = [
        b'{"job_group_id": "\xff\xfe"}',
        b'{"job_group_id": "\\ud800"}',
        b'{"job_group_id": "a", "job_group_id": "b"}',
        b'{"job_group_id": "g", "twap": {"start_timestamp": 1e' + b"9" * 400 + b"}}",
        b"NaN",
        b"",
    ]
    for depth in (50, 99, 101, 30_000):
        bodies.append(b"[" * depth + b"]" * depth)
        bodies.append(b'{"a":' * depth + b"1" + b"}" * depth)
        bodies.append(b'{"job_group_id": "g", "twap": ' + b"[" * depth)
    for width in (10, 5000, 300_000):
        bodies.append(json.dumps({f"k{n}": n for n in range(width)}).encode())
        bodies.append(json.dumps({"job_group_id": "x" * width}).encode())
        bodies.append(b'{"job_group_id": "g", "twap": {"start_timestamp": ' + b"9" * width + b"}}")
    return tuple(bodies)


async def post_too_much(stage: Stage, client: httpx.AsyncClient, chance: random.Random) -> None:
    """Post bodies that are deep, long, wide or broken."""
    match chance.randrange(4):
        case 0:
            body = mutated(json.dumps(group_body("g")).encode(), chance)
        case 1:
            body = chance.randbytes(chance.randrange(1, 100_000))
        case _:
            body = chance.choice(bodies_too_much())
    answer = await client.post("/api/job", content=body, headers=JSON)
    stage.count("too large, deep or broken", answer.status_code)


async def come_from_elsewhere(
    stage: Stage, client: httpx.AsyncClient, chance: random.Random
) -> None:
    """Come through another host's name, or from another's page."""
    headers = chance.choice(
        (
            {"Host": "rebound.example"},
            {"Host": "127.0.0.1.rebound.example"},
            {"Host": "[::ffff:8.8.8.8]"},
            {"Host": "x" * 5000},
            {"Origin": "https://other.example"},
            {"Origin": "null"},
            {"Origin": f"{stage.url}.other.example"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
            {"Content-Type": "text/plain"},
        )
    )
    given = {**JSON, **headers}
    answer = await client.post("/api/job", content=b"{}", headers=given)
    stage.count("wrong host, origin or type", answer.status_code)


async def guess_keys(stage: Stage, client: httpx.AsyncClient, chance: random.Random) -> None:
    """Guess keys: made up, nearly right, or not of the form."""
    place = chance.randrange(len(stage.key))
    nearly = stage.key[:place] + chance.choice("0123456789abcdef_") + stage.key[place + 1 :]
    guess = chance.choice(
        (
            f"Bearer {chance.randbytes(40).hex()}",
            f"Bearer prover_{chance.randbytes(6).hex()}_{chance.randbytes(32).hex()}",
            f"Bearer {stage.key[:19]}_{chance.randbytes(32).hex()}",
            f"Bearer {nearly}x",
            f"Basic {chance.randbytes(20).hex()}",
            "Bearer",
            "x" * 3000,
        )
    )
    answer = await client.get("/api/keys", headers={"Authorization": guess})
    stage.count("keys guessed", answer.status_code)


async def ask_for_odd_things(
    stage: Stage, client: httpx.AsyncClient, chance: random.Random
) -> None:
    """Ask for groups, files and addresses that cannot be."""
    odd = chance.choice(
        (
            "%00",
            "..%2f..%2fetc%2fpasswd",
            "%ff%fe",
            "a%0d%0aX:%20y",
            "x" * 3000,
            "%f0%9f%92%a9",
            "' or 1=1",
        )
    )
    path = chance.choice(
        (
            f"/api/job/{odd}",
            f"/api/job/{odd}/receipt",
            f"/api/job/g/receipt/{odd}",
            f"/api/job/g/attachment/{odd}/{odd}",
            f"/api/job/g?namespace={odd}",
            f"/api/job/g?verbose={odd}&{odd}",
            f"/{odd}",
            f"/api/keys/../{odd}",
            "/api/job/" + "/".join("a" * 300),
        )
    )
    method = chance.choice(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X-ODD"))
    answer = await client.request(method, path)
    stage.count("odd addresses", answer.status_code)


STRANGERS: tuple[Stranger, ...] = (
    frame_badly,
    post_too_much,
    come_from_elsewhere,
    guess_keys,
    ask_for_odd_things,
)

JSON = {"Content-Type": "application/json"}


def mutated(request: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few of them changed, left out or doubled."""
    changed = bytearray(request)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[place] = chance.randrange(256)
            case 1:
                del changed[place : place + chance.randrange(1, 8)]
            case 2:
                changed[place:place] = changed[place : place + chance.randrange(1, 40)]
        if not changed:
            changed = bytearray(b"\r")
    return bytes(changed)


async def be_slow(stage: Stage, chance: random.Random) -> None:
    """Keep a connection: send a byte now and then, or nothing, or read nothing of an answer."""
    kind = chance.choice(("head", "body", "nothing", "deaf"))
    length = b"Content-Length: 60000\r\n\r\n"
    start = {
        "head": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ",
        "body": POST + stage.authorization + length,
        "nothing": b"",
        "deaf": (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") * 50,
    }[kind]
    writer = None
    status = NO_ANSWER
    try:
        reader, writer = await asyncio.open_connection(*stage.address, limit=4096)
        writer.write(start)
        while kind != "deaf" or not reader.at_eof():
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            if kind in ("head", "body"):
                writer.write(b"x")
                await writer.drain()
            if kind != "deaf":
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        answer = await reader.read(2000)
                        status = status_in(answer)
                        break
    except OSError:
        pass
    finally:
        if writer is not None:
            writer.transport.abort()
    stage.count("slow clients", status)


@cache
def hostile_messages() -> tuple[str, ...]:
    """Return messages that nobody can understand, or that ask for what they should not."""
    good = {"job_id": "twap", "job_group_id": "of-a-stranger", **RANGE}
    return (
        "hello",
        *("[" * depth for depth in (50, 200, 20_000)),
        *('{"a":' * depth for depth in (50, 200, 20_000)),
        json.dumps({**good, "job_group_id": "team/x"}),
        json.dumps({**good, "job_group_id": "../x"}),
        json.dumps({**good, "job_id": "sharpe"}),
        json.dumps({**good, "start_timestamp": 10**30}),
        json.dumps({**good, "start_timestamp": -1}),
        json.dumps({**good, "version": 10**9, "id": "ab" * 16}),
        json.dumps({**good, "version": 1, "id": "ab" * 16}),
        json.dumps({**good, "version": 1, "id": "../" * 20}),
        json.dumps({"pad": "x" * 200_000}),
        json.dumps({f"k{n}": n for n in range(5000)}),
        *(json.dumps(good)[:end] for end in range(1, 90, 9)),
        # These ask for a proof as they should: it is computed, like anybody's.
        *(json.dumps({**good, "job_group_id": f"stranger-{n}"}) for n in range(5)),
    )


def group_body(group_id: str) -> dict[str, Any]:
    """Return what somebody honest asks for."""
    return {
        "job_group_id": group_id,
        "twap": RANGE,
        "reserve_price": RANGE,
        "max_return": {**RANGE, "window_hours": 12},
        "trap": {**RANGE, "way": 0},
    }


# Asks again and again how the service is, on a new connection each time, until its input ends; and
# the same of a server that does nothing else, which is as late as the machine is busy. It is a
# process of its own: whoever sends many megabytes has no time to look at a clock.
PROBE = """
import http.client, json, select, subprocess, sys, time

BARE = '''
import asyncio

async def answer(reader, writer):
    await reader.readuntil(bytes([13, 10, 13, 10]))
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
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


@frozen
class Prepared:
    """What is made before the service is looked at, since it takes some seconds.

    Args:
        receipts: Hostile receipts, as they are sent.
        receipt: A good one.
    """

    receipts: tuple[bytes, ...]
    receipt: bytes


def prepare(receipt: bytes) -> Prepared:
    """Make all that strangers send."""
    bodies_too_much()
    hostile_messages()
    ways = (101, 102, 103, 104)
    sprung_traps = tuple(sprung(receipt, way) for way in ways)
    return Prepared((*sprung_traps, *hostile_bodies().values()), receipt)


async def send_receipts(
    stage: Stage, client: httpx.AsyncClient, chance: random.Random, prepared: Prepared
) -> None:
    """Send a receipt that is made to keep somebody busy, or a good one with some bytes changed."""
    is_mutated = chance.random() < MUTATED_PART
    body = mutated(prepared.receipt, chance) if is_mutated else chance.choice(prepared.receipts)
    answer = await client.post("/api/verify", content=body, headers=JSON)
    stage.count("hostile receipts", answer.status_code)


async def be_honest(stage: Stage, client: httpx.AsyncClient, chance: random.Random) -> None:
    """Ask for a job group, as clients do."""
    del chance
    name = f"honest-{len(stage.groups)}"
    answer = await client.post("/api/job", json=group_body(name))
    stage.count("honest groups", answer.status_code)
    if answer.status_code == OK:
        stage.groups.append(name)
    await asyncio.sleep(HONEST_SECONDS)


async def ill_treat(stage: Stage, prepared: Prepared, queue_url: str) -> None:
    """Let all strangers in at once, for as long as the plan says, and until each had an answer."""
    plan, chance = stage.plan, random.Random(stage.plan.seed)

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
        stage = Stage(plan, installation.url("up"), key)
        service = psutil.Process(process.pid)
        receipt = _proved(stage, "before", "receipt/trap")
        prepared = prepare(receipt)
        before = service.memory_info().rss / 2**20
        used = sum(service.cpu_times()[:2])
        with probing(stage.url) as probe:
            asyncio.run(ill_treat(stage, prepared, queue_url))
        used = sum(service.cpu_times()[:2]) - used
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
        cpu_seconds=used,
        memory_mb=(before, after),
        groups=len(stage.groups),
        succeeded=succeeded,
        messages=stage.messages,
        tracebacks=_tracebacks(installation.log("up").read_text()),
        stopped=stopped,
    )


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
        f"{report.cpu_seconds:.1f} s of the processor, load of the machine {os.getloadavg()[0]:.1f}"
    )
    console.print(
        f"{report.messages:,} messages of strangers; {report.succeeded} of {report.groups} groups "
        f"of somebody honest came to what they should"
    )
    for words in report.broken:
        console.print(f"BROKEN: {words}")
    if not report.broken:
        console.print("it held")


def main() -> None:
    """Run the full plan, or one with another seed: ``abuse_run.py [SEED]``."""
    console = Console(highlight=False, soft_wrap=True)
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
