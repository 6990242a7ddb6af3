"""Sweeps: no job depends on its message."""

from pathlib import Path

import pytest
from worker_bench import comes_to, failures, message_bench

from prover_framework.jobs.sql import UNSENT_MS
from prover_framework.model.jobs import JobState
from prover_framework.testing import ManualClock

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def test_a_message_that_was_lost_is_sent_again(tmp_path: Path) -> None:
    async with message_bench(tmp_path) as bench:
        await bench.submit("g")
        await bench.queue.lose_all()
        await bench.database.write("UPDATE job SET due_at = 0 RETURNING id")
        async with bench.worker():
            assert (await bench.ends("g")).state is S.SUCCEEDED


async def test_a_long_rest_is_left_to_the_sweep(tmp_path: Path) -> None:
    clock = ManualClock()

    async with message_bench(tmp_path, clock=clock, retry_seconds=1000.0) as bench:
        await bench.submit("g", "raise once")
        async with bench.worker():
            await comes_to(1, lambda: failures(bench))
            await bench.queue_is_empty()
            job = await bench.job("g")
            assert (job.state, job.attempts) == (S.QUEUED, 1)
            clock.ms = job.not_before + UNSENT_MS
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 2, 0)
