"""Events are numbered as they are seen, and each observer is told each end of a group."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from prover_framework.database.database import Database
from prover_framework.database.engine import Statements
from prover_framework.jobs.outbox import (
    FORGET_SECONDS,
    PUBLISH_LIMIT,
    Delivery,
    EventKind,
    Outbox,
    Undelivered,
    Work,
    note_seal,
    publish_in,
)
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.testing import ManualClock

# A test that gets this far waits for ever.
HANG_SECONDS = 30.0

LEASE_SECONDS = 10.0
GIVE_UP_SECONDS = 1000.0


class Bench:
    """A database with a clock of the test's, and groups that end as the test says."""

    def __init__(
        self, database: Database, clock: ManualClock, *, numbers_at_once: bool = False
    ) -> None:
        self.database = database
        self.clock = clock
        self.outbox = Outbox(database)
        publish = publish_in if numbers_at_once else None
        self._store = JobStore(database, RetryPolicy(), publish=publish)

    async def end(self, *groups: str) -> None:
        for name in groups:
            await self._store.submit(
                NewGroup(name, (NewJob(f"{name}-0", "type", "{}", "default"),))
            )
            await self._store.cancel(name)

    async def publish(self, *groups: str) -> None:
        await self.end(*groups)
        await self.outbox.publish()

    async def take(self, observer: str = "one") -> Delivery | None:
        return await self.outbox.take(observer, lease_seconds=LEASE_SECONDS)

    async def taken(self, observer: str = "one") -> Delivery:
        delivery = await self.take(observer)
        assert delivery is not None
        return delivery

    async def told(self, observer: str) -> list[str]:
        """Tell an observer all that there is; return the groups."""
        told = []
        while delivery := await self.take(observer):
            assert await self.outbox.done(delivery)
            told.append(delivery.group_id)
        return told

    async def fail(self, delivery: Delivery, wait_seconds: float = 5.0) -> bool:
        return await self.outbox.try_again(
            delivery, wait_seconds=wait_seconds, give_up_seconds=GIVE_UP_SECONDS
        )


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    clock = ManualClock()
    async with Database(database_url, clock=clock) as database:
        yield Bench(database, clock)


async def test_events_are_read_in_the_order_of_their_numbers(bench: Bench) -> None:
    at = bench.clock.ms
    await bench.end("a", "b", "c")
    assert await bench.outbox.events_after(0, 10) == []
    assert await bench.outbox.publish() == 3
    assert await bench.outbox.publish() == 0
    first, *others = await bench.outbox.events_after(0, 2)
    assert (first.number, first.kind, first.group_id, first.at_ms) == (
        1,
        EventKind.GROUP_ENDED,
        "a",
        at,
    )
    others += await bench.outbox.events_after(others[-1].number, 10)
    assert [(event.number, event.group_id) for event in others] == [(2, "b"), (3, "c")]


@pytest.mark.parametrize("engine_name", ["sqlite"])
async def test_where_there_is_one_writer_events_are_numbered_with_the_end(
    database_url: str,
) -> None:
    async with Database(database_url) as here, Database(database_url) as there:
        benches = [Bench(each, ManualClock(), numbers_at_once=True) for each in (here, there)]
        await benches[0].outbox.register(["one"])
        # An older version beside these leaves its events without numbers; the next one sees to it.
        await Bench(here, ManualClock()).end("old")
        assert (await benches[0].outbox.look(["one"])).unpublished
        ends = (benches[n % 2].end(f"g{n:02}") for n in range(20))
        await asyncio.gather(*ends)
        assert await benches[0].outbox.look(["one"]) == Work(unpublished=False, due=True)
        events = await benches[0].outbox.events_after(0, 100)
        assert [event.number for event in events] == list(range(1, 22))
        assert events[0].group_id == "old"
        told = await benches[1].told("one")
        assert told == [event.group_id for event in events]


@pytest.mark.parametrize("engine_name", ["sqlite"])
async def test_a_number_goes_with_the_transaction_that_gave_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url) as database:
        bench = Bench(database, ManualClock(), numbers_at_once=True)
        await bench.end("a")

        async def refuse(connection: Statements) -> None:
            await publish_in(connection)
            raise RuntimeError("the disk is gone")

        with monkeypatch.context() as patched:
            patched.setattr(bench._store, "_publish", refuse)
            with pytest.raises(RuntimeError, match="disk"):
                await bench.end("b")
        await bench.end("c")
        events = await bench.outbox.events_after(0, 10)
        assert [(event.number, event.group_id) for event in events] == [(1, "a"), (2, "c")]


async def test_a_seal_is_an_event_that_no_observer_is_told(bench: Bench) -> None:
    await bench.publish("g")
    await bench.outbox.register(["one"])
    async with bench.database.transaction() as connection:
        await note_seal(connection, group_id="g", job_name="type", seal_kind="stamp")
        await note_seal(connection, group_id="g", job_name="", seal_kind="stamp")
    await bench.outbox.publish()
    events = await bench.outbox.events_after(1, 10)
    assert [(event.kind, event.job_id, event.seal_kind) for event in events] == [
        ("seal_made", "g-0", "stamp"),
        ("seal_made", None, "stamp"),
    ]
    assert await bench.take() is None


async def test_many_events_are_published_in_parts(bench: Bench) -> None:
    await bench.outbox.register(["one"])
    async with bench.database.transaction() as connection:
        for _ in range(PUBLISH_LIMIT + 1):
            await note_seal(connection, group_id="g", job_name="", seal_kind="stamp")
    assert [await bench.outbox.publish() for _ in range(3)] == [PUBLISH_LIMIT, 1, 0]
    numbers = [event.number for event in await bench.outbox.events_after(0, 1000)]
    assert numbers == list(range(1, PUBLISH_LIMIT + 2))


