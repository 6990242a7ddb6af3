"""Databases that go away, fill up or are asked by many at once: no job is lost or doubled."""

import asyncio
import time
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from prover_framework.database.database import Database
from prover_framework.errors import StoreError
from prover_framework.jobs.records import NewGroup, NewJob, Refusal, Refused, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.testing import ManualClock

# Longer than a server that is gone needs to be noticed.
BOUND_SECONDS = 20.0

LONG_AFTER_MS = 10**9


def group(name: str = "g", jobs: int = 1) -> NewGroup:
    return NewGroup(
        name, tuple(NewJob(f"{name}-{n}", f"type{n}", "{}", "default") for n in range(jobs))
    )


async def take(store: JobStore, job_id: str) -> Taken:
    taken = await store.take(job_id, worker="w", lease_seconds=60)
    assert isinstance(taken, Taken)
    return taken


async def test_calls_fail_while_the_server_is_away_and_succeed_by_themselves_afterwards(
    postgres: PostgresServer, postgres_template: str
) -> None:
    if not postgres.own:
        pytest.skip("the PostgreSQL server of TEST_DATABASE_URL may not be stopped")
    url = postgres.create_database(postgres_template)

    async with Database(url) as database:
        store = JobStore(database, RetryPolicy())
        await store.submit(group())
        lease = (await take(store, "g-0")).lease
        postgres.stop()
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                for call in (
                    store.submit(group("other")),
                    store.succeed(lease, "1"),
                    store.group("g"),
                    store.take_ready("default", ["proof"], limit=1, worker="w", lease_seconds=1),
                ):
                    with pytest.raises(StoreError):
                        await call
        finally:
            postgres.start()
        await store.succeed(lease, "1")
        assert (await store.submit(group("other"))).created
        assert [job.state for job in await store.group("g")] == [JobState.SUCCEEDED]
    postgres.drop_database(url)


async def test_a_result_that_a_full_disk_refuses_is_stored_when_there_is_room(
    tmp_path: Path,
) -> None:
    path = tmp_path / "prover.sqlite3"
    large = '"' + "x" * 1_000_000 + '"'

    async with Database(path) as database:
        await database.migrate()
        store = JobStore(database, RetryPolicy())
        await store.submit(group())
        lease = (await take(store, "g-0")).lease
        before = await store.group("g")
        await database.write("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match="full"):
            await store.succeed(lease, large)
        assert await store.group("g") == before
        await database.write("PRAGMA max_page_count = 1000000")
        await store.succeed(lease, large)
        (job,) = await store.group("g")
        assert (job.state, job.result) == (JobState.SUCCEEDED, large)


async def test_only_the_clock_of_the_database_counts(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url) as here, Database(database_url) as there:
        store, other = JobStore(here, RetryPolicy()), JobStore(there, RetryPolicy())
        await store.submit(group())
        lease = (await take(store, "g-0")).lease
        now = time.time
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now() + 3600)
            assert await other.sweep(10) == []
            refused = await other.take("g-0", worker="late", lease_seconds=60)
            assert isinstance(refused, Refused)
            assert refused.retry_in_seconds is not None
            assert 0 < refused.retry_in_seconds <= 60
            patch.setattr(time, "time", lambda: now() - 3600)
            assert await other.extend([lease], lease_seconds=60) == []
            await other.succeed(lease, "1")


async def test_of_many_who_take_and_sweep_at_once_one_has_each_job(database_url: str) -> None:
    clock = ManualClock()

    async with (
        Database(database_url, clock=clock) as here,
        Database(database_url, clock=clock) as there,
    ):
        stores = [JobStore(database, RetryPolicy()) for database in (here, there)]
        await stores[0].submit(group(jobs=20))
        clock.ms += LONG_AFTER_MS
        swept = await asyncio.gather(*(store.sweep(20) for store in stores * 3))
        sent = [job.id for part in swept for job in part]
        assert len(sent) == len(set(sent)), "no job is sent twice"
        # A sweeper passes over what another has locked; the next sweep has it.
        answers = await asyncio.gather(
            *(
                store.take(f"g-{n}", worker="w", lease_seconds=60)
                for n in range(20)
                for store in stores * 2
            )
        )
        taken = [answer.job.id for answer in answers if isinstance(answer, Taken)]
        assert sorted(taken) == sorted(f"g-{n}" for n in range(20))


async def test_messages_that_come_twice_late_or_out_of_order_do_no_harm(database_url: str) -> None:
    clock = ManualClock()

    async with Database(database_url, clock=clock) as database:
        store = JobStore(database, RetryPolicy())
        await store.submit(group())
        lease = (await take(store, "g-0")).lease
        clock.ms += 20_000
        again = await store.take("g-0", worker="w", lease_seconds=60)
        assert again == Refused(Refusal.LEASED, 40.0), "with the rest of the lease"
        # Late news that the message was sent changes nothing.
        await store.mark_sent(["g-0"])
        assert [job.state for job in await store.group("g")] == [JobState.RUNNING]
        await store.cancel("g")
        final = Refused(Refusal.FINAL)
        assert await store.take("g-0", worker="w", lease_seconds=60) == final
        # The message of an earlier life wakes the job, and the message of this one comes late.
        await store.redrive("g")
        second = await take(store, "g-0")
        assert second.lease != lease
        assert await store.extend([lease], lease_seconds=60) == [lease]
        await store.succeed(second.lease, "2")
        assert await store.take("g-0", worker="w", lease_seconds=60) == final
        assert [job.result for job in await store.group("g")] == ["2"]
