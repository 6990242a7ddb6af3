"""Settling: outcomes are written once, whatever fails on the way."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from table_queue import Message, TableQueue
from worker_bench import Bench, comes_to, failures, hidden, message_bench, refusing

from prover_framework.errors import LeaseLost, QueueError, StoreError
from prover_framework.jobs.records import Failure, Taken
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.queues.base import Queue, Received
from prover_framework.testing import ManualClock
from prover_framework.worker.outcomes import (
    AttemptFailed,
    DataMissing,
    Failed,
    NotComputed,
    Outcome,
    Reason,
    Succeeded,
)
from prover_framework.worker.settling import Settling
from prover_framework.worker.timings import Timings

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState

# Trouble is over soon.
SOON = Timings(trouble_seconds=0.05)


async def test_a_result_that_can_not_be_stored_at_once_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with message_bench(tmp_path, timings=SOON) as bench:
        succeed = bench.jobs.succeed
        troubles = [StoreError("it starts anew"), StoreError("it starts anew")]

        async def troubled(*arguments: Any, **named: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await succeed(*arguments, **named)

        monkeypatch.setattr(bench.jobs, "succeed", troubled)
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
        assert not troubles


async def test_a_message_that_can_not_be_removed_is_no_reason_to_store_a_result_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with message_bench(tmp_path, timings=SOON) as bench:
        succeed, delete = bench.jobs.succeed, TableQueue.delete
        stored: list[object] = []
        troubles = [StoreError("it starts anew"), QueueError("it starts anew")]

        async def counted(*arguments: Any, **named: Any) -> Any:
            stored.append(arguments)
            return await succeed(*arguments, **named)

        async def troubled(*arguments: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await delete(*arguments)

        monkeypatch.setattr(bench.jobs, "succeed", counted)
        monkeypatch.setattr(TableQueue, "delete", troubled)
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
        assert not troubles
        assert len(stored) == 1
    assert "nothing was written" not in caplog.text


async def test_a_result_whose_commit_was_not_confirmed_is_known_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with message_bench(tmp_path, timings=SOON) as bench:
        succeed = bench.jobs.succeed
        troubles = [StoreError("it does not answer within 1 s")]

        async def unconfirmed(*arguments: Any, **named: Any) -> Any:
            await succeed(*arguments, **named)
            if troubles:
                raise troubles.pop()

        monkeypatch.setattr(bench.jobs, "succeed", unconfirmed)
        await bench.submit("g")
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
    assert "nothing was written" not in caplog.text
    assert "g lab: succeeded, at an attempt before" in caplog.text


async def test_a_retry_rests_first_and_so_does_its_message(tmp_path: Path) -> None:
    async with message_bench(tmp_path, retry_seconds=200.0) as bench:
        await bench.submit("g", "raise")
        async with bench.worker():
            await comes_to(1, lambda: failures(bench))
            job = await bench.job("g")
            assert job.state is S.QUEUED
            assert 90_000 < job.not_before - await bench.now_ms() <= 200_000
            await comes_to(1, lambda: hidden(bench, job.not_before))
        assert (await bench.job("g")).attempts == 1


async def test_a_passing_failure_is_forgotten_when_the_retry_succeeds(tmp_path: Path) -> None:
    async with message_bench(tmp_path) as bench:
        await bench.submit("g", "raise once")
        async with bench.worker():
            job = await bench.ends("g")
        assert (job.state, job.attempts, job.failures) == (S.SUCCEEDED, 2, 1)
        assert job.error_code is None


# Apart from a worker


def settling(bench: Bench, queue: Queue | None = None, *, worker: str = "test") -> Settling:
    return Settling(
        bench.jobs,
        bench.intake(queue),
        worker_name=worker,
        lease_seconds=bench.settings.lease_seconds,
        data_poll_seconds=bench.settings.data_poll_seconds,
        data_deadline_seconds=bench.settings.data_deadline_seconds,
        timings=bench.timings,
    )


WHY = Failure("why_not", "for no reason")
SUCCESS = Succeeded("{}", "{}", ())

# For each outcome: state, error and attempts of its job, and what becomes of its message.
OUTCOMES: dict[str, tuple[Outcome, tuple[JobState, str | None, int], str]] = {
    "succeeded": (SUCCESS, (S.SUCCEEDED, None, 1), "deleted"),
    "data missing": (DataMissing(WHY), (S.WAITING, "why_not", 0), "deleted"),
    "failed": (Failed(WHY), (S.FAILED, "why_not", 1), "deleted"),
    "attempt failed": (AttemptFailed(WHY), (S.QUEUED, "why_not", 1), "invisible"),
    "no slot": (NotComputed(Reason.NO_SLOT), (S.QUEUED, None, 0), "visible"),
    "stopped": (NotComputed(Reason.STOPPED), (S.QUEUED, None, 0), "visible"),
    "unreadable": (NotComputed(Reason.DATA_UNREADABLE), (S.QUEUED, None, 0), "invisible"),
    "lost": (NotComputed(Reason.LEASE_LOST), (S.RUNNING, None, 1), "invisible"),
    "no process": (NotComputed(Reason.NO_PROCESS), (S.RUNNING, None, 1), "invisible"),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_each_outcome_is_written_and_its_message_seen_to(name: str, tmp_path: Path) -> None:
    outcome, expected, fate = OUTCOMES[name]

    async with message_bench(tmp_path, clock=ManualClock(), retry_seconds=10.0) as bench:
        claim = await bench.claim("g")
        await settling(bench).settle(claim, outcome)
        job = await bench.job("g")
        assert (job.state, job.error_code, job.attempts) == expected
        assert (job.lease_until is None) == (job.state is not S.RUNNING)
        assert [_fate(m, await bench.now_ms()) for m in await bench.messages()] == (
            [] if fate == "deleted" else [fate]
        )


def _fate(message: Message, now: int) -> str:
    return "visible" if message.visible_at <= now else "invisible"


class Undeletable(TableQueue):
    """A queue that takes nothing back for now."""

    tries = 0

    async def delete(self, message: Received) -> None:
        del message
        self.tries += 1
        raise QueueError("it is away")

    async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
        del messages, seconds
        self.tries += 1
        raise QueueError("it is away")


@pytest.mark.parametrize("name", ["succeeded", "data missing", "failed", "attempt failed"])
async def test_a_message_that_is_never_removed_is_left_to_its_next_delivery(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome, (state, _, _), _ = OUTCOMES[name]

    timings = Timings(trouble_seconds=0.05, max_settle_wait_seconds=0.2)
    async with message_bench(
        tmp_path, timings=timings, lease_seconds=1.0, retry_seconds=60.0
    ) as bench:
        writes: list[str] = []
        for method in ("succeed", "wait", "fail", "retry"):
            monkeypatch.setattr(bench.jobs, method, _counted(bench, method, writes))
        queue = await Undeletable.open(bench.database)
        claim = await bench.claim("g")
        began = time.monotonic()
        await settling(bench, queue).settle(claim, outcome)
        assert time.monotonic() - began < 2 * bench.settings.lease_seconds, "it tries no longer"
        assert queue.tries > 1
        assert len(writes) == 1, "only the step that failed is tried again"
        assert (await bench.job("g")).state is state
        await queue.close()
        if state in FINAL:
            async with bench.worker():
                await bench.queue_is_empty()
    assert "nothing was written" not in caplog.text
    assert "g lab: its outcome is stored; " in caplog.text


def _counted(bench: Bench, method: str, writes: list[str]) -> Callable[..., Awaitable[Any]]:
    write = getattr(bench.jobs, method)

    async def counted(*arguments: Any, **named: Any) -> Any:
        writes.append(method)
        return await write(*arguments, **named)

    return counted


WRITES = {
    "succeeded": "succeed",
    "data missing": "wait",
    "failed": "fail",
    "attempt failed": "retry",
    "no slot": "release",
}


@pytest.mark.parametrize("name", WRITES)
async def test_an_outcome_whose_commit_was_not_confirmed_is_known_to_be_written(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome, expected, _ = OUTCOMES[name]

    caplog.set_level(logging.INFO)
    async with message_bench(tmp_path, timings=SOON) as bench:
        write = getattr(bench.jobs, WRITES[name])
        troubles = [StoreError("it does not answer within 1 s")]

        async def unconfirmed(*arguments: Any, **named: Any) -> Any:
            written = await write(*arguments, **named)
            if troubles:
                raise troubles.pop()
            return written

        monkeypatch.setattr(bench.jobs, WRITES[name], unconfirmed)
        claim = await bench.claim("g")
        await settling(bench).settle(claim, outcome)
        job = await bench.job("g")
        assert (job.state, job.error_code, job.attempts) == expected
        assert not troubles
    assert "at an attempt before" in caplog.text


@pytest.mark.parametrize("name", WRITES)
async def test_what_others_have_written_since_is_not_taken_for_ours(
    name: str, tmp_path: Path
) -> None:
    outcome, _, _ = OUTCOMES[name]
    clock = ManualClock()

    async with message_bench(tmp_path, clock=clock) as bench:
        claim = await bench.claim("g")
        clock.ms += 1000 * int(bench.settings.lease_seconds) + 1
        taken = await bench.jobs.take(claim.job.id, worker="another", lease_seconds=60.0)
        assert isinstance(taken, Taken)
        await bench.jobs.succeed(taken.lease, '{"another": 1}')
        before = await bench.job("g")
        with pytest.raises(LeaseLost):
            await settling(bench).settle(claim, outcome)
        assert await bench.job("g") == before
        assert len(await bench.messages()) == 1


async def test_an_outcome_is_given_up_when_the_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = Timings(trouble_seconds=0.05, max_settle_wait_seconds=0.2)
    async with message_bench(tmp_path, timings=timings, lease_seconds=1.0) as bench:
        claim = await bench.claim("g")
        monkeypatch.setattr(bench.jobs, "succeed", refusing(StoreError("it is away"), 1000))
        with pytest.raises(StoreError, match="it is away"):
            await settling(bench).settle(claim, SUCCESS)
        assert len(await bench.messages()) == 1