@pytest.mark.parametrize("engine_name", ["postgres"])
async def test_who_reads_misses_nothing_that_is_committed_late(database_url: str) -> None:
    """A transaction has a lower id than others that commit before it."""
    insert = "INSERT INTO event (kind, group_id, created_at) VALUES ('group_ended', $1, 0)"
    async with (
        asyncio.timeout(HANG_SECONDS),
        Database(database_url) as database,
        asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
    ):
        outbox = Outbox(database)
        async with connection.transaction():
            await connection.execute(insert, "late")
            await database.write(insert.replace("$1", "'early'"))
            await outbox.publish()
            (early,) = await outbox.events_after(0, 10)
        await outbox.publish()
        (late,) = await outbox.events_after(early.number, 10)
        assert (early.group_id, late.group_id) == ("early", "late")


@pytest.mark.parametrize("engine_name", ["postgres"])
async def test_numbers_are_given_once_whoever_publishes(database_url: str) -> None:
    async with (
        asyncio.timeout(HANG_SECONDS),
        Database(database_url) as here,
        Database(database_url) as there,
    ):
        bench = Bench(here, ManualClock())
        await bench.outbox.register(["one"])
        names = [f"g{n:02}" for n in range(30)]
        publishers = [bench.outbox, Outbox(there)]
        for name in names:
            await bench.end(name)
            await asyncio.gather(*(publisher.publish() for publisher in publishers))
        events = await bench.outbox.events_after(0, 100)
        assert [(event.number, event.group_id) for event in events] == list(enumerate(names, 1))
        assert await bench.told("one") == names


async def test_each_observer_is_told_what_is_published_while_it_is_there(bench: Bench) -> None:
    await bench.publish("before")
    await bench.outbox.register(["one"])
    await bench.publish("first")
    await bench.outbox.register(["one", "other"])
    await bench.publish("second")
    assert await bench.told("one") == ["first", "second"]
    assert await bench.told("other") == ["second"]
    assert await bench.told("one") == []


async def test_an_observer_that_is_nowhere_any_more_is_forgotten(bench: Bench) -> None:
    await bench.outbox.register(["gone", "one"])
    bench.clock.advance(FORGET_SECONDS + 1)
    await bench.outbox.register(["one"])
    await bench.publish("g")
    assert await bench.told("gone") == []
    assert await bench.told("one") == ["g"]


async def test_a_delivery_has_one_holder_until_its_lease_expires(bench: Bench) -> None:
    await bench.outbox.register(["one"])
    await bench.publish("g")
    lost = await bench.taken()
    assert await bench.take() is None
    bench.clock.advance(LEASE_SECONDS - 1)
    assert await bench.outbox.extend(lost, lease_seconds=LEASE_SECONDS)
    bench.clock.advance(LEASE_SECONDS - 1)
    assert await bench.take() is None
    bench.clock.advance(1)
    again = await bench.taken()
    assert (again.number, again.tries) == (lost.number, 2)
    for write in (bench.outbox.extend(lost, lease_seconds=1), bench.outbox.done(lost)):
        assert not await write, "it is another's"
    assert await bench.fail(lost), "another has it"
    assert await bench.outbox.done(again)
    assert await bench.told("one") == []


async def test_what_kills_its_workers_is_tried_more_and_more_rarely(bench: Bench) -> None:
    await bench.outbox.register(["one"])
    await bench.publish("g")
    for tries in (1, 2, 3):
        assert (await bench.taken()).tries == tries
        bench.clock.advance(LEASE_SECONDS * tries - 1)
        assert await bench.take() is None
        bench.clock.advance(1)


async def test_what_fails_is_tried_again_until_it_is_given_up(bench: Bench) -> None:
    await bench.outbox.register(["one"])
    await bench.publish("g")
    assert await bench.fail(await bench.taken())
    assert await bench.take() is None
    bench.clock.advance(5)
    late = await bench.taken()
    assert late.tries == 2
    bench.clock.advance(GIVE_UP_SECONDS - 5)
    assert not await bench.fail(late)
    bench.clock.advance(GIVE_UP_SECONDS)
    assert await bench.take() is None


async def test_a_failure_holds_up_nothing_else(bench: Bench) -> None:
    await bench.outbox.register(["one"])
    await bench.publish("a", "b")
    assert await bench.fail(await bench.taken())
    assert await bench.told("one") == ["b"]


async def test_a_look_tells_what_there_is_to_do(bench: Bench) -> None:
    await bench.outbox.register(["one"])
    assert await bench.outbox.look(["one"]) == Work(unpublished=False, due=False)
    await bench.end("g")
    assert await bench.outbox.look(["one"]) == Work(unpublished=True, due=False)
    await bench.outbox.publish()
    assert await bench.outbox.look(["one"]) == Work(unpublished=False, due=True)
    assert await bench.outbox.look(["other"]) == Work(unpublished=False, due=False)
    assert await bench.outbox.look([]) == Work(unpublished=False, due=False)
    await bench.take()
    assert await bench.outbox.look(["one"]) == Work(unpublished=False, due=False)


async def test_what_is_not_told_yet_is_counted(bench: Bench) -> None:
    await bench.outbox.register(["one", "other"])
    at = bench.clock.ms
    await bench.publish("a")
    bench.clock.advance(1)
    await bench.publish("b")
    await bench.end("c")
    assert await bench.told("other") == ["a", "b"]
    found = sorted(await bench.outbox.undelivered(), key=lambda some: some.observer or "")
    assert found == [Undelivered(None, 1, at + 1000), Undelivered("one", 2, at)]
