"""The small fault run: everything around the service breaks once or twice, and nothing is lost."""

import asyncio
import gc
from pathlib import Path

import pytest
from fault_run import Fault, Plan, run
from postgres_pair import PostgresPair
from postgres_server import PostgresServer
from sqs_server import moto_server

SMALL = Plan(
    groups=15,
    faults={
        Fault.KILL: 2,
        Fault.PAUSE: 1,
        Fault.DATABASE: 1,
        Fault.REFUSE: 1,
        Fault.HANG: 1,
        Fault.DOUBLE: 1,
    },
    seed=1,
)


# What runs in this process is the proxy and the client alone. Their peers are killed in the middle
# of their talk, after which these libraries leave a socket to the garbage collector at times.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(400)
def test_whatever_breaks_each_job_has_one_result(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    database_url = own_postgres.create_database()
    with moto_server() as moto:
        report = asyncio.run(
            run(
                SMALL,
                tmp_path,
                database_url=database_url,
                postgres=PostgresPair(own_postgres),
                sqs_url=moto.url,
            )
        )
    gc.collect()
    assert report.struck == SMALL.faults
    assert report.states == {"succeeded": SMALL.jobs}
    assert report.lost == report.stored_twice == report.ended_twice == report.without_result == 0
    assert report.stored_late == 0
    assert report.late_writes_refused > 0
    assert report.losses >= SMALL.faults[Fault.KILL] + SMALL.faults[Fault.PAUSE]
    assert report.promise_kept
