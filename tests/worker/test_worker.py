"""The worker as a whole: it goes on after trouble, and ends when it is told to."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from table_queue import TableQueue
from waiting import gone
from worker_bench import (
    message_bench,
    open_bench,
)

from prover_framework.errors import StoreError
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState
from prover_framework.queues.base import Received
from prover_framework.worker.timings import Timings
from prover_framework.worker.worker import Worker

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


@pytest.mark.parametrize("error", [StoreError("no space left"), KeyError("bug")])
@pytest.mark.parametrize("place", ["receive", "sweep", "take", "take_ready", "make_ready"])
async def test_trouble_passes_and_the_worker_goes_on(
    place: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(
        tmp_path,
        timings=Timings(trouble_seconds=0.05),
        lease_seconds=1.0,
        by_messages=not place.endswith("_ready"),
    ) as bench:
        owner: Any = TableQueue if place == "receive" else JobStore
        original = getattr(owner, place)
        troubles = [error]
        met = asyncio.Event()

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                met.set()
                raise troubles.pop()
            return await original(*arguments, **named)

        monkeypatch.setattr(owner, place, troubled)
        async with bench.worker():
            await bench.submit("held", "hold")
            await met.wait()
            await bench.holding("held")
            bench.let_go("held")
            assert (await bench.ends("held")).state is S.SUCCEEDED
            await bench.submit("g")
            assert (await bench.ends("g")).state is S.SUCCEEDED


async def test_an_idle_worker_stops_at_once(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        async with bench.worker():
            await asyncio.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 20


async def test_a_worker_that_is_stopped_before_it_starts_does_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g")
        async with bench.worker() as worker:
            worker.stop()
        assert (await bench.job("g")).attempts == 0


async def test_stopping_lets_the_running_job_finish_and_takes_no_other(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g", "hold")
        await bench.submit("later")
        async with bench.worker() as worker:
            await bench.holding("g")
            worker.stop()
            bench.let_go("g")
        assert (await bench.job("g")).state is S.SUCCEEDED
        later = await bench.job("later")
        assert (later.state, later.attempts) == (S.QUEUED, 0)


async def test_stopping_gives_back_what_does_not_finish(tmp_path: Path) -> None:
    async with open_bench(tmp_path, stop_seconds=0.1) as bench:
        await bench.submit("g", "hold")
        async with bench.worker():
            pid = await bench.holding("g")
        assert gone(pid)
        job = await bench.job("g")
        assert (job.state, job.attempts, job.failures, job.losses) == (S.QUEUED, 0, 0, 0)
        assert job.not_before <= await bench.now_ms(), "for another worker to take at once"
        bench.let_go("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts) == (S.SUCCEEDED, 1)


async def test_a_worker_whose_task_is_cancelled_gives_back_too(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.submit("g", "hold")
        async with bench.stopped_worker() as worker:
            running = asyncio.create_task(worker.run())
            pid = await bench.holding("g")
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert gone(pid)
        job = await bench.job("g")
        assert (job.state, job.attempts, job.failures, job.losses) == (S.QUEUED, 0, 0, 0)


async def test_what_a_receive_brings_while_stopping_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with message_bench(tmp_path) as bench:
        receive = TableQueue.receive
        workers: list[Worker] = []

        async def receive_and_stop(*arguments: Any, **named: Any) -> list[Received]:
            messages = await receive(*arguments, **named)
            if messages:
                workers[0].stop()
            return messages

        monkeypatch.setattr(TableQueue, "receive", receive_and_stop)
        async with bench.worker() as worker:
            workers.append(worker)
            await bench.submit("g")
            await worker._stopping.wait()
        assert (await bench.job("g")).attempts == 0
        (message,) = await bench.messages()
        assert message.visible_at <= await bench.now_ms()


async def test_the_worker_has_a_name_that_tells_machine_and_process(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, bench.worker() as worker:
        assert f":{os.getpid()}:" in worker.name
