"""How late heartbeats come while every core computes, on PostgreSQL and SQS."""

import time
from collections.abc import Iterator
from statistics import median

from bench_plugins import BUSY_PLUGIN, install_plugin
from jobs import figure
from load import END_HOUR, HOUR_SECONDS, header_file, posts
from processes import api, process
from report import Better, Figure, Table, compared
from stand import Engine, Place, Stand

from prover_framework.worker.heartbeat import HEARTBEATS_PER_LEASE

# Computations that keep every core busy while heartbeats are watched.
JOBS = 6
SECONDS = 6.0
LEASE_SECONDS = 3.0
HEARTBEAT_SECONDS = LEASE_SECONDS / HEARTBEATS_PER_LEASE

LOOK_SECONDS = 0.05

LEASES = "SELECT lease_token, lease_until FROM job WHERE state = 'running'"
OPEN = "SELECT COUNT(*) FROM job WHERE finished_at IS NULL"


def late(stand: Stand) -> Iterator[Table]:
    """Measure them from the leases that they extend."""
    yield compared(
        f"Heartbeats while all cores compute, due every {HEARTBEAT_SECONDS:g} s",
        _late(stand),
    )


def _late(stand: Stand) -> Iterator[Figure]:
    found = [_lateness(_place(stand, number)) for number in range(len(stand.checkouts))]
    engine = Engine.SQS
    medians = [median(seconds) * 1000 for seconds in found]
    yield figure("late, median", "ms", engine, medians, Better.LESS)
    longest = [max(seconds) * 1000 for seconds in found]
    yield figure("late, at most", "ms", engine, longest, Better.LESS)


def _place(stand: Stand, number: int) -> Place:
    made = stand.place(stand.checkouts[number], Engine.SQS)
    made.run(["headers", "import", header_file(stand.folder("hour"), 1)])
    plugin = install_plugin(stand.folder("site"), "busy", BUSY_PLUGIN)
    return made.given({**plugin, "PROVER_LEASE_SECONDS": str(LEASE_SECONDS)})


def _lateness(place: Place) -> list[float]:
    """Watch the leases of running jobs until all have ended."""
    window = {"start_timestamp": END_HOUR - HOUR_SECONDS, "end_timestamp": END_HOUR}
    with api(place.checkout, place.environment) as (_, port):
        busy = {**window, "seconds": SECONDS}
        posts(port, [{"job_group_id": f"busy-{number}", "busy": busy} for number in range(JOBS)], 1)
    until: dict[str, int] = {}
    seconds: list[float] = []
    with place.reader() as reader, process(place.checkout, ["worker"], place.environment):
        while reader.number(OPEN):
            for token, lease_until in reader.rows(LEASES):
                before = until.get(token)
                until[token] = lease_until
                # The first heartbeat comes at any time after a job was taken.
                if before is not None and lease_until != before:
                    seconds.append((lease_until - before) / 1000 - HEARTBEAT_SECONDS)
            time.sleep(LOOK_SECONDS)
    return seconds
