"""A worker says that it is there, and does what operators want of it."""

import asyncio
from pathlib import Path

import pytest
from waiting import answer_that, until
from worker_bench import Bench, open_bench

from prover_framework.jobs.retention import prune
from prover_framework.model.jobs import JobState
from prover_framework.model.workers import WorkerState, WorkersView
from prover_framework.worker import retention
from prover_framework.worker.timings import Timings

pytestmark = pytest.mark.usefixtures("lab_module")


QUICK = Timings(order_seconds=0.02)


async def seen(bench: Bench, *states: WorkerState) -> WorkersView:
    """Wait until the workers are in these states."""
    return await answer_that(
        lambda known: [one.status for one in known.workers] == list(states),
        bench.jobs.workers.all,
    )


async def test_a_paused_worker_finishes_what_it_has_and_takes_no_more_until_it_is_resumed(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path, timings=QUICK) as bench, bench.worker() as worker:
        (one,) = (await seen(bench, WorkerState.RUNNING)).workers
        assert (one.worker, one.queue, one.slots) == (worker.name, "default", 1)
        assert one.plugins == ("lab", "twap")
        await bench.submit("held", "hold")
        await bench.holding("held")
        await bench.jobs.workers.pause("default")
        await seen(bench, WorkerState.PAUSED)
        bench.let_go("held")
        assert (await bench.ends("held")).state is JobState.SUCCEEDED
        await bench.submit("later")
        # It has a message, and nobody takes it: a worker of another queue would change nothing.
        async with bench.worker() as other:
            await seen(bench, WorkerState.PAUSED, WorkerState.PAUSED)
            assert (await bench.job("later")).attempts == 0
            assert other.name != worker.name
        await bench.jobs.workers.resume("default")
        assert (await bench.ends("later")).state is JobState.SUCCEEDED


async def test_a_drained_worker_finishes_what_it_has_and_ends(tmp_path: Path) -> None:
    async with open_bench(tmp_path, timings=QUICK) as bench, bench.stopped_worker() as worker:
        running = asyncio.create_task(worker.run())
        await bench.submit("held", "hold")
        await bench.holding("held")
        await seen(bench, WorkerState.RUNNING)
        await bench.jobs.workers.drain(worker.name)
        await seen(bench, WorkerState.DRAINING)
        await until(lambda: worker._room.is_paused)
        await bench.submit("left")
        bench.let_go("held")
        await running
        assert (await bench.job("held")).state is JobState.SUCCEEDED
        assert (await bench.job("left")).state is JobState.QUEUED
        assert (await bench.jobs.workers.all()).workers == ()


async def test_a_worker_removes_what_is_older_than_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = asyncio.Event()
    monkeypatch.setattr(retention, "DAY_MS", -1000)

    async def noted(*arguments: object, **named: object) -> object:
        result = await prune(*arguments, **named)  # type: ignore[arg-type]
        pruned.set()
        return result

    monkeypatch.setattr(retention, "prune", noted)
    async with open_bench(tmp_path, retention_days=1.0) as bench:
        await bench.submit("old")
        await bench.jobs.cancel("old")
        async with bench.worker():
            await pruned.wait()
        assert await bench.database.read("SELECT id FROM job_group") == []
