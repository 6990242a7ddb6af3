"""What a database that has been in service for long costs: a million jobs that have ended.

How plans hold against growth is tested by ``tests/database/test_growth.py``, and measured at three
sizes by ``make bench-growth``; here the largest stands beside the baseline.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from checkouts import Checkout
from jobs import figure
from load import DAY_SECONDS, END_HOUR, FIRST_BLOCK, THE_THREE_ALONE, posts, round_of
from processes import api, cpu_time, process
from report import Better, Figure, Table, compared
from stand import Engine, Place, Reader, Stand

ENDED_JOBS = 1_000_000
JOBS_A_GROUP = 3

# What is imported beside requests, and how long after one answer the next request comes.
IMPORTED = 400_000
REQUEST_SECONDS = 0.02

# A worker with nothing to do is watched so long, after it has started.
START_SECONDS = 4.0
WATCH_SECONDS = 8.0

INSIDE = Path(__file__).with_name("inside.py")

BEGAN_MS = 1_600_000_000_000

GROUP = "'old-' || CAST({} AS VARCHAR(20))"
UP_TO = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"

# By column, what a row of each table has; columns that a checkout lacks are left out.
GROUPS: Mapping[str, str] = {
    "id": GROUP.format("i"),
    "submission": "''",
    "created_at": f"{BEGAN_MS} + i",
}
JOBS: Mapping[str, str] = {
    "id": "'old-job-' || CAST(i AS VARCHAR(20))",
    "group_id": GROUP.format(f"((i - 1) / {JOBS_A_GROUP} + 1)"),
    "name": f"'type' || CAST(i % {JOBS_A_GROUP} AS VARCHAR(20))",
    "proof_type": f"'type' || CAST(i % {JOBS_A_GROUP} AS VARCHAR(20))",
    "parameters": "'{}'",
    "queue": "'default'",
    # One in a thousand has failed.
    "state": "CASE i % 1000 WHEN 0 THEN 'failed' ELSE 'succeeded' END",
    "sends": "1",
    "attempts": "1",
    "failures": "0",
    "losses": "0",
    "not_before": f"{BEGAN_MS}",
    "created_at": f"{BEGAN_MS} + (i - 1) / {JOBS_A_GROUP} + 1",
    "queued_at": f"{BEGAN_MS}",
    "started_at": f"{BEGAN_MS}",
    "finished_at": f"{BEGAN_MS}",
    "worker": "'worker'",
    "result": "'1'",
    "receipt": """'{"receipt": "of a proof"}'""",
    "error_code": "CASE i % 1000 WHEN 0 THEN 'gone' END",
}


def grown(stand: Stand) -> Iterator[Table]:
    """Measure what runs again and again, with a million ended jobs."""
    yield compared(f"With {ENDED_JOBS:,} ended jobs", _grown(stand))


def _grown(stand: Stand) -> Iterator[Figure]:
    for engine in (Engine.SQLITE, Engine.POSTGRES):
        seen = []
        for checkout in stand.checkouts:
            place = stand.place(checkout, engine)
            fill(place)
            place.run(["headers", "import", stand.hours])
            window = (END_HOUR - 90 * DAY_SECONDS, END_HOUR)
            found = {
                **inside(checkout, "calls", place.database),
                **inside(checkout, "series", place.database, *map(str, window)),
                "rest": _rest_ms(place),
            }
            seen.append(found)
        for name, work, unit in (
            ("sweep", "a sweep that finds nothing", "ms"),
            ("waking", "waking the jobs that wait", "ms"),
            ("failed", "the newest 50 groups with a failed job", "ms"),
            ("first", "first reads of 90 days on a connection, the longest", "ms"),
            ("later", "later reads of 90 days", "ms"),
            ("rest", "a worker at rest, with the server", "CPU ms/s"),
        ):
            values = [found[name] for found in seen]
            yield figure(work, unit, engine, values, Better.LESS)


def inside(checkout: Checkout, measure: str, *arguments: str) -> Mapping[str, float]:
    """Have a checkout's own interpreter measure something, and return what it found."""
    done = subprocess.run(
        [checkout.python, INSIDE, measure, *arguments],
        env={**os.environ, "PYTHONPATH": ""},
        check=True,
        stdout=subprocess.PIPE,
    )
    answer: Mapping[str, float] = json.loads(done.stdout)
    return answer


