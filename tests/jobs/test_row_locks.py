"""What happens while one transaction waits for another's lock, on PostgreSQL.

SQLite has one writer at a time, so there nothing of this can happen.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from postgres_server import PostgresServer
from waiting import answer_that

from prover_framework.database.database import Database
from prover_framework.errors import LeaseLost, StoreBusy
from prover_framework.jobs.records import Failure, Lease, NewGroup, NewJob, Refused, Taken
from prover_framework.jobs.sql import LOCK_JOBS
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy

# Longer than anything here takes; a test that gets this far waits for ever.
HANG_SECONDS = 30.0

WHY = Failure("code", "why")

# How many sessions wait for another's lock.
WAITING = "SELECT COUNT(*) AS count FROM pg_locks WHERE NOT granted"

Write = Callable[[JobStore, Lease], Awaitable[object]]

WRITES: dict[str, Write] = {
    "succeed": lambda store, lease: store.succeed(lease, "1"),
    "fail": lambda store, lease: store.fail(lease, WHY),
    "retry": lambda store, lease: store.retry(lease, WHY, jitter=0.0),
    "wait": lambda store, lease: store.wait(lease, WHY, poll_seconds=1, deadline_seconds=9),
    "release": lambda store, lease: store.release(lease),
}


@pytest.fixture
def url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    made = postgres.create_database(postgres_template)
    yield made
    postgres.drop_database(made)


def group(name: str, jobs: int = 1) -> NewGroup:
    return NewGroup(
        name, tuple(NewJob(f"{name}-{n}", f"type{n}", "{}", "default") for n in range(jobs))
    )


async def take(store: JobStore, job_id: str, *, lease_seconds: float = 60) -> Lease:
    taken = await store.take(job_id, worker="w", lease_seconds=lease_seconds)
    assert isinstance(taken, Taken)
    return taken.lease


async def until_waiting(database: Database, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock."""
    await answer_that(lambda rows: rows[0]["count"] >= count, lambda: database.read(WAITING))


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Open a database twice, as two processes do."""
    async with asyncio.timeout(HANG_SECONDS), Database(url) as here, Database(url) as there:
        yield here, there


@pytest.mark.parametrize("name", WRITES)
async def test_a_lease_that_expires_while_its_write_waits_is_lost(url: str, name: str) -> None:
    async with two(url) as (here, there):
        store = JobStore(here, RetryPolicy())
        await store.submit(group("g"))
        lease = await take(store, "g-0", lease_seconds=0.3)
        async with there.transaction() as connection:
            await connection.fetch(LOCK_JOBS, [["g-0"]])
            writing = asyncio.ensure_future(WRITES[name](store, lease))
            await connection.fetch("SELECT 1 FROM pg_sleep(0.4)")
        with pytest.raises(LeaseLost):
            await writing
        (job,) = await store.group("g")
        assert (job.state) is JobState.RUNNING


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_waits_for_a_cancellation_is_refused(url: str, name: str) -> None:
    async with two(url) as (here, there):
        store = JobStore(here, RetryPolicy())
        await store.submit(group("g"))
        lease = await take(store, "g-0")
        async with there.transaction() as connection:
            await connection.fetch(
                "UPDATE job SET state = 'cancelled', lease_token = NULL, lease_until = NULL"
            )
            writing = asyncio.ensure_future(WRITES[name](store, lease))
            await until_waiting(here)
        with pytest.raises(LeaseLost):
            await writing
        (job,) = await store.group("g")
        assert (job.state) is JobState.CANCELLED


async def test_two_who_take_over_a_lost_job_count_one_loss(url: str) -> None:
    async with two(url) as (here, there):
        stores = [JobStore(database, RetryPolicy()) for database in (here, there)]
        await stores[0].submit(group("g"))
        await take(stores[0], "g-0", lease_seconds=0.001)
        await here.write("SELECT 1 FROM pg_sleep(0.01)")
        answers = await asyncio.gather(
            *(store.take("g-0", worker="w", lease_seconds=60) for store in stores)
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["Refused", "Taken"]
        (job,) = await stores[0].group("g")
        assert (job.losses, job.attempts) == (1, 2)


async def test_a_job_that_is_taken_while_another_worker_waits_for_it_is_refused(url: str) -> None:
    async with two(url) as (here, there), Database(url) as elsewhere:
        stores = [JobStore(database, RetryPolicy()) for database in (here, elsewhere)]
        await stores[0].submit(group("g"))
        async with there.transaction() as connection:
            await connection.fetch(LOCK_JOBS, [["g-0"]])
            both = [
                asyncio.ensure_future(store.take("g-0", worker="w", lease_seconds=60))
                for store in stores
            ]
            await until_waiting(here, 2)
        answers = await asyncio.gather(*both)
        assert sorted(type(answer).__name__ for answer in answers) == ["Refused", "Taken"]
        (refused,) = [answer for answer in answers if isinstance(answer, Refused)]
        assert refused.retry_in_seconds is not None


async def test_a_sweep_passes_over_what_another_has_locked_and_waits_for_nothing(url: str) -> None:
    async with two(url) as (here, there):
        store = JobStore(here, RetryPolicy())
        await store.submit(group("g", jobs=3))
        await here.write("UPDATE job SET due_at = 0")
        async with there.transaction() as connection:
            await connection.fetch(LOCK_JOBS, [["g-1"]])
            assert sorted(job.id for job in await store.sweep(10)) == ["g-0", "g-2"]
        assert [job.id for job in await store.sweep(10)] == ["g-1"]


async def test_who_takes_what_is_ready_passes_over_what_another_has_locked(url: str) -> None:
    async with two(url) as (here, there):
        store = JobStore(here, RetryPolicy(), by_messages=False)
        await store.submit(group("g", jobs=3))
        proof_types = sorted({job.proof_type for job in await store.group("g")})
        async with there.transaction() as connection:
            await connection.fetch(LOCK_JOBS, [["g-0"]])
            taken = await store.take_ready(
                "default", proof_types, limit=2, worker="w", lease_seconds=60
            )
        assert [one.job.id for one in taken] == ["g-1", "g-2"], "no fewer than there are"


async def test_processes_that_store_the_same_groups_in_other_orders_do_not_block_each_other(
    url: str,
) -> None:
    names = [f"g{n:02}" for n in range(30)]

    async with two(url) as (here, there):
        stores = [JobStore(database, RetryPolicy()) for database in (here, there)]
        for round_ in range(5):
            groups = [group(f"{name}-{round_}") for name in names]
            forward, backward = await asyncio.gather(
                asyncio.gather(*map(stores[0].submit, groups)),
                asyncio.gather(*map(stores[1].submit, reversed(groups))),
            )
            made = [answer.created for answer in (*forward, *backward)]
            assert sum(made) == len(names), "each is stored once"


async def lock_in_order(database: Database, first: str, second: str, ready: asyncio.Event) -> None:
    """Lock two jobs, the second once somebody waits for the first."""
    async with database.transaction() as connection:
        await connection.fetch(LOCK_JOBS, [[first]])
        ready.set()
        await until_waiting(database)
        await connection.fetch(LOCK_JOBS, [[second]])


async def test_the_victim_of_a_deadlock_tries_again(url: str) -> None:
    async with two(url) as (here, there):
        store = JobStore(here, RetryPolicy())
        await store.submit(group("g", jobs=2))
        ready = asyncio.Event()
        locking = asyncio.ensure_future(lock_in_order(there, "g-1", "g-0", ready))
        await ready.wait()
        # It locks the first row, then waits for the second, which the other has.
        written = await here.write(
            "UPDATE job SET due_at = 0 FROM (SELECT id AS held FROM job WHERE id = ANY(?) "
            "ORDER BY id FOR UPDATE) AS locked WHERE id = held RETURNING id",
            [["g-0", "g-1"]],
        )
        answers = await asyncio.gather(locking, return_exceptions=True)
        assert len(written) == 2
        assert isinstance(answers[0], StoreBusy | None)
