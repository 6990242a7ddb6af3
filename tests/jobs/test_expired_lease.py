"""A worker that was paused beyond its lease can write nothing, even if nobody took the job yet."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from prover_framework.database.database import Database
from prover_framework.errors import LeaseLost
from prover_framework.jobs.records import Failure, Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.model.work import Progress
from prover_framework.testing import ManualClock

WHY = Failure("code", "why")

Write = Callable[[JobStore, Lease], Awaitable[object]]

WRITES: dict[str, Write] = {
    "succeed": lambda store, lease: store.succeed(lease, "{}"),
    "fail": lambda store, lease: store.fail(lease, WHY),
    "retry": lambda store, lease: store.retry(lease, WHY, jitter=0.0),
    "wait": lambda store, lease: store.wait(lease, WHY, poll_seconds=1, deadline_seconds=9),
    "release": lambda store, lease: store.release(lease),
}


@asynccontextmanager
async def taken_since(
    url: str, seconds: float
) -> AsyncIterator[tuple[JobStore, Taken, ManualClock]]:
    """A job whose lease of ten seconds was taken so many seconds ago."""
    clock = ManualClock()
    async with Database(url, clock=clock) as database:
        store = JobStore(database, RetryPolicy())
        await store.submit(NewGroup("g", (NewJob("j", "proof", "{}", "default"),)))
        taken = await store.take("j", worker="w", lease_seconds=10)
        assert isinstance(taken, Taken)
        clock.ms += round(seconds * 1000)
        yield store, taken, clock


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(("seconds", "valid"), [(9.999, True), (10.0, False)])
async def test_a_write_needs_a_lease_that_has_not_expired(
    database_url: str, name: str, seconds: float, *, valid: bool
) -> None:
    async with taken_since(database_url, seconds) as (store, taken, _):
        if valid:
            await WRITES[name](store, taken.lease)
        else:
            assert await store.extend([taken.lease], lease_seconds=10) == [taken.lease]
            with pytest.raises(LeaseLost):
                await WRITES[name](store, taken.lease)
        (job,) = await store.group("g")
        state = job.state
    assert (state is not JobState.RUNNING) is valid


@pytest.mark.parametrize(("seconds", "valid"), [(9.999, True), (10.0, False)])
async def test_progress_of_a_lease_that_has_expired_is_not_written(
    database_url: str, seconds: float, *, valid: bool
) -> None:
    async with taken_since(database_url, seconds) as (store, taken, clock):
        assert await store.note_progress(taken.lease, Progress(0.25, "a quarter")) is valid
        (job,) = await store.group("g")
        told = (250_000, "a quarter", clock.ms) if valid else (None, None, None)
        assert (job.progress_millionths, job.progress_text, job.progress_at) == told
        # Another attempt begins without it, and the one before cannot speak for it.
        clock.ms += 10_000
        again = await store.take("j", worker="v", lease_seconds=10)
        assert isinstance(again, Taken)
        assert not await store.note_progress(taken.lease, Progress(0.5))
        (job,) = await store.group("g")
        assert job.progress_millionths is None
