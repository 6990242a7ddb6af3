"""What the API takes to accept and to answer, alone and while the same process computes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from subprocess import DEVNULL, Popen

import psutil
from attrs import evolve, frozen
from checkouts import Checkout
from jobs import figure, wait_for_all
from load import THE_THREE_ALONE, Body, Served, gets, posts, round_of, seconds_of
from processes import api, cpu_time, free_port, wait_for_port
from report import Better, Figure, Table, compared
from stand import Engine, Place, Stand

POSTS = 3000
POST_CONNECTIONS = 64

# Of these the first warm processes up and are not counted.
WARM_POSTS = 300

GETS = 4000
GET_CONNECTIONS = 32

# Rounds that a worker is at while the API is asked, and what it is asked meanwhile.
BUSY_ROUNDS = 60
BUSY_GETS = 1000

STATUS = "/api/job/asked"

# What takes nothing but what each request does.
PROBE = "/health"

# The same framework, the same bytes, and nothing else.
BARE = """
import sys
from pathlib import Path
from sanic import Sanic
from sanic.response import raw

port, body = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
app = Sanic("bare")

@app.get("/api/job/<group_id>")
async def bare(request, group_id):
    return raw(body, content_type="application/json")

app.run("127.0.0.1", port, single_process=True, access_log=False, motd=False)
"""


@frozen
class Cost:
    """What requests took.

    Args:
        served: As clients saw it.
        cpu_ms: Of the process, for a request.
        client_ms: Of this process, which asks, for a request.
        server_ms: Of the database's server, for a request.
    """

    served: Served
    cpu_ms: float
    client_ms: float = 0.0
    server_ms: float = 0.0


def accepting(stand: Stand) -> Iterator[Table]:
    """Measure POST /api/job with three jobs each."""
    bodies = [round_of(f"post-{number}", number) for number in range(WARM_POSTS + POSTS)]

    def place(number: int, engine: Engine) -> Place:
        made = stand.place(stand.checkouts[number], engine)
        return made.given(THE_THREE_ALONE)

    def figures() -> Iterator[Figure]:
        for engine in Engine:
            costs = [
                accepted(place(number, engine), bodies, POST_CONNECTIONS)
                for number in range(len(stand.checkouts))
            ]
            rates = [cost.served.rate for cost in costs]
            yield figure("groups of three jobs", "groups/s", engine, rates, Better.MORE)
            cpu = [cost.cpu_ms for cost in costs]
            yield figure("group of three: service", "CPU ms", engine, cpu, Better.LESS)

    yield compared(
        f"POST /api/job, three jobs each, {POST_CONNECTIONS} clients, stored before the answer",
        figures(),
    )


def accepted(place: Place, bodies: Sequence[Body], connections: int) -> Cost:
    """Post groups to an API without a worker, and return what all but the first cost."""
    counted = bodies[WARM_POSTS:]
    with api(place.checkout, place.environment) as (service, port):
        posts(port, bodies[:WARM_POSTS], connections)
        server = place.server_time()
        cost = _cost(service, lambda: posts(port, counted, connections))
    return evolve(cost, server_ms=(place.server_time() - server) / len(counted) * 1000)


def _cost(service: psutil.Process, ask: Callable[[], Served]) -> Cost:
    before, own = cpu_time(service), time.process_time()
    served = ask()
    used, own = cpu_time(service).since(before), time.process_time() - own
    count = len(served.answers)
    return Cost(served, used.own / count * 1000, own / count * 1000)


def answering(stand: Stand) -> Iterator[Table]:
    """Measure GET /api/job/ID of a group with results, beside a handler that does nothing."""
    idle, busy, bare, probes = [], [], [], []
    for checkout in stand.checkouts:
        place = stand.place(checkout, Engine.SQLITE).given(THE_THREE_ALONE)
        place.run(["headers", "import", stand.hours])
        with api(checkout, place.environment, "up") as (service, port), place.reader() as reader:
            posts(port, [round_of("asked")], 1)
            wait_for_all(reader)
            _ask(port, GETS // 10)
            idle.append(_cost(service, partial(_ask, port, GETS)))
            probes.append(_cost(service, partial(_ask, port, GETS, PROBE)))
            answer = gets(port, STATUS, 1, 1).answers[0].body
            posts(port, [round_of(f"busy-{number}", number) for number in range(BUSY_ROUNDS)], 8)
            busy.append(_ask(port, BUSY_GETS))
        bare.append(_bare(checkout, stand.folder("bare") / "answer.json", answer))
    yield compared(
        f"GET /api/job/ID of a group of three results, {GET_CONNECTIONS} connections",
        _figures(idle, busy, bare, probes),
        f"The bare handler answers the same {len(answer):,} bytes from memory, in the same "
        "framework.",
    )


def _ask(port: int, count: int, path: str = STATUS) -> Served:
    return gets(port, path, count, GET_CONNECTIONS)


def _figures(
    idle: Sequence[Cost], busy: Sequence[Served], bare: Sequence[Cost], probes: Sequence[Cost]
) -> Iterator[Figure]:
    engine = Engine.SQLITE
    rates = [cost.served.rate for cost in idle]
    yield figure("status of a group", "answers/s", engine, rates, Better.MORE)
    cpu = [cost.cpu_ms for cost in idle]
    yield figure("status of a group: service", "CPU ms", engine, cpu, Better.LESS)
    cpu = [cost.cpu_ms for cost in probes]
    yield figure("a probe of its health: service", "CPU ms", engine, cpu, Better.LESS)
    cpu = [cost.cpu_ms for cost in bare]
    yield figure("the bare handler: its process", "CPU ms", engine, cpu, Better.LESS)
    beside = [cost.cpu_ms / other.cpu_ms for cost, other in zip(idle, bare, strict=True)]
    yield figure("the same beside a bare handler", "times", engine, beside, Better.LESS)
    slowest = [quantiles(seconds_of(served.answers), n=100)[-1] * 1000 for served in busy]
    yield figure("99 % while it computes", "ms", engine, slowest, Better.LESS)


def _bare(checkout: Checkout, file: Path, answer: bytes) -> Cost:
    file.write_bytes(answer)
    with _bare_server(checkout, file) as (service, port):
        _ask(port, GETS // 10)
        return _cost(service, lambda: _ask(port, GETS))


@contextmanager
def _bare_server(checkout: Checkout, file: Path) -> Iterator[tuple[psutil.Process, int]]:
    port = free_port()
    command = [str(checkout.python), "-c", BARE, str(port), str(file)]
    with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as server:
        try:
            wait_for_port(port)
            yield psutil.Process(server.pid), port
        finally:
            server.terminate()