def _rest_ms(place: Place) -> float:
    """Return how many milliseconds of CPU time a second a worker takes that has no job."""
    with process(place.checkout, ["worker"], place.environment) as worker:
        time.sleep(START_SECONDS)
        before, server = cpu_time(worker), place.server_time()
        time.sleep(WATCH_SECONDS)
        used = cpu_time(worker).since(before).all + place.server_time() - server
    return used / WATCH_SECONDS * 1000


def fill(place: Place, jobs: int = ENDED_JOBS) -> None:
    """Put groups and ended jobs into a checkout's empty tables."""
    with place.reader() as reader:
        statements = [
            _insert(reader, "job_group", GROUPS, -(-jobs // JOBS_A_GROUP)),
            _insert(reader, "job", JOBS, jobs),
        ]
    if place.server:
        # Its autovacuum does that in service; nothing does it in SQLite.
        statements.append("ANALYZE")
    with place.reader(writes=True) as writer:
        for statement in statements:
            writer.rows(statement)


def _insert(reader: Reader, table: str, values: Mapping[str, str], count: int) -> str:
    known = reader.columns(table)
    chosen = {column: value for column, value in values.items() if column in known}
    columns, rows = ", ".join(chosen), ", ".join(chosen.values())
    return f"INSERT INTO {table} ({columns}) {UP_TO.format(count)} SELECT {rows} FROM n"


def beside_import(stand: Stand) -> Iterator[Table]:
    """Measure how long a request waits while headers are imported into the same file."""
    yield compared(
        f"POST /api/job while {IMPORTED:,} headers are imported into the same database",
        _beside_import(stand),
        f"One client, {REQUEST_SECONDS * 1000:.0f} ms after each answer.",
    )


def _beside_import(stand: Stand) -> Iterator[Figure]:
    file = plain_headers(stand.folder("plain") / "headers.csv", IMPORTED)
    for engine in (Engine.SQLITE, Engine.POSTGRES):
        waits = []
        for checkout in stand.checkouts:
            place = stand.place(checkout, engine).given(THE_THREE_ALONE)
            waits.append(_waits(place, file))
        longest = [max(seconds) * 1000 for seconds in waits]
        yield figure("the longest wait", "ms", engine, longest, Better.LESS)
        usual = [median(seconds) * 1000 for seconds in waits]
        yield figure("the median", "ms", engine, usual, Better.LESS)


def plain_headers(path: Path, count: int) -> Path:
    """Write a file of CSV with headers of constant fees, and return it."""
    first_hour = 1_680_000_000 // 3600 * 3600
    with path.open("w") as file:
        file.write("number,timestamp,base_fee_per_gas,gas_used,gas_limit\n")
        for number in range(count):
            # Half of the gas is the target: the fee stays as it is.
            line = f"{FIRST_BLOCK + number},{first_hour + number * 12},{10**10},15000000,30000000\n"
            file.write(line)
    return path


def _waits(place: Place, file: Path) -> list[float]:
    waits: list[float] = []
    with (
        api(place.checkout, place.environment) as (_, port),
        subprocess.Popen(
            [place.checkout.prover, "headers", "import", file],
            env={**os.environ, **place.environment},
            stdout=subprocess.DEVNULL,
        ) as importing,
    ):
        while importing.poll() is None:
            served = posts(port, [round_of(f"beside-{len(waits)}")], 1)
            waits.append(served.answers[0].seconds)
            time.sleep(REQUEST_SECONDS)
        if importing.returncode:
            raise RuntimeError(f"the import of {file} failed")
    return waits
