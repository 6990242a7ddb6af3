"""The small load run: some seconds of everything at once, and nothing fails or is lost."""

from pathlib import Path

import pytest
from load_run import Plan, Trend, Usage, run
from postgres_server import PostgresServer
from sqs_server import SqsEmulator

SMALL = Plan(seconds=6.0, seed=1, submitters=3)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_kinds_of_calls_at_once_fail_nowhere_and_lose_nothing(
    tmp_path: Path, postgres: PostgresServer, moto: SqsEmulator
) -> None:
    report = run(SMALL, tmp_path, database_url=postgres.create_database(), sqs=moto)
    assert report.broken == []
    assert {"submit", "status", "list", "prune"} <= report.calls.keys()


def test_what_grows_is_seen() -> None:
    def grew(memory_mb: float, descriptors: int) -> bool:
        return not Trend(Usage(100.0, 20), Usage(memory_mb, descriptors)).is_flat

    assert not grew(110.0, 25)
    assert grew(130.0, 20)
    assert grew(100.0, 40)
