"""Jobs that another sender's messages ask for, on each engine."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from prover_framework.database.database import Database
from prover_framework.jobs.records import NewGroup, NewJob, Transition
from prover_framework.jobs.sql import UNSENT_MS
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.testing import ManualClock

S = JobState


def new(job_id: str, proof_type: str = "lab", parameters: str = "{}", delay: float = 0.0) -> NewJob:
    return NewJob(job_id, proof_type, parameters, "default", delay)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[JobStore]:
    async with Database(url) as database:
        yield JobStore(database, RetryPolicy())


async def test_an_adopted_job_is_one_like_any_other(database_url: str) -> None:
    async with opened(database_url) as jobs:
        job = await jobs.enqueue("g", new("a", parameters='{"x":1}'))
        assert (job.id, job.group_id, job.proof_type) == ("a", "g", "lab")
        assert (job.state, job.parameters, job.queue) == (S.PENDING, '{"x":1}', "default")
        assert await jobs.group("g") == (job,)
        # If nobody takes it, the sweep sends for it as for any other.
        assert await jobs.sweep(10) == []
        again = await jobs.submit(NewGroup("g", (new("b"),)))
        assert (again.created, again.jobs) == (False, (job,))


async def test_a_job_that_is_there_is_returned_and_not_changed(database_url: str) -> None:
    async with opened(database_url) as jobs:
        (ours,) = (await jobs.submit(NewGroup("g", (new("a", parameters='{"x":1}'),)))).jobs
        await jobs.take("a", worker="w", lease_seconds=60)
        (running,) = await jobs.group("g")
        assert await jobs.enqueue("g", new("b", parameters='{"x":2}')) == running
        other = await jobs.enqueue("g", new("c", proof_type="other"))
        assert other.id == "c"
        assert await jobs.group("g") == (running, other)
        assert ours.id == running.id


async def test_of_many_who_adopt_at_once_one_stores_the_job(database_url: str) -> None:
    async with Database(database_url) as one, Database(database_url) as another:
        stores = [JobStore(one, RetryPolicy()), JobStore(another, RetryPolicy())]
        adopted = await asyncio.gather(
            *(
                stores[n % 2].enqueue("g", new(f"{n:02}", proof_type=f"type{n % 3}"))
                for n in range(30)
            )
        )
        by_type = {job.proof_type: job for job in adopted}
        assert sorted(by_type) == ["type0", "type1", "type2"]
        assert all(job == by_type[job.proof_type] for job in adopted)
        assert set(await stores[0].group("g")) == set(by_type.values())


async def test_an_adoption_is_told_once(database_url: str) -> None:
    told: list[Transition] = []

    def tell(transitions: Sequence[Transition]) -> None:
        told.extend(transitions)

    async with Database(database_url) as database:
        jobs = JobStore(database, RetryPolicy(), tell)
        job = await jobs.enqueue("g", new("a"))
        await jobs.enqueue("g", new("b"))
        assert [(change.old, change.job) for change in told] == [(None, job)]


@pytest.mark.parametrize("sent", [False, True])
async def test_a_job_that_is_left_to_the_sweep_is_sent_when_it_may_begin(
    database_url: str, *, sent: bool
) -> None:
    clock = ManualClock()

    async with Database(database_url, clock) as database:
        jobs = JobStore(database, RetryPolicy())
        await jobs.submit(NewGroup("g", (new("a", delay=3600),)))
        if sent:
            await jobs.mark_sent(["a"])
        await jobs.leave_to_sweep("a")
        clock.ms += 3_599_000
        assert await jobs.sweep(10) == []
        clock.ms += 1_000
        (job,) = await jobs.sweep(10)
        assert job.id == "a"
        # Once it may begin, its message has the time that all have.
        await jobs.leave_to_sweep("a")
        assert await jobs.sweep(10) == []
        clock.ms += UNSENT_MS
        assert len(await jobs.sweep(10)) == 1
