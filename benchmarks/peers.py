"""Other job systems on the same servers, with the same job that does nothing.

They run in a virtual environment of their own, since nothing of the project needs them. Each is set
up for what it is good at; what it leaves out stands beside its figure.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from attrs import frozen
from checkouts import ROOT
from jobs import NOOP_JOBS, noop_place, worked
from load import one_of
from processes import STOP_SECONDS, CpuTime, cpu_time
from report import Table, shown
from sqs_server import REGION
from stand import Engine, Stand

BIN = ROOT / ".venv-peers" / "bin"

JOBS = 1500
WORKERS = 2

# The first part of the jobs warms processes up and is not counted.
WARM_PART = 0.2
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.02

# Each writes a byte for each job, which is how its end is seen.
DONE = """
def done():
    with open(os.environ["PEER_DONE"], "ab") as file:
        file.write(b".")
    return 1
"""

CELERY = """
import os
from celery import Celery

app = Celery("peer", broker=os.environ["PEER_BROKER"], backend=os.environ.get("PEER_BACKEND"))
app.conf.update(
    broker_transport_options={
        "region": os.environ["AWS_REGION"],
        "is_secure": False,
        "wait_time_seconds": 20,
        "visibility_timeout": 60,
        "predefined_queues": {
            "celery": {
                "url": os.environ["PEER_QUEUE"],
                "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
                "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            }
        },
    },
    task_ignore_result="PEER_BACKEND" not in os.environ,
    # As much as one receive brings for each process.
    worker_prefetch_multiplier=10,
)

@app.task(name="noop")
def noop():
    return done()

def send(count):
    for _ in range(count):
        noop.delay()
"""

PROCRASTINATE = """
import asyncio, os
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["PEER_DATABASE"]))

@app.task(name="noop")
async def noop(number):
    return done()

async def defer(count):
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await noop.batch_defer_async(*({"number": number} for number in range(count)))

def send(count):
    asyncio.run(defer(count))
"""

HUEY = """
import os
from huey import SqliteHuey

app = SqliteHuey("peer", filename=os.environ["PEER_FILE"], fsync=True)

@app.task()
def noop():
    return done()

def send(count):
    for _ in range(count):
        noop()
"""

MAKE_QUEUE = """
import sys
import boto3

print(boto3.client("sqs").create_queue(QueueName=sys.argv[1])["QueueUrl"])
"""


@frozen
class Peer:
    """Another job system, as it is set up here.

    Args:
        name: What tables call it.
        stored: Where its jobs and results are, and how durably.
        lacks: What it does not do that a job of this service includes.
        program: Defines the job, and a function that sends so many.
        worker: Its worker's command, within the environment of peers.
        environment: The variables of both.
    """

    name: str
    stored: str
    lacks: str
    program: str
    worker: Sequence[str]
    environment: Mapping[str, str]


@frozen
class Done:
    """What a worker did.

    Args:
        rate: Jobs a second.
        cpu_ms: Of the worker with all its processes, for a job.
        server_ms: Of the database's server, for a job.
    """

    rate: float
    cpu_ms: float
    server_ms: float


LACKS = "leases, one result for each job under retries, receipts, limits of time and memory"


def beside(stand: Stand) -> Iterator[Table]:
    """Measure this service's job that does nothing beside those of others."""
    if not BIN.exists():
        raise NoPeers(f"{BIN.parent} is missing: make .venv-peers/.ready")
    rows = []
    number = len(stand.checkouts) - 1
    for engine in Engine:
        place = noop_place(stand, number, engine)
        work = worked(place, [one_of("noop", f"noop-{i}") for i in range(NOOP_JOBS)])
        done = Done(work.rate, work.service_ms + work.sandbox_ms, work.server_ms)
        rows.append(_row("this service", engine.value, done, "-"))
    rows += [
        _row(peer.name, peer.stored, _measure(stand, peer), peer.lacks) for peer in _peers(stand)
    ]
    columns = ("", "stored", "jobs/s", "CPU ms a job", "of the server", "what it does not do")
    yield Table(
        "Jobs that compute nothing, beside other systems",
        columns,
        rows,
        [f"{WORKERS} processes that compute, {NOOP_JOBS:,} jobs here and {JOBS:,} of the others."],
    )


