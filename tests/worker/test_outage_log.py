"""A database that is away for a while: few lines in the log, and one when it is back."""

from pathlib import Path

import pytest
from postgres_server import PostgresServer
from prover_processes import Installation
from waiting import wait_until


def test_an_outage_is_told_in_few_lines_and_its_end_in_one(
    tmp_path: Path, postgres: PostgresServer, postgres_template: str
) -> None:
    if not postgres.own:
        pytest.skip("the PostgreSQL server of TEST_DATABASE_URL may not be stopped")
    url = postgres.create_database(postgres_template)
    settings = {"DATABASE_URL": url, "PROVER_WORKER_SLOTS": "1", "PROVER_SWEEP_SECONDS": "0.1"}
    installation = Installation(tmp_path, {}, settings)
    log = installation.log("worker")

    def lines(text: str) -> list[str]:
        return [line for line in log.read_text().splitlines() if text in line]

    with installation.running("worker") as worker:
        # It takes jobs once it has seen that its queue is not paused.
        wait_until(lambda: '"slots"' in installation.command("workers", "--json"))
        postgres.stop()
        try:
            # After one second, two more, and four more.
            wait_until(lambda: len(lines("taking jobs failed")) >= 3)
            wait_until(lambda: len(lines("a sweep failed")) >= 3)
            wait_until(lambda: len(lines("notifying of ends of groups failed")) >= 2)
        finally:
            postgres.start()
        wait_until(lambda: bool(lines("taking jobs works again")))
        wait_until(lambda: bool(lines("a sweep works again")))
        wait_until(lambda: bool(lines("notifying of ends of groups works again")))
        worker.terminate()
        assert worker.wait(60) == 0
    postgres.drop_database(url)
    assert 3 <= len(lines("works again")) <= 5, "of taking, sweeping, telling, and being seen"
    assert len(lines("failed")) <= 25
    assert not lines("Traceback")
