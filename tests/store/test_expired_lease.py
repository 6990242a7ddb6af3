"""A worker that was paused beyond its lease can write nothing, even if nobody took the job yet."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from prover_framework.errors import LeaseLost
from prover_framework.jobs import JobState, RetryPolicy
from prover_framework.store.database import Database
from prover_framework.store.jobs import Failure, JobStore, Lease, NewGroup, NewJob, Taken
from prover_framework.testing import ManualClock

WHY = Failure("code", "why")

Write = Callable[[JobStore, Lease], Awaitable[object]]

WRITES: dict[str, Write] = {
    "succeed": lambda store, lease: store.succeed(lease, "{}"),
    "fail": lambda store, lease: store.fail(lease, WHY),
    "retry": lambda store, lease: store.retry(lease, WHY, jitter=0.0),
    "wait": lambda store, lease: store.wait(lease, WHY, poll_seconds=1, deadline_seconds=9),
    "give_back": lambda store, lease: store.give_back(lease),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(("seconds", "valid"), [(9.999, True), (10.0, False)])
def test_a_write_needs_a_lease_that_has_not_expired(
    database_url: str, name: str, seconds: float, *, valid: bool
) -> None:
    async def scenario() -> JobState:
        clock = ManualClock()
        async with Database(database_url, clock=clock) as database:
            store = JobStore(database, RetryPolicy())
            await store.submit(NewGroup("g", (NewJob("j", "proof", "{}", "default"),)))
            taken = await store.take("j", worker="w", lease_seconds=10)
            assert isinstance(taken, Taken)
            clock.ms += round(seconds * 1000)
            if valid:
                await WRITES[name](store, taken.lease)
            else:
                assert await store.extend([taken.lease], lease_seconds=10) == [taken.lease]
                with pytest.raises(LeaseLost):
                    await WRITES[name](store, taken.lease)
            (job,) = await store.group("g")
            return job.state

    state = asyncio.run(scenario())
    assert (state is not JobState.RUNNING) is valid
