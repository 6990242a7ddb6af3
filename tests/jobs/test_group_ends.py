"""Each end of a group is stored as one event, in the transaction that makes it end."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from waiting import answer_that

from prover_framework.database.database import Database
from prover_framework.errors import StoreError
from prover_framework.jobs.records import Failure, Lease, NewGroup, NewJob, Taken
from prover_framework.jobs.seals import StoredSeal
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.testing import ManualClock

# A test that gets this far waits for ever.
HANG_SECONDS = 30.0

WHY = Failure("code", "why")
POLICY = RetryPolicy(max_attempts=1, max_losses=1)

WAITING = "SELECT COUNT(*) AS count FROM pg_locks WHERE NOT granted"

End = Callable[[JobStore, Lease], Awaitable[object]]

ENDS: dict[str, End] = {
    "succeed": lambda store, lease: store.succeed(lease, "1"),
    "succeed sealed": lambda store, lease: store.succeed(
        lease, "1", "{}", [StoredSeal("kind", "{}")]
    ),
    "succeed with dependents": lambda store, lease: store.succeed(lease, "1", has_dependents=True),
    "fail": lambda store, lease: store.fail(lease, WHY),
    "retry": lambda store, lease: store.retry(lease, WHY, jitter=0.0),
    "wait": lambda store, lease: store.wait(lease, WHY, poll_seconds=1, deadline_seconds=0),
}


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database, POLICY)


def group(name: str, jobs: int = 2) -> NewGroup:
    return NewGroup(
        name, tuple(NewJob(f"{name}-{n}", f"type{n}", "{}", "default") for n in range(jobs))
    )


async def take(store: JobStore, job_id: str, *, lease_seconds: float = 60) -> Lease:
    taken = await store.take(job_id, worker="w", lease_seconds=lease_seconds)
    assert isinstance(taken, Taken)
    return taken.lease


async def ends(database: Database) -> list[tuple[str, int]]:
    """Return groups that have ended, once for each end, and when."""
    rows = await database.read("SELECT kind, group_id, created_at FROM event ORDER BY id")
    assert {row["kind"] for row in rows} <= {"group_ended"}
    return [(row["group_id"], row["created_at"]) for row in rows]


@pytest.mark.parametrize("name", ENDS)
async def test_the_last_job_ends_its_group(
    store: JobStore, database: Database, clock: ManualClock, name: str
) -> None:
    await store.submit(group("g"))
    await store.submit(group("other"))
    await ENDS[name](store, await take(store, "g-0"))
    assert await ends(database) == []
    clock.advance(5)
    await ENDS[name](store, await take(store, "g-1"))
    assert await ends(database) == [("g", clock.ms)]


async def test_jobs_that_end_together_end_their_groups_once(
    store: JobStore, database: Database
) -> None:
    await asyncio.gather(*(store.submit(group(name, 3)) for name in "abc"))
    leases = [await take(store, f"{name}-{n}") for n in range(3) for name in "abc"]
    await asyncio.gather(*(store.succeed(lease, "1") for lease in leases[:-1]))
    assert sorted(name for name, _ in await ends(database)) == ["a", "b"]


async def test_a_group_that_is_cancelled_ends(store: JobStore, database: Database) -> None:
    await store.submit(group("g"))
    await store.succeed(await take(store, "g-0"), "1")
    for _ in range(2):
        await store.cancel("g")
        assert [name for name, _ in await ends(database)] == ["g"]


@pytest.mark.parametrize("finder", ["sweep", "take"])
async def test_a_group_ends_by_its_workers_being_lost(
    store: JobStore, database: Database, clock: ManualClock, finder: str
) -> None:
    await store.submit(group("g", 1))
    await take(store, "g-0", lease_seconds=1)
    clock.advance(2)
    for _ in range(2):
        if finder == "sweep":
            await store.sweep(10)
        else:
            await store.take("g-0", worker="v", lease_seconds=1)
        assert [name for name, _ in await ends(database)] == ["g"]


async def test_a_group_ends_by_the_failure_of_what_its_last_jobs_rest_on(
    store: JobStore, database: Database
) -> None:
    jobs = (
        NewJob("0", "base", "{}", "default"),
        NewJob("1", "middle", "{}", "default", rests_on=("base",)),
        NewJob("2", "top", "{}", "default", rests_on=("middle",)),
    )
    await store.submit(NewGroup("g", jobs))
    base, *others = [await take(store, job.id) for job in jobs]
    for lease in others:
        await store.wait(
            lease, Failure("dependency_not_yet", "why"), poll_seconds=60, deadline_seconds=600
        )
    await store.fail(base, WHY)
    assert [name for name, _ in await ends(database)] == ["g"]


async def test_a_job_that_begins_to_wait_in_vain_ends_its_group(
    store: JobStore, database: Database
) -> None:
    jobs = (
        NewJob("0", "base", "{}", "default"),
        NewJob("1", "top", "{}", "default", rests_on=("base",)),
    )
    await store.submit(NewGroup("g", jobs))
    base, top = [await take(store, job.id) for job in jobs]
    await store.fail(base, WHY)
    assert await ends(database) == []
    await store.wait(
        top, Failure("dependency_not_yet", "why"), poll_seconds=60, deadline_seconds=600
    )
    assert [name for name, _ in await ends(database)] == ["g"]


async def test_a_group_with_a_new_life_ends_again(store: JobStore, database: Database) -> None:
    await store.submit(group("g"))
    await store.succeed(await take(store, "g-0"), "1")
    await store.fail(await take(store, "g-1"), WHY)
    await store.redrive("g")
    assert len(await ends(database)) == 1
    await store.succeed(await take(store, "g-1"), "1")
    assert [name for name, _ in await ends(database)] == ["g", "g"]
    # There is nothing to redrive.
    await store.redrive("g")
    assert len(await ends(database)) == 2


async def test_a_group_that_gains_a_job_ends_again(store: JobStore, database: Database) -> None:
    for name in ("one", "other"):
        job = await store.enqueue("g", NewJob(f"g-{name}", name, "{}", "default"))
        await store.succeed(await take(store, job.id), "1")
    assert [name for name, _ in await ends(database)] == ["g", "g"]


async def test_an_end_that_is_not_committed_is_no_event(
    store: JobStore, database: Database
) -> None:
    await store.submit(group("g", 1))
    lease = await take(store, "g-0")
    # The end is the last that is written: without it the result is not stored either.
    await database.write("ALTER TABLE event RENAME TO event_elsewhere")
    try:
        with pytest.raises(StoreError):
            await store.succeed(lease, "1")
    finally:
        await database.write("ALTER TABLE event_elsewhere RENAME TO event")
    assert [job.state for job in await store.group("g")] == ["running"]
    await store.succeed(lease, "1")
    assert len(await ends(database)) == 1


@pytest.mark.parametrize("engine_name", ["postgres"])
@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ["succeed", "succeed with dependents", "retry"])
async def test_two_last_jobs_that_end_at_once_end_their_group_once(
    database_url: str, first: str, second: str
) -> None:
    """Both have ended their job and do not see that the other has."""
    async with (
        asyncio.timeout(HANG_SECONDS),
        Database(database_url) as here,
        Database(database_url) as there,
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as between,
    ):
        one, other = (JobStore(database, POLICY) for database in (here, there))
        await one.submit(group("g"))
        leases = [await take(one, f"g-{n}") for n in range(2)]
        async with between.acquire() as connection, connection.transaction():
            await connection.fetch("SELECT id FROM job_group FOR UPDATE")
            writes = asyncio.gather(ENDS[first](one, leases[0]), ENDS[second](other, leases[1]))
            await answer_that(
                lambda rows: rows[0]["count"] >= 2, lambda: here.read(WAITING), seconds=20
            )
        await writes
        assert [name for name, _ in await ends(here)] == ["g"]


@pytest.mark.parametrize("engine_name", ["postgres"])
async def test_many_groups_end_once_whoever_ends_their_jobs(database_url: str) -> None:
    names = [f"g{n:02}" for n in range(40)]
    async with (
        asyncio.timeout(HANG_SECONDS),
        Database(database_url) as here,
        Database(database_url) as there,
    ):
        stores = [JobStore(database, POLICY) for database in (here, there)]
        await asyncio.gather(*(stores[0].submit(group(name)) for name in names))
        # Each in an order of its own.
        orders = (names, names[::-1])
        leases = [
            [await take(stores[0], f"{name}-{n}") for name in order]
            for n, order in enumerate(orders)
        ]
        await asyncio.gather(
            *(
                ENDS["fail" if turn % 3 == 0 else "succeed"](store, lease)
                for turn, pair in enumerate(zip(*leases, strict=True))
                for store, lease in zip(stores, pair, strict=True)
            )
        )
        assert sorted(name for name, _ in await ends(here)) == names