class NoPeers(Exception):
    """The other systems are not installed; the message says how."""


def _row(name: str, stored: str, done: Done, lacks: str) -> Sequence[str]:
    return (name, stored, shown(done.rate), shown(done.cpu_ms), shown(done.server_ms), lacks)


def _peers(stand: Stand) -> Iterator[Peer]:
    sqs = {
        "AWS_DEFAULT_REGION": REGION,
        "PEER_BROKER": stand.sqs.replace("http://", "sqs://test:test@") + "//",
    }
    celery = ["celery", "-A", "peer", "worker", "-c", str(WORKERS), "-l", "ERROR"]
    yield Peer(
        "celery, results dropped",
        "SQS in memory",
        f"results; {LACKS}",
        CELERY,
        celery,
        {**sqs, "PEER_QUEUE": _queue("dropped", sqs)},
    )
    results = stand.postgres.create_database().replace("postgres://", "postgresql+psycopg2://")
    yield Peer(
        "celery, results stored",
        Engine.SQS.value,
        LACKS,
        CELERY,
        celery,
        {**sqs, "PEER_QUEUE": _queue("stored", sqs), "PEER_BACKEND": f"db+{results}"},
    )
    yield Peer(
        "procrastinate",
        Engine.POSTGRES.value,
        f"results, isolation; {LACKS}",
        PROCRASTINATE,
        ["procrastinate", "--app", "peer.app", "worker", "--concurrency", str(8 * WORKERS)],
        {"PEER_DATABASE": stand.postgres.create_database(), "PYTHONPATH": "."},
    )
    yield Peer(
        "huey",
        "SQLite, full sync",
        f"redelivery of a job whose worker died; {LACKS}",
        HUEY,
        ["huey_consumer", "peer.app", "-k", "process", "-w", str(WORKERS), "-q"],
        {"PEER_FILE": str(stand.folder("huey") / "huey.sqlite3"), "PYTHONPATH": "."},
    )


def _queue(name: str, environment: Mapping[str, str]) -> str:
    return _run(["python", "-c", MAKE_QUEUE, f"peer-{name}"], ROOT, environment)


def _measure(stand: Stand, peer: Peer) -> Done:
    folder = stand.folder("peer")
    imports, _, rest = peer.program.partition("\n\n")
    (folder / "peer.py").write_text(f"{imports}\n{DONE}\n{rest}")
    file = folder / "done"
    file.touch()
    environment = {**peer.environment, "PEER_DONE": str(file)}
    _run(["python", "-c", f"import peer; peer.send({JOBS})"], folder, environment)
    assert stand.postgres.process
    server = psutil.Process(stand.postgres.process.pid)
    with _worker(peer, folder, environment) as worker:
        first = _until(file, round(JOBS * WARM_PART), worker, server)
        last = _until(file, JOBS, worker, server)
    jobs = last[0] - first[0]
    used = last[2].since(first[2]).all
    return Done(
        jobs / (last[1] - first[1]),
        used / jobs * 1000,
        last[3].since(first[3]).all / jobs * 1000,
    )


@contextmanager
def _worker(peer: Peer, folder: Path, environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    command, *arguments = peer.worker
    with subprocess.Popen(
        [BIN / command, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            yield psutil.Process(worker.pid)
        finally:
            worker.terminate()
            worker.wait(STOP_SECONDS)


def _until(
    file: Path, size: int, worker: psutil.Process, server: psutil.Process
) -> tuple[int, float, CpuTime, CpuTime]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (done := file.stat().st_size) < size:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done} of {size} jobs are done")
        time.sleep(LOOK_SECONDS)
    return done, time.perf_counter(), cpu_time(worker), cpu_time(server)


def _run(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    program, *arguments = command
    done = subprocess.run(
        [BIN / program, *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()
