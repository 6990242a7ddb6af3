"""Jobs that rest on the results of others in their group, in the database of each engine."""

from collections.abc import AsyncIterator

import pytest

from prover_framework.database.database import Database
from prover_framework.errors import DataNotYet, DependencyNotYet
from prover_framework.jobs.records import Failure, Lease, NewGroup, NewJob, StoredJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.testing import ManualClock

S = JobState

NOT_YET = Failure(DependencyNotYet.code, "it rests on one")
NO_HEADERS = Failure(DataNotYet.code, "no headers yet")
WHY = Failure("code", "why")


class Bench:
    """Groups of jobs that rest on each other, and one worker."""

    def __init__(self, store: JobStore, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock

    async def group(self, **rests_on: tuple[str, ...]) -> None:
        jobs = (NewJob(name, name, "{}", "default", 0.0, on) for name, on in rests_on.items())
        await self.store.submit(NewGroup("g", tuple(jobs)))

    async def take(self, name: str) -> Lease:
        taken = await self.store.take(name, worker="w", lease_seconds=10)
        assert isinstance(taken, Taken), taken
        return taken.lease

    async def wait(self, name: str, failure: Failure = NOT_YET) -> None:
        await self.store.wait(
            await self.take(name), failure, poll_seconds=60, deadline_seconds=1000
        )

    async def succeed(self, name: str) -> None:
        await self.store.succeed(await self.take(name), "{}", has_dependents=True)

    async def jobs(self) -> dict[str, StoredJob]:
        return {job.name: job for job in await self.store.group("g")}

    async def states(self) -> dict[str, JobState]:
        return {name: job.state for name, job in (await self.jobs()).items()}

    async def due(self) -> set[str]:
        return {job.name for job in await self.store.sweep(10)}


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    clock = ManualClock()
    async with Database(database_url, clock=clock) as database:
        yield Bench(JobStore(database, RetryPolicy(max_attempts=1, max_losses=1)), clock)


async def test_a_job_knows_how_many_rest_on_it(bench: Bench) -> None:
    await bench.group(one=(), two=("one",), three=("one", "two"))
    assert {name: job.dependents for name, job in (await bench.jobs()).items()} == {
        "one": 2,
        "two": 1,
        "three": 0,
    }


async def test_the_last_result_wakes_the_job_that_waits_for_it(bench: Bench) -> None:
    await bench.group(one=(), two=(), sum=("one", "two"))
    await bench.wait("sum")
    await bench.succeed("one")
    assert await bench.due() == set(), "it still waits for the other"
    await bench.succeed("two")
    assert await bench.due() == {"sum"}


async def test_a_result_that_comes_while_a_job_looks_for_it_is_not_missed(bench: Bench) -> None:
    await bench.group(one=(), sum=("one",))
    lease = await bench.take("sum")
    await bench.succeed("one")
    await bench.store.wait(lease, NOT_YET, poll_seconds=60, deadline_seconds=1000)
    assert await bench.due() == {"sum"}


async def test_a_job_that_waits_for_headers_is_not_woken_by_what_it_rests_on(bench: Bench) -> None:
    await bench.group(one=(), sum=("one",))
    await bench.succeed("one")
    await bench.wait("sum", NO_HEADERS)
    assert await bench.due() == set()


async def test_jobs_fail_with_the_reason_of_the_one_they_rest_on(bench: Bench) -> None:
    await bench.group(one=(), sum=("one",), more=("sum",), other=())
    await bench.wait("sum")
    await bench.wait("more")
    await bench.store.fail(await bench.take("one"), WHY)
    jobs = await bench.jobs()
    assert {name: job.state for name, job in jobs.items()} == {
        "one": S.FAILED,
        "sum": S.FAILED,
        "more": S.FAILED,
        "other": S.PENDING,
    }
    assert (jobs["sum"].error_code, jobs["sum"].error_message) == (
        "dependency_failed",
        "it rests on one, which is failed: why",
    )
    assert jobs["more"].error_message == (
        "it rests on sum, which is failed: it rests on one, which is failed: why"
    )


@pytest.mark.parametrize("how", ["attempts", "losses", "deadline"])
async def test_every_way_to_fail_is_told(bench: Bench, how: str) -> None:
    await bench.group(one=(), sum=("one",))
    await bench.wait("sum")
    lease = await bench.take("one")
    if how == "attempts":
        await bench.store.retry(lease, WHY, jitter=0.0)
    elif how == "losses":
        bench.clock.ms += 11_000
        await bench.store.sweep(10)
    else:
        await bench.store.wait(lease, NO_HEADERS, poll_seconds=1, deadline_seconds=0)
    assert await bench.states() == {"one": S.FAILED, "sum": S.FAILED}


async def test_a_redriven_group_runs_what_failed_and_keeps_what_succeeded(bench: Bench) -> None:
    await bench.group(one=(), two=(), sum=("one", "two"))
    await bench.succeed("two")
    await bench.wait("sum")
    await bench.store.fail(await bench.take("one"), WHY)
    await bench.store.redrive("g")
    assert await bench.states() == {"one": S.PENDING, "two": S.SUCCEEDED, "sum": S.PENDING}
    await bench.wait("sum")
    await bench.succeed("one")
    assert await bench.due() == {"sum"}


async def test_a_success_without_dependents_wakes_nobody(bench: Bench) -> None:
    await bench.group(one=(), two=())
    await bench.wait("two", NO_HEADERS)
    await bench.store.succeed(await bench.take("one"), "{}")
    assert await bench.due() == set()
