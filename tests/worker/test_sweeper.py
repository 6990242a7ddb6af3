"""Sweeps: no job depends on its message."""

from pathlib import Path

import pytest
from worker_bench import comes_to, failures, open_bench

from prover_framework.database.tables import QueueMessage
from prover_framework.jobs.sql import UNSENT_MS
from prover_framework.model.jobs import JobState
from prover_framework.testing import ManualClock

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def test_a_message_that_was_lost_is_sent_again(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g")
        async with bench.database.transaction() as connection:
            await QueueMessage.all().using_db(connection).delete()
            await connection.execute_query("UPDATE job SET due_at = 0")
        async with bench.worker():
            assert (await bench.ends("g")).state is S.SUCCEEDED


async def test_a_long_rest_is_left_to_the_sweep(tmp_path: Path) -> None:
    clock = ManualClock()

    async with open_bench(tmp_path, clock=clock, retry_seconds=1000.0) as bench:
        await bench.submit("g", "raise once")
        async with bench.worker():
            await comes_to(1, lambda: failures(bench))
            await bench.queue_is_empty()
            job = await bench.job("g")
            assert (job.state, job.attempts) == (S.QUEUED, 1)
            clock.ms = job.not_before + UNSENT_MS
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 2, 0)
