"""Workers that take their jobs out of the table: what one cannot do is not looked at."""

import asyncio
from pathlib import Path

import pytest
from waiting import answer_that
from worker_bench import TWAP, open_bench

from prover_framework.jobs.sql import UNSENT_MS
from prover_framework.model.jobs import JobState
from prover_framework.plugins import loading as plugin_loading
from prover_framework.testing import ManualClock

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def test_a_job_whose_proof_type_no_worker_has_is_not_taken_and_says_so(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with open_bench(tmp_path, clock=clock) as bench:
        await bench.submit("g")
        async with bench.worker(plugin_loading.load([TWAP], strict=True)):
            clock.advance(UNSENT_MS / 1000)
            job = await answer_that(
                lambda job: job.error_code == "not_capable", lambda: bench.job("g")
            )
        assert "'lab' is not installed here (installed: twap)" in str(job.error_message)
        assert (job.state, job.attempts, job.failures, job.losses) == (S.QUEUED, 0, 0, 0)
        assert job.started_at is None, "a lease was taken"
        async with bench.worker():
            assert (await bench.ends("g")).state is S.SUCCEEDED


async def test_two_workers_share_what_there_is_and_each_job_is_computed_once(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path) as bench:
        groups = [f"g{place}" for place in range(20)]
        for group in groups:
            await bench.submit(group)
        async with bench.worker(), bench.worker():
            jobs = await asyncio.gather(*map(bench.ends, groups))
        ends = {(job.state, job.attempts, job.losses, job.sends) for job in jobs}
        assert ends == {(S.SUCCEEDED, 1, 0, 0)}


async def test_a_lost_worker_s_job_is_begun_again_when_its_lease_is_over(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_bench(tmp_path, clock=clock) as bench:
        claim = await bench.claim("g")
        async with bench.worker():
            clock.advance(bench.settings.lease_seconds)
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 2, 1)
        assert job.worker != claim.job.worker


async def test_a_worker_takes_no_more_than_it_has_slots(tmp_path: Path) -> None:
    async with open_bench(tmp_path, worker_slots=2) as bench:
        for group in "abcd":
            await bench.submit(group, "hold")
        async with bench.worker():
            await bench.holding("a")
            await bench.holding("b")
            counts = await bench.jobs.queue_status("default")
            assert (counts.visible, counts.in_flight) == (2, 2)
            for group in "abcd":
                bench.let_go(group)
            for group in "abcd":
                assert (await bench.ends(group)).state is S.SUCCEEDED
