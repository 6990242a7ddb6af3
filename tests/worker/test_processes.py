"""The service as real processes that are killed and stopped: no job is lost, none done twice."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psutil
import pytest
from prover_processes import Installation
from slow_plugin import SLOW_PLUGIN
from waiting import PATIENCE_SECONDS, wait_until

DAYS = 15
END = 1_704_067_200
START = END - (DAYS - 1) * 86_400
RANGE = {"start_timestamp": START, "end_timestamp": END}

STOP_SECONDS = 1.0

# Counts each time that a result is written, by whichever process.
COUNT_RESULTS = """
CREATE TABLE result_written (job_id TEXT);
CREATE TRIGGER count_results AFTER UPDATE ON job
WHEN NEW.result IS NOT NULL AND NEW.result IS NOT OLD.result
BEGIN INSERT INTO result_written VALUES (NEW.id); END;
"""


class Service(Installation):
    """Processes of one service, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory,
            {"prover_test_slow": SLOW_PLUGIN},
            {
                "PROVER_LEASE_SECONDS": "1",
                "PROVER_SWEEP_SECONDS": "0.2",
                "PROVER_STOP_SECONDS": str(STOP_SECONDS),
                "PROVER_WORKER_SLOTS": "2",
            },
        )
        self.notes = directory / "notes"
        self.notes.mkdir()
        self.database = directory / "prover.sqlite3"

    def submit(self, url: str, groups: int, *, seconds: float) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            for number in range(groups):
                body = {
                    "job_group_id": f"group_{number}",
                    "twap": RANGE,
                    "reserve_price": RANGE,
                    "max_return": {**RANGE, "window_hours": 48},
                    "slow": {**RANGE, "seconds": seconds, "notes": str(self.notes)},
                }
                response = client.post("/api/job", json=body)
                assert response.status_code == 200, response.text

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.database, timeout=PATIENCE_SECONDS)) as connection:
            return list(connection.execute(statement))

    def count(self, condition: str) -> int:
        ((count,),) = self.rows(f"SELECT COUNT(*) FROM job WHERE {condition}")
        assert isinstance(count, int)
        return count

    def count_results(self) -> None:
        with closing(sqlite3.connect(self.database, timeout=PATIENCE_SECONDS)) as connection:
            connection.executescript(COUNT_RESULTS)

    def all_succeeded_once(self, jobs: int) -> None:
        states = self.rows("SELECT state, error_code, COUNT(*) FROM job GROUP BY 1, 2")
        assert states == [("succeeded", None, jobs)]
        ((written, distinct),) = self.rows(
            "SELECT COUNT(*), COUNT(DISTINCT job_id) FROM result_written"
        )
        assert (written, distinct) == (jobs, jobs), "each has one result, written once"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    service = Service(tmp_path)
    service.command("headers", "simulate", "--days", str(DAYS), "--end", str(END))
    service.count_results()
    return service


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.timeout(400)  # up to eleven workers start, one after the other
@pytest.mark.parametrize(
    ("kills_wanted", "groups"), [(3, 15), pytest.param(10, 50, marks=pytest.mark.slow)]
)
def test_a_worker_that_is_killed_again_and_again_loses_no_job(
    service: Service, kills_wanted: int, groups: int
) -> None:
    with ExitStack() as stack:
        stack.enter_context(service.running("api"))
        service.submit(service.url("api"), groups, seconds=0.3)
        kills = 0
        while kills < kills_wanted:
            with service.running("worker") as worker:
                known = set(service.notes.iterdir())
                wait_until(lambda: bool(set(service.notes.iterdir()) - known))  # noqa: B023
                children = family(worker)
                worker.kill()
                worker.wait()
            # Nobody is left to finish what was running: it was killed in the middle.
            kills += service.count("state = 'running'") > 0
            wait_until(lambda: all(map(gone, children)))  # noqa: B023
        stack.enter_context(service.running("worker"))
        wait_until(lambda: service.count("finished_at IS NULL") == 0)
    service.all_succeeded_once(4 * groups)
    ((losses, attempts),) = service.rows("SELECT SUM(losses), SUM(attempts) FROM job")
    assert isinstance(losses, int)
    assert losses >= kills_wanted, "each kill met a computation"
    assert attempts == 4 * groups + losses, "what was not lost was computed once"
    assert len(list(service.notes.iterdir())) >= kills_wanted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_the_service_ends_all_and_loses_nothing(
    service: Service, number: signal.Signals
) -> None:
    groups = 3
    # No lease may expire because the machine is busy.
    service.environment["PROVER_LEASE_SECONDS"] = "30"
    with service.running("up") as up:
        service.submit(service.url("up"), groups, seconds=2 * STOP_SECONDS)
        wait_until(lambda: any(service.notes.iterdir()))
        children = family(up)
        assert children
        started = time.monotonic()
        up.send_signal(number)
        assert up.wait(timeout=PATIENCE_SECONDS) == 0
        assert time.monotonic() - started < STOP_SECONDS + 10
        wait_until(lambda: all(map(gone, children)))
    assert "Traceback" not in service.log("up").read_text()
    unfinished = service.count("finished_at IS NULL")
    assert unfinished > 0
    assert service.count("state = 'queued' AND losses = 0 AND due_at > 0") == unfinished
    with service.running("worker"):
        wait_until(lambda: service.count("finished_at IS NULL") == 0)
    service.all_succeeded_once(4 * groups)
    assert service.rows("SELECT MAX(attempts), MAX(losses) FROM job") == [(1, 0)]


def test_a_cancelled_computation_is_stopped_and_a_redriven_one_begins_anew(
    service: Service,
) -> None:
    def notes(count: int) -> Callable[[], bool]:
        return lambda: len(list(service.notes.iterdir())) == count

    with service.running("api"), service.running("worker") as worker:
        service.submit(service.url("api"), 1, seconds=10 * PATIENCE_SECONDS)
        for life in (1, 2):
            wait_until(notes(life))
            wait_until(lambda: service.count("state = 'succeeded'") == 3)
            children = family(worker)
            service.command("cancel", "group_0")
            wait_until(lambda: any(map(gone, children)))  # noqa: B023
            assert service.rows(
                "SELECT state, result, error_code FROM job WHERE name = 'slow'"
            ) == [("cancelled", None, None)]
            if life == 1:
                service.command("redrive", "group_0")
        assert service.rows("SELECT attempts, losses FROM job WHERE name = 'slow'") == [(2, 0)]
    assert service.count("state = 'succeeded'") == 3
