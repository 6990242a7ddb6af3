"""Attempts that came to nothing are kept with their error, worker, times and place."""

import logging
from pathlib import Path

import pytest
from worker_bench import Bench, open_bench

from prover_framework.cli.tables import _history
from prover_framework.jobs.attempts import MAX_KEPT
from prover_framework.model.jobs import JobState
from prover_framework.model.views import VerboseJobView

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def verbose(bench: Bench) -> VerboseJobView:
    (job,) = (await bench.service.verbose_status("g")).jobs
    return job


async def test_each_attempt_is_kept_with_its_error_worker_times_and_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g", "raise once")
        async with bench.worker() as worker:
            assert (await bench.ends("g")).state is S.SUCCEEDED
            await bench.queue_is_empty()
            failed, succeeded = (await verbose(bench)).history
        assert (failed.number, failed.worker) == (1, worker.name)
        assert failed.error == {
            "code": "compute_raised",
            "message": "plugin lab: its hook compute raised ValueError: not at first",
        }
        assert failed.ended_at is not None
        assert failed.started_at <= failed.ended_at
        (place,) = failed.traceback
        assert place.startswith("prover_test_worker_lab.py:")
        assert place.endswith(" in compute")
        assert (succeeded.number, succeeded.worker) == (2, worker.name)
        assert (succeeded.error, succeeded.traceback) == (None, ())
        told = list(_history(await verbose(bench)))
        assert told[0].startswith(f"lab, attempt 1: {worker.name}, ")
        assert told[2] == f"    at {place}"
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith("g lab: again in")
    assert f"plugin lab: its hook compute raised ValueError: not at first (at {place}) (" in line


async def test_a_lost_worker_is_an_attempt_too(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        claim = await bench.claim("g", worker="lost")
        async with bench.database.transaction() as connection:
            await connection.fetch("UPDATE job SET lease_until = 0", [])
        await bench.jobs.sweep(10)
        (one,) = (await verbose(bench)).history
        assert (one.number, one.worker) == (claim.job.attempts, "lost")
        assert one.error is not None
        assert one.error["code"] == "worker_lost"


async def test_a_bounded_number_of_attempts_is_kept(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g", "refuse")
        async with bench.worker():
            job = await bench.ends("g")
        (refused,) = (await verbose(bench)).history
        assert refused.error == {"code": "lab_closed", "message": "closed on Sundays"}
        assert refused.traceback[-1].endswith(" in compute")
        kept = (await bench.jobs.attempts.of_group("g"))[0]
        for _ in range(MAX_KEPT):
            await bench.jobs.attempts.note(kept)
        assert job.attempts == 1
        assert len((await verbose(bench)).history) == MAX_KEPT
