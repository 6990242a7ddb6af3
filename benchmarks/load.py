"""HTTP clients that keep an API busy, and headers to compute from."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from attrs import frozen

from prover_framework.chain.sources.simulated import BLOCKS_PER_HOUR, simulate

THE_THREE = ("twap", "reserve_price", "max_return")

# The variables of a service that has no other proof types.
THE_THREE_ALONE = {"PROVER_PLUGINS": ",".join(THE_THREE)}

END_HOUR = 1_704_067_200
HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS

# What a round asks for: the TWAP of 30 days, the others of 90.
DAYS = {"twap": 30, "reserve_price": 90, "max_return": 90}

# Of a simulated chain every so many is taken: hours are what computations see, not headers.
EVERY = BLOCKS_PER_HOUR // 3

# Of mainnet, later than the first block with a base fee.
FIRST_BLOCK = 16_930_000

Body = Mapping[str, object]


@frozen
class Answer:
    """An answer of the API.

    Args:
        status: Of HTTP.
        body: As it came.
        seconds: From the first byte asked to the last one answered.
    """

    status: int
    body: bytes
    seconds: float


@frozen
class Served:
    """What clients saw.

    Args:
        seconds: From the first request to the last answer.
        answers: One for each request, in no order.
    """

    seconds: float
    answers: Sequence[Answer]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.answers) / self.seconds


def round_of(group_id: str, number: int = 0) -> Body:
    """Return the request of the three proofs; each number has hours of its own."""
    end = END_HOUR - number * HOUR_SECONDS
    windows = {
        name: {"start_timestamp": end - days * DAY_SECONDS, "end_timestamp": end}
        for name, days in DAYS.items()
    }
    return {"job_group_id": group_id, **windows}


def one_of(proof: str, group_id: str) -> Body:
    """Return the request of one proof over one hour."""
    window = {"start_timestamp": END_HOUR - HOUR_SECONDS, "end_timestamp": END_HOUR}
    return {"job_group_id": group_id, proof: window}


def posts(port: int, bodies: Sequence[Body], connections: int) -> Served:
    """Post groups over some connections.

    Raises:
        RuntimeError: One was refused; with the answer.
    """
    requests = [_post(json.dumps(body).encode()) for body in bodies]
    return asyncio.run(_serve(port, requests, connections))


def gets(port: int, path: str, count: int, connections: int) -> Served:
    """Ask for the same path again and again over some connections.

    Raises:
        RuntimeError: One was refused; with the answer.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    return asyncio.run(_serve(port, [request] * count, connections))


def _post(body: bytes) -> bytes:
    return (
        b"POST /api/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def _serve(port: int, requests: Sequence[bytes], connections: int) -> Served:
    left = iter(requests)
    answers: list[Answer] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in left:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            answer = Answer(int(head.split()[1]), body, time.perf_counter() - began)
            if answer.status != 200:
                raise RuntimeError(body.decode())
            answers.append(answer)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return Served(time.perf_counter() - began, answers)


def header_file(folder: Path, hours: int) -> Path:
    """Write a file of CSV with headers of so many hours before the last, and one after it."""
    path = folder / "headers.csv"
    chain = simulate(END_HOUR - hours * HOUR_SECONDS, hours)
    with path.open("w") as file:
        file.write("number,timestamp,base_fee_per_gas\n")
        for number, header in enumerate(islice(chain, 0, None, EVERY)):
            file.write(f"{FIRST_BLOCK + number},{header.timestamp},{header.base_fee_wei}\n")
    return path


def seconds_of(answers: Sequence[Answer]) -> Iterator[float]:
    """Return how long each took."""
    return (answer.seconds for answer in answers)
