"""The feed of events: nothing is missed, one look for all, bounded, and it ends when told."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from prover_framework.app import Runtime, open_runtime
from prover_framework.database.engine import Row
from prover_framework.errors import FeedBusy
from prover_framework.jobs.feed import (
    LOOKED_AT_ONCE,
    Accepted,
    EventFeed,
    GroupStanding,
    Interest,
    News,
)
from prover_framework.jobs.outbox import Event, EventKind
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.sql import STATES_OF_GROUPS
from prover_framework.model.jobs import JobState
from prover_framework.plugins.registry import Plugins
from prover_framework.settings import Settings

FAST = 0.01


@pytest.fixture
async def runtime(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runtime]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    async with open_runtime(settings, Plugins(found=(), hooks={})) as opened:
        yield opened


async def add(runtime: Runtime, group: str) -> None:
    job = NewJob(id=f"{group:0>32}"[-32:], name="lab", parameters="{}", queue="default")
    await runtime.jobs.submit(NewGroup(group, (job,)))


async def end(runtime: Runtime, group: str) -> None:
    await runtime.jobs.cancel(group)
    await runtime.outbox.publish()


async def test_an_end_is_numbered_by_its_own_commit(runtime: Runtime) -> None:
    await add(runtime, "a")
    await runtime.jobs.cancel("a")
    assert [event.group_id for event in await runtime.outbox.events_after(0, 10)] == ["a"]


async def first(news: AsyncIterator[News], kind: type[News]) -> News:
    async with asyncio.timeout(30):
        async for each in news:
            if isinstance(each, kind):
                return each
    raise AssertionError("the feed has ended")


async def test_ends_of_groups_are_told_and_none_is_missed_by_who_comes_back(
    runtime: Runtime,
) -> None:
    feed = EventFeed(runtime.database, poll_seconds=FAST)
    for name in "abc":
        await add(runtime, name)
    async with feed.listen(Interest()) as news:
        await end(runtime, "a")
        told = await first(news, Event)
        assert isinstance(told, Event)
        assert (told.number, told.kind, told.group_id) == (1, EventKind.GROUP_ENDED, "a")
    await end(runtime, "b")
    await end(runtime, "c")
    async with feed.listen(Interest(), after=1) as news:
        back = [await first(news, Event), await first(news, Event)]
    assert [each.group_id for each in back if isinstance(each, Event)] == ["b", "c"]
    async with feed.listen(Interest(groups=frozenset({"c"})), after=0) as news:
        only = await first(news, Event)
    assert isinstance(only, Event)
    assert only.group_id == "c"
    await feed.close()


async def test_how_jobs_stand_is_told_at_first_and_when_it_changes(runtime: Runtime) -> None:
    feed = EventFeed(runtime.database, poll_seconds=FAST)
    await add(runtime, "a")
    async with feed.listen(Interest(follows=frozenset({"a", "nobody"}))) as news:
        at_first = [await first(news, GroupStanding), await first(news, GroupStanding)]
        states = {
            each.group_id: each.status for each in at_first if isinstance(each, GroupStanding)
        }
        assert states == {"a": JobState.QUEUED, "nobody": None}
        await runtime.jobs.cancel("a")
        changed = await first(news, GroupStanding)
        assert isinstance(changed, GroupStanding)
        assert changed.status is JobState.CANCELLED
    await feed.close()


async def test_however_many_groups_are_followed_they_are_looked_at_some_at_a_time(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = EventFeed(runtime.database, poll_seconds=FAST)
    asked: list[int] = []
    read = runtime.database.read

    async def counted(statement: str, values: Sequence[object] = ()) -> Sequence[Row]:
        if statement == STATES_OF_GROUPS:
            (groups,) = values
            assert isinstance(groups, list)
            asked.append(len(groups))
        return await read(statement, values)

    monkeypatch.setattr(runtime.database, "read", counted)
    wanted = frozenset(f"g{number}" for number in range(2 * LOOKED_AT_ONCE + 1))
    async with feed.listen(Interest(follows=wanted)) as news:
        told = {(await first(news, GroupStanding)).group_id for _ in wanted}
    assert told == wanted
    assert set(asked) == {LOOKED_AT_ONCE, 1}
    await feed.close()


async def test_new_groups_are_told_to_who_wants_to_know(runtime: Runtime) -> None:
    feed = EventFeed(runtime.database, poll_seconds=FAST)
    await add(runtime, "a")
    async with feed.listen(Interest(arrivals=True)) as news:
        coming = asyncio.create_task(first(news, Accepted))
        number = 0
        while not coming.done():
            number += 1
            await add(runtime, f"new-{number}")
            await asyncio.wait({coming}, timeout=FAST)
        arrived = coming.result()
        assert isinstance(arrived, Accepted)
        assert arrived.group_id.startswith("new-")
    await feed.close()


async def test_listeners_are_bounded_and_end_with_the_feed(runtime: Runtime) -> None:
    feed = EventFeed(runtime.database, poll_seconds=FAST, max_listeners=1)
    async with feed.listen(Interest()) as news:
        with pytest.raises(FeedBusy, match=r"as may \(1\)"):
            async with feed.listen(Interest()):
                pass
        ended = asyncio.ensure_future(anext(news, None))
        await asyncio.sleep(0)
        await feed.close()
        assert await asyncio.wait_for(ended, 30) is None
    with pytest.raises(FeedBusy):
        async with feed.listen(Interest()):
            pass
