"""The table of jobs as the queue: who can do a job that may begin gets it, once, oldest first."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.jobs.ready import ReadyJobs
from prover_framework.jobs.records import Failure, NewGroup, NewJob, Taken, Transition
from prover_framework.jobs.sql import MAX_INCAPABLE_MS, UNSENT_MS
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import JobState, RetryPolicy
from prover_framework.testing import ManualClock

# Longer than any test should take; a test that gets this far has failed.
HANG_SECONDS = 60.0

TYPES = ("max_return", "twap")

S = JobState


@frozen
class Bench:
    """A store as two processes see it, on a clock that the test owns."""

    clock: ManualClock
    database: Database
    jobs: JobStore
    another: JobStore

    async def submit(
        self,
        *names: str,
        group: str = "g",
        delay_seconds: float = 0.0,
        key: str | None = None,
        priority: int = 0,
    ) -> None:
        new = [
            NewJob(f"{place:016}{group:>16}", name, "{}", "default", delay_seconds=delay_seconds)
            for place, name in enumerate(names)
        ]
        await self.jobs.submit(NewGroup(group, tuple(new), api_key=key, priority=priority))

    async def submit_many(self, count: int, *, key: str | None) -> None:
        """Submit groups of one job, all at once."""
        await asyncio.gather(
            *(self.submit("twap", group=f"{key}-{number}", key=key) for number in range(count))
        )

    async def take_each(self, count: int) -> list[str]:
        """Take so many jobs one by one, as a worker with one slot does; return their groups."""
        taken = [await self.take(limit=1) for _ in range(count)]
        return [one.job.group_id for (one,) in taken]

    async def take(
        self, *types: str, limit: int = 10, jobs: JobStore | None = None, queue: str = "default"
    ) -> list[Taken]:
        return await (jobs or self.jobs).take_ready(
            queue, types or TYPES, limit=limit, worker="w", lease_seconds=60
        )

    def ready(self, jobs: JobStore, *, by_news_alone: bool = False) -> ReadyJobs:
        waits = {"look_seconds": HANG_SECONDS}
        return ReadyJobs(jobs, self.database, "default", TYPES, **(waits if by_news_alone else {}))


@asynccontextmanager
async def bench(
    url: str, on_change: Callable[[Sequence[Transition]], None] | None = None
) -> AsyncIterator[Bench]:
    clock = ManualClock()
    async with (
        asyncio.timeout(HANG_SECONDS),
        Database(url, clock) as database,
        Database(url, clock) as another,
    ):
        await database.migrate()
        stores = [
            JobStore(one, RetryPolicy(), on_change, by_messages=False)
            for one in (database, another)
        ]
        yield Bench(clock, database, *stores)


def lacking(proof_type: str) -> Failure | None:
    """Say what is missing, as a worker does that can do `TYPES`."""
    return None if proof_type in TYPES else Failure("not_capable", f"{proof_type} is missing")


def names(taken: Sequence[Taken]) -> list[str]:
    return [one.job.name for one in taken]


async def wait_for(ready: ReadyJobs) -> list[Taken]:
    return await ready.take(limit=10, worker="w", lease_seconds=60, wait_seconds=HANG_SECONDS)


async def test_what_is_accepted_is_queued_and_is_taken_oldest_first(database_url: str) -> None:
    async with bench(database_url) as at:
        for group, name in (("b", "twap"), ("a", "max_return"), ("c", "twap")):
            await at.submit(name, group=group)
            at.clock.ms += 1000
        (job,) = await at.jobs.group("b")
        assert (job.state, job.queued_at, job.sends) == (S.QUEUED, job.created_at, 0)
        assert await at.take(queue="another") == []
        first, second = await at.take(limit=2)
        assert [first.job.group_id, second.job.group_id] == ["b", "a"]
        assert (first.job.state, first.job.attempts, first.job.worker) == (S.RUNNING, 1, "w")
        assert first.lease.token != second.lease.token
        assert await at.jobs.extend([first.lease, second.lease], lease_seconds=60) == []
        assert [one.job.group_id for one in await at.take()] == ["c"]
        assert await at.take() == []


async def test_what_a_worker_can_not_do_is_not_taken_whatever_its_label(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.submit("twap", "reserve_price", "reserve_price@late", "max_return", "twap@early")
        assert await at.take(limit=1) != []
        assert sorted(names(await at.take())) == ["max_return", "twap@early"]
        assert await at.jobs.take_ready("default", (), limit=1, worker="w", lease_seconds=60) == []
        left = await at.take("reserve_price")
        assert sorted(names(left)) == ["reserve_price", "reserve_price@late"]


async def test_of_several_who_take_at_once_each_gets_others(database_url: str) -> None:
    async with bench(database_url) as at:
        for group in range(20):
            await at.submit("twap", "max_return", group=f"g{group}")
        found: list[str] = []
        while len(found) < 40:
            parts = await asyncio.gather(
                *(at.take(limit=3, jobs=jobs) for jobs in (at.jobs, at.another) * 4)
            )
            found += [one.job.id for part in parts for one in part]
        assert len(set(found)) == 40, "none of them was taken twice"


async def test_many_jobs_of_one_key_do_not_delay_a_group_of_another(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.submit_many(1000, key="large")
        await at.take(limit=7)
        at.clock.ms += 1000
        await at.submit("twap", "max_return", group="small", key="small")
        await at.submit("twap", group="of nobody")
        groups = await at.take_each(6)
        others = [group for group in groups if not group.startswith("large")]
        assert sorted(others) == ["of nobody", "small", "small"], groups
        # The same where a worker has room for several at once.
        await at.submit("twap", "max_return", group="small again", key="small")
        taken = await at.take(limit=5)
        assert [one.job.api_key for one in taken].count("small") == 2


async def test_keys_take_turns_whoever_asks(database_url: str) -> None:
    async with bench(database_url) as at:
        for key in ("a", "b", "c"):
            await at.submit_many(6, key=key)
        groups = await at.take_each(6)
        assert [group[0] for group in groups] == [*"abcabc"]
        # The round goes on where it was, however many are taken at once.
        taken = await at.take(limit=4)
        assert [one.job.api_key for one in taken] == [*"abca"]
        assert [group[0] for group in await at.take_each(3)] == [*"bca"]


async def test_of_one_key_the_oldest_comes_first_whatever_its_type(database_url: str) -> None:
    async with bench(database_url) as at:
        for name in ("twap", "max_return", "twap@second"):
            await at.submit(name, group=name.replace("@", "-"), key="k")
            at.clock.ms += 1
        await at.submit("twap", group="other", key="l")
        of_both = ["twap", "twap", "max_return", "twap@second"]
        assert names(await at.take(limit=4)) == of_both


async def test_the_highest_priority_is_taken_first_and_alone(database_url: str) -> None:
    async with bench(database_url) as at:
        for priority in (-9, 0, 9, 1):
            await at.submit("twap", group=f"p{priority}", priority=priority)
            at.clock.ms += 1
        await at.submit("twap", group="later", priority=9, delay_seconds=60)
        assert [[one.job.group_id for one in await at.take()] for _ in range(5)] == [
            ["p9"],
            ["p1"],
            ["p0"],
            ["p-9"],
            [],
        ]
        (job,) = await at.jobs.group("p-9")
        assert (job.priority, job.lane) == (-9, "18")


async def test_a_job_that_an_older_version_has_stored_is_taken_from_the_lane_it_is_in(
    database_url: str,
) -> None:
    async with bench(database_url) as at:
        await at.submit("twap", group="old", key="k")
        await at.database.write("UPDATE job SET lane = '09'")
        await at.submit("twap", group="new", key="k")
        assert sorted(one.job.group_id for one in await at.take(limit=2)) == ["new", "old"]


async def test_what_is_only_ready_later_holds_nobody_up(database_url: str) -> None:
    async with bench(database_url) as at:
        for number in range(50):
            await at.submit(
                "twap", group=f"d{number}", key=f"{number:012}", priority=9, delay_seconds=60
            )
        await at.submit("max_return", group="now")
        assert names(await at.take()) == ["max_return"]
        at.clock.advance(60)
        keys = {one.job.api_key for _ in range(5) for one in await at.take(limit=10)}
        assert len(keys) == 50, "each key has its turn, however many there are"


async def test_who_finds_what_others_take_looks_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(database_url) as at:
        await at.submit("twap", group="high", priority=9)
        await at.submit("twap", group="low")
        look, others = at.database.read, [at.take(jobs=at.another)]

        async def look_slowly(*arguments: Any) -> Any:
            found = await look(*arguments)
            for other in others:
                others.clear()
                assert [one.job.group_id for one in await other] == ["high"]
            return found

        monkeypatch.setattr(at.database, "read", look_slowly)
        assert [one.job.group_id for one in await at.take()] == ["low"]


async def test_nobody_begins_before_the_time(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.submit("twap", delay_seconds=60)
        assert await at.take() == []
        at.clock.advance(60)
        (taken,) = await at.take()
        await at.jobs.release(taken.lease, seconds=30)
        assert await at.take() == []
        at.clock.advance(30)
        (taken,) = await at.take()
        assert taken.job.attempts == 1, "what was released does not count"
        delay = await at.jobs.retry(taken.lease, Failure("code", "why"), jitter=0.5)
        assert delay is not None
        assert await at.take() == []
        at.clock.advance(delay)
        (taken,) = await at.take()
        await at.jobs.release(taken.lease)
        assert names(await at.take()) == ["twap"], "at once"


async def test_an_expired_lease_and_a_wait_that_is_over_are_ready_after_a_sweep(
    database_url: str,
) -> None:
    async with bench(database_url) as at:
        await at.submit("twap", "max_return")
        waits, _ = await at.take()
        why = Failure("data_not_yet", "why")
        await at.jobs.wait(waits.lease, why, poll_seconds=61, deadline_seconds=600)
        await at.jobs.make_ready(10, lacking)
        assert await at.take() == []
        at.clock.advance(61)
        await at.jobs.make_ready(10, lacking)
        states = {job.name: (job.state, job.losses) for job in await at.jobs.group("g")}
        assert states == {"twap": (S.QUEUED, 0), "max_return": (S.QUEUED, 1)}
        assert sorted(names(await at.take())) == ["max_return", "twap"]


async def test_a_job_that_nobody_begins_says_that_its_proof_type_is_missing(
    database_url: str,
) -> None:
    async with bench(database_url) as at:
        await at.submit("reserve_price@late", "twap")

        async def shown() -> dict[str, str | None]:
            await at.jobs.make_ready(10, lacking)
            return {job.name: job.error_code for job in await at.jobs.group("g")}

        assert set((await shown()).values()) == {None}
        at.clock.advance(UNSENT_MS / 1000)
        assert await shown() == {"reserve_price@late": "not_capable", "twap": None}
        # One that can is not told to wait.
        (taken,) = await at.take("reserve_price")
        assert taken.job.error_code is None


async def test_while_another_is_at_such_a_job_none_is_said_to_be_missing(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.submit("reserve_price", "reserve_price@late")
        (taken,) = await at.take("reserve_price", limit=1)
        at.clock.advance(UNSENT_MS / 1000)
        await at.jobs.extend([taken.lease], lease_seconds=3600)
        await at.jobs.make_ready(10, lacking)
        assert {job.error_code for job in await at.jobs.group("g")} == {None}
        await at.jobs.succeed(taken.lease, "1")
        at.clock.advance(MAX_INCAPABLE_MS * 6 / 1000)
        await at.jobs.make_ready(10, lacking)
        assert {job.error_code for job in await at.jobs.group("g")} == {None, "not_capable"}


async def test_who_waits_is_woken_by_what_this_process_accepts_or_gives_back(
    database_url: str,
) -> None:
    async with bench(database_url) as at:
        ready = at.ready(at.jobs, by_news_alone=True)
        waiting = asyncio.create_task(wait_for(ready))
        await asyncio.sleep(0.05)
        await at.submit("twap")
        (taken,) = await waiting
        for change in (
            at.jobs.release(taken.lease),
            _cancel_and_redrive(at.jobs),
        ):
            waiting = asyncio.create_task(wait_for(ready))
            await asyncio.sleep(0.05)
            await change
            (taken,) = await waiting


async def _cancel_and_redrive(jobs: JobStore) -> None:
    await jobs.cancel("g")
    await jobs.redrive("g")


async def test_who_waits_finds_what_another_process_accepts(database_url: str) -> None:
    async with bench(database_url) as at:
        waiting = asyncio.create_task(wait_for(at.ready(at.another)))
        await asyncio.sleep(0.05)
        await at.submit("max_return")
        assert names(await waiting) == ["max_return"]


async def test_an_acceptance_during_the_look_is_not_missed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, done = JobStore.take_ready, False

    async def look_and_miss(*arguments: object, **named: object) -> list[Taken]:
        nonlocal done
        taken = await look(*arguments, **named)  # type: ignore[arg-type]
        if not done:
            done = True
            await at.submit("twap")
        return taken

    async with bench(database_url) as at:
        monkeypatch.setattr(JobStore, "take_ready", look_and_miss)
        assert names(await wait_for(at.ready(at.jobs, by_news_alone=True))) == ["twap"]


async def test_a_wait_ends_when_it_is_interrupted(database_url: str) -> None:
    async with bench(database_url) as at:
        ready = at.ready(at.jobs, by_news_alone=True)
        waiting = asyncio.create_task(wait_for(ready))
        await asyncio.sleep(0.05)
        ready.interrupt()
        assert await waiting == []
        await at.submit("twap")
        assert await wait_for(ready) == [], "and none is taken after it"


async def test_observers_hear_of_a_job_that_is_taken_or_ready_again(database_url: str) -> None:
    heard: list[Transition] = []
    async with bench(database_url, heard.extend) as at:
        await at.submit("twap", "reserve_price")
        (taken,) = await at.take()
        why = Failure("data_not_yet", "why")
        await at.jobs.wait(taken.lease, why, poll_seconds=1, deadline_seconds=600)
        at.clock.advance(1)
        await at.jobs.make_ready(10, lacking)
        await at.take()
    changes = [(one.old, one.job.state) for one in heard if one.job.name == "twap"]
    assert changes == [
        (None, S.QUEUED),
        (S.QUEUED, S.RUNNING),
        (S.RUNNING, S.WAITING),
        (S.WAITING, S.QUEUED),
        (S.QUEUED, S.RUNNING),
    ]
