"""What strangers do to a service: each of them does one thing, decided by a seed."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import Any

import httpx
from attrs import Factory, define, frozen
from hostile_http import CHUNKED, HOSTILE_CHUNKS, HOSTILE_HEADS, OTHER_CODINGS, POST
from hostile_receipts import hostile_bodies, sprung

END = 1_704_067_200
RANGE = {"start_timestamp": END - 86_400, "end_timestamp": END}

# A stranger who comes again at once has to be slower than the machine, or only he is measured.
REST_SECONDS = 0.01

# What a stranger waits for an answer: longer than the service's own limits.
ANSWER_SECONDS = 75.0

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


@define(eq=False)
class Stage:
    """All that the strangers work with."""

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
