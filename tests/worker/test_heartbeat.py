"""Heartbeats: jobs that are held, cancelled and lost."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alert_rules import firing
from hypothesis import given
from hypothesis import strategies as st
from metric_pages import samples_of
from table_queue import TableQueue
from waiting import answer_that, gone, until
from worker_bench import (
    Bench,
    comes_to,
    hidden,
    message_bench,
    open_bench,
    refusing,
)

from prover_framework.database.engine import Bounds
from prover_framework.errors import QueueError, StoreError
from prover_framework.model.jobs import JobState
from prover_framework.queues.base import Queue, Received
from prover_framework.testing import ManualClock
from prover_framework.worker.heartbeat import Heartbeat, Held, pause_seconds

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def test_cancelling_stops_a_running_computation(tmp_path: Path) -> None:
    async with open_bench(tmp_path, lease_seconds=1.0) as bench:
        await bench.submit("g", "hold")
        async with bench.worker():
            pid = await bench.holding("g")
            await bench.service.cancel("g")
            await until(lambda: gone(pid))
            await bench.submit("next")
            assert (await bench.ends("next")).state is S.SUCCEEDED, "the slot is free again"
            await bench.queue_is_empty()
            job = await bench.job("g")
            assert (job.state, job.result, job.error_code) == (S.CANCELLED, None, None)
            bench.let_go("g")
            acceptance = await bench.service.redrive("g")
            assert acceptance.unsent == ()
            job = await bench.ends("g")
            assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 2, 0)


async def test_heartbeats_keep_a_job_beyond_its_first_lease(tmp_path: Path) -> None:
    clock = ManualClock()

    async with message_bench(tmp_path, clock=clock, lease_seconds=1.0) as bench:
        await bench.submit("g", "hold")
        (original,) = await bench.messages()

        async def fresh() -> int:
            """Tell whether lease and message both last as if they had just begun."""
            until = clock.ms + 1000
            hidden = [m.visible_at for m in await bench.messages() if m.id == original.id]
            return int((await bench.job("g")).lease_until == until and hidden == [until])

        async with bench.worker(), bench.worker():
            await bench.holding("g")
            # A duplicate for the other worker, who must not get the job.
            await bench.service.send([await bench.job("g")])
            for _ in range(4):
                clock.ms += 900
                await comes_to(1, fresh)
            job = await bench.job("g")
            assert (job.state, job.attempts, job.losses) == (S.RUNNING, 1, 0)
            bench.let_go("g")
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)


async def test_a_worker_that_lost_its_lease_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()

    with caplog.at_level(logging.WARNING):
        async with open_bench(tmp_path, clock=clock, lease_seconds=1.0) as bench:
            await bench.submit("g", "hold")
            async with bench.worker() as first:
                # A worker that nobody hears from, and that hears from nobody.
                monkeypatch.setattr(
                    first._heartbeat, "_beat", refusing(StoreError("no connection"), 1000)
                )
                monkeypatch.setattr(first._sweeper, "run", refusing(StoreError("no connection"), 0))
                first_pid = await bench.holding("g")
                clock.ms += 1100
                await asyncio.to_thread(bench.note("g").unlink)
                async with bench.worker() as second:
                    assert await bench.holding("g") != first_pid
                    job = await bench.job("g")
                    assert (job.worker, job.losses) == (second.name, 1)
                    bench.let_go("g")
                    job = await bench.ends("g")
                    assert job.worker == second.name
            after = await bench.job("g")
            assert (after.state, after.result, after.attempts) == (S.SUCCEEDED, job.result, 2)
    assert "no longer held" in caplog.text


async def test_jobs_that_others_take_over_again_and_again_fire_an_alert(tmp_path: Path) -> None:
    take_over = "UPDATE job SET lease_token = 'theirs', lease_until = lease_until + 3600000"
    async with open_bench(tmp_path, lease_seconds=1.0) as bench, bench.worker():
        before = await samples_of(bench.runtime.monitoring)
        for place in range(6):
            await bench.submit(f"g{place}", "hold")
            pid = await bench.holding(f"g{place}")
            await bench.database.write(f"{take_over} WHERE group_id = ?", [f"g{place}"])
            await until(lambda: gone(pid))  # noqa: B023
        await answer_that(
            lambda now: "ProverLeasesLost" in firing(now, before),
            lambda: samples_of(bench.runtime.monitoring),
        )


async def test_a_heartbeat_does_not_hide_what_a_retry_has_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with message_bench(
        tmp_path, clock=ManualClock(), lease_seconds=1.0, retry_seconds=200.0
    ) as bench:
        extended, go_on, beaten = asyncio.Event(), asyncio.Event(), asyncio.Event()
        extend = bench.jobs.extend

        async def slow_extend(*arguments: Any, **named: Any) -> Any:
            lost = await extend(*arguments, **named)
            extended.set()
            await go_on.wait()
            return lost

        monkeypatch.setattr(bench.jobs, "extend", slow_extend)
        await bench.submit("g", "hold and raise")
        async with bench.worker() as worker:
            beat = worker._heartbeat._beat

            async def whole_beat() -> None:
                await beat()
                if extended.is_set():
                    beaten.set()

            monkeypatch.setattr(worker._heartbeat, "_beat", whole_beat)
            await bench.holding("g")
            await extended.wait()
            bench.let_go("g")
            (execution,) = worker._executor._running
            await execution.wait()
            # Time for the retry to be written, if nothing held it back until the beat is over.
            await asyncio.sleep(0.2)
            go_on.set()
            await beaten.wait()
            job = await bench.reaches("g", S.QUEUED)
            await until(lambda: not worker._tasks)
            assert await hidden(bench, job.not_before) == 1


@pytest.mark.parametrize("error", [StoreError("no space left"), KeyError("bug")])
async def test_a_heartbeat_that_fails_is_not_the_last(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, clock=ManualClock(), lease_seconds=1.0) as bench:
        extend = bench.jobs.extend
        troubles = [error]

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await extend(*arguments, **named)

        monkeypatch.setattr(bench.jobs, "extend", troubled)
        await bench.submit("g", "hold")
        async with bench.worker():
            pid = await bench.holding("g")
            await until(lambda: not troubles)
            await bench.jobs.cancel("g")
            await until(lambda: gone(pid))


# Apart from a worker


@given(lease_seconds=st.floats(min_value=4.0, max_value=3600.0))
def test_a_heartbeat_that_ran_into_its_limit_leaves_time_for_another(lease_seconds: float) -> None:
    call_seconds = Bounds.below(lease_seconds).call_seconds
    heard = pause_seconds(lease_seconds, was_heard=True)
    unheard = pause_seconds(lease_seconds, was_heard=False)
    assert 3 * heard == pytest.approx(lease_seconds)
    assert unheard < heard
    assert heard + call_seconds + unheard + call_seconds < lease_seconds


def beating(bench: Bench, queue: Queue | None = None) -> Heartbeat:
    return Heartbeat(
        bench.jobs,
        bench.intake(queue),
        lease_seconds=bench.settings.lease_seconds,
        trouble_seconds=0.05,
    )


async def test_a_beat_extends_lease_and_message_alike_and_tells_who_is_lost(tmp_path: Path) -> None:
    clock = ManualClock()

    async with message_bench(tmp_path, clock=clock) as bench:
        heartbeat = beating(bench)
        lost: list[str] = []
        claims = [await bench.claim(group) for group in ("kept", "cancelled", "ended")]
        held = [Held(claim, partial(lost.append, claim.job.group_id)) for claim in claims]
        for each in held:
            heartbeat.hold(each)
        before = {message.id: message.visible_at for message in await bench.messages()}
        await bench.jobs.cancel("cancelled")
        await heartbeat.let_go(held[2])
        clock.ms += 5000
        await heartbeat.beat()
        until = clock.ms + 20_000
        assert lost == ["cancelled"]
        assert (await bench.job("kept")).lease_until == until
        moved = [m.visible_at for m in await bench.messages() if m.visible_at != before[m.id]]
        assert moved == [until], "only the message of the job that is held"
        await heartbeat.beat()
        assert lost == ["cancelled"], "it is told once"


async def test_a_queue_that_is_away_costs_no_lease(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()

    class Away(TableQueue):
        async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
            del messages, seconds
            raise QueueError("it is away")

    async with message_bench(tmp_path, clock=clock) as bench:
        heartbeat = beating(bench, await Away.open(bench.database))
        claim = await bench.claim("g")
        heartbeat.hold(Held(claim, lambda: None))
        clock.ms += 5000
        await heartbeat.beat()
        assert (await bench.job("g")).lease_until == clock.ms + 20_000
    assert "it is away" in caplog.text
