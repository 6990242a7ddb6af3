"""A sync fetches what is missing, goes on where it was, follows the chain to another branch."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import pytest
from aiohttp import web
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from node_server import NodeServer, block_of, node_server
from real_headers import altered

from prover_framework.chain import sync as header_sync
from prover_framework.chain.headers import EncodedHeader, Header, next_base_fee_wei
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.sources.node import EthereumNode, RequestRate, open_node
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.sync import (
    CaughtUp,
    Fetched,
    HeaderSync,
    Replaced,
    SyncEvent,
    SyncRange,
    Trouble,
)
from prover_framework.database.database import Database
from prover_framework.errors import (
    HeaderConflict,
    HeaderError,
    HeaderInvalid,
    HeaderRule,
    SourceError,
    StoreError,
)
from prover_framework.jobs.headers import header_store
from prover_framework.jobs.records import Failure, NewGroup, NewJob, Taken
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy

T = TypeVar("T")

START = 1_700_002_800
CHAIN_ID = 31337
FACTS = ChainFacts(CHAIN_ID, simulated=False, source="test")
CHAIN = list(islice(made_whole(simulate(START, 1, first_number=0)), 120))


class Current:
    """Where `run` finds the database of the test."""

    url = ""


@pytest.fixture(autouse=True)
def current_database(database_url: str) -> None:
    Current.url = database_url


class Stopped(Exception):
    """A follower has looked as often as the test wants."""


@frozen
class Bench:
    """Everything that a test of a sync needs."""

    server: NodeServer
    node: EthereumNode
    database: Database
    store: HeaderStore
    jobs: JobStore
    events: list[SyncEvent]
    waits: list[Callable[[], None]]

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002
        """Do what the test wants to happen while somebody waits."""
        if not self.waits:
            raise Stopped
        self.waits.pop(0)()

    async def sync(self, follow: float | None = None, **wanted: int) -> None:
        sync = HeaderSync(self.node, self.store, on_event=self.events.append, sleep=self.sleep)
        if follow is None:
            await sync.run(SyncRange(**wanted))
        else:
            with pytest.raises(Stopped):
                await sync.run(SyncRange(**wanted), follow)

    async def numbers(self, *, verified: bool = False) -> list[int]:
        where = "WHERE verified" if verified else ""
        rows = await self.database.read(f"SELECT number FROM block_header {where} ORDER BY number")
        return [row["number"] for row in rows]

    async def hashes(self) -> list[str]:
        rows = await self.database.read("SELECT block_hash FROM block_header ORDER BY number")
        return [row["block_hash"] for row in rows]

    def told(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


def run(
    use: Callable[[Bench], Awaitable[T]],
    chain: Sequence[EncodedHeader] = CHAIN,
    stored: Sequence[Header | EncodedHeader] = (),
) -> T:
    """Give a bench to a function: a node with a chain, a database with some headers."""

    async def no_sleep(_: float) -> None: ...

    async def work() -> T:
        pace = RequestRate(batch=10, requests_per_second=1e6)
        async with (
            node_server(chain, CHAIN_ID) as server,
            open_node(server.url, rate=pace, sleep=no_sleep) as node,
            Database(Current.url) as database,
        ):
            for table in ("block_header", "raw_header", "hourly_base_fee", "chain"):
                await database.write(f"DELETE FROM {table}")
            store = header_store(database)
            if stored:
                await store.import_headers(stored, FACTS)
            jobs = JobStore(database, RetryPolicy())
            return await use(Bench(server, node, database, store, jobs, [], []))

    return asyncio.run(work())


def branch(after: int, length: int, salt: int = 1) -> list[EncodedHeader]:
    """Return the chain up to a place, and other blocks after it."""
    made = list(CHAIN[: after + 1])
    for _ in range(length):
        parent = made[-1].header
        following = altered(
            made[-1],
            number=parent.number + 1,
            timestamp=parent.timestamp + 12,
            extra_data=b"branch %d" % salt,
            base_fee_per_gas=next_base_fee_wei(
                parent.base_fee_wei, parent.gas_used or 0, parent.gas_limit or 0
            ),
            parent_hash=bytes.fromhex((parent.block_hash or "")[2:]),
        )
        made.append(following)
    return made


def hashes(headers: Sequence[EncodedHeader]) -> list[str | None]:
    return [item.header.block_hash for item in headers]


# What is fetched.


def test_an_empty_database_gets_what_is_asked_for() -> None:
    async def use(bench: Bench) -> None:
        await bench.sync(from_block=30)
        assert await bench.numbers() == list(range(30, 120))
        assert await bench.numbers(verified=True) == list(range(31, 120))
        facts = await bench.store.chain()
        assert facts == ChainFacts(CHAIN_ID, simulated=False, source=bench.node.name)
        assert "secret" not in bench.node.name
        assert isinstance(bench.events[-1], CaughtUp)

    run(use)


def test_a_chain_from_its_genesis_on_is_verified_whole() -> None:
    async def use(bench: Bench) -> None:
        await bench.sync(from_block=0)
        assert await bench.numbers(verified=True) == list(range(120))

    run(use)


def test_it_goes_on_after_the_newest_that_is_stored() -> None:
    async def use(bench: Bench) -> None:
        await bench.sync()
        assert await bench.numbers() == list(range(40, 120))
        # One was compared with what is stored, the others were not there.
        assert sorted(bench.server.asked) == [49, *range(50, 120)]
        bench.server.requests.clear()
        await bench.sync()
        assert bench.server.asked == [119]

    run(use, stored=CHAIN[40:50])


def test_what_is_missing_before_and_between_is_fetched_and_nothing_else() -> None:
    there = [*range(30, 40), 50, *range(60, 70)]

    async def use(bench: Bench) -> None:
        await bench.sync(from_block=20, to_block=80)
        assert await bench.numbers() == list(range(20, 81))
        assert sorted(bench.server.asked) == sorted([69, *set(range(20, 81)) - set(there)])
        assert await bench.numbers(verified=True) == list(range(21, 81))

    run(use, stored=[CHAIN[number] for number in there])


def test_light_headers_become_whole() -> None:
    async def use(bench: Bench) -> None:
        await bench.sync(from_block=10, to_block=60)
        assert await bench.numbers(verified=True) == list(range(11, 61))

    run(use, stored=[item.header for item in CHAIN[10:50]])


def test_an_end_is_not_passed() -> None:
    async def use(bench: Bench) -> None:
        await bench.sync(from_block=10, to_block=25)
        assert await bench.numbers() == list(range(10, 26))

    run(use)


def test_only_what_is_finalized_is_fetched() -> None:
    async def use(bench: Bench) -> None:
        bench.server.finalized = 64
        await bench.sync(from_block=60)
        assert await bench.numbers() == list(range(60, 65))

    run(use)


@pytest.mark.parametrize(
    ("begin", "end", "first", "last"),
    [
        (0, 12 * 5, 10, 15),  # both at a block's time
        (1, 12 * 5 + 1, 10, 16),  # the block before the beginning, the one after the end
        (-5, 12 * 200, 9, 119),  # an end that is not reached
        (12 * 300, 12 * 400, 119, 119),
    ],
)
def test_times_are_those_of_the_blocks_around_them(
    begin: int, end: int, first: int, last: int
) -> None:
    at = CHAIN[10].header.timestamp

    async def use(bench: Bench) -> None:
        await bench.sync(from_time=at + begin, to_time=at + end)
        assert await bench.numbers() == list(range(first, last + 1))

    run(use)


def test_jobs_that_wait_for_headers_are_woken() -> None:
    async def use(bench: Bench) -> None:
        job = secrets.token_hex(16)
        await bench.jobs.submit(NewGroup(job, (NewJob(job, "p", "{}", "default"),)))
        taken = await bench.jobs.take(job, worker="w", lease_seconds=30)
        assert isinstance(taken, Taken)
        await bench.jobs.wait(
            taken.lease,
            Failure("data_not_yet", "no headers"),
            poll_seconds=1000,
            deadline_seconds=2000,
        )
        assert await bench.jobs.sweep(10) == []
        await bench.sync(from_block=0)
        assert [found.id for found in await bench.jobs.sweep(10)] == [job]

    run(use)


# What is refused.


def test_an_empty_database_needs_a_place_to_begin() -> None:
    async def use(bench: Bench) -> None:
        with pytest.raises(HeaderError, match="say where to begin with --from-block"):
            await bench.sync()

    run(use)


def test_another_chain_than_the_stored_one_is_refused_before_anything_is_fetched() -> None:
    async def use(bench: Bench) -> None:
        bench.server.chain_id = 5
        with pytest.raises(HeaderConflict, match="chain 31337 and the headers are of chain 5"):
            await bench.sync()
        assert bench.server.asked == []

    run(use, stored=CHAIN[:5])


def test_another_chain_than_the_wanted_one_is_refused() -> None:
    async def use(bench: Bench) -> None:
        sync = HeaderSync(bench.node, bench.store, chain_id=1)
        with pytest.raises(SourceError, match="is of chain 31337, and chain 1 is wanted"):
            await sync.run(SyncRange(from_block=0))

    run(use)


def test_a_header_that_does_not_follow_is_refused_and_what_came_before_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(header_sync, "PAGE_HEADERS", 10)
    told = altered(branch(59, 1)[-1], base_fee_per_gas=1)

    async def use(bench: Bench) -> None:
        with pytest.raises(HeaderInvalid) as caught:
            await bench.sync(from_block=0)
        assert (caught.value.block, caught.value.rule) == (60, HeaderRule.BASE_FEE)
        assert await bench.numbers() == list(range(60))

    run(use, chain=[*CHAIN[:60], told])


def test_a_chain_that_does_not_hang_together_is_given_up() -> None:
    async def use(bench: Bench) -> None:
        with pytest.raises(HeaderInvalid) as caught:
            await bench.sync(from_block=0)
        assert (caught.value.block, caught.value.rule) == (62, HeaderRule.PARENT)

    run(use, chain=[*branch(59, 2), *CHAIN[62:]])


# Another branch.


@pytest.mark.parametrize(("after", "length"), [(110, 15), (110, 3), (80, 60), (0, 130)])
def test_another_branch_replaces_the_tail(after: int, length: int) -> None:
    other = branch(after, length)

    async def use(bench: Bench) -> None:
        await bench.sync()
        assert await bench.hashes() == hashes(other)
        assert await bench.numbers(verified=True) == list(range(len(other)))
        top = min(119, len(other) - 1)
        assert bench.told(Replaced) == [Replaced(after, 119 - after, top - after)]
        # The sums are those of the new branch.
        (hour,) = await bench.database.read("SELECT sum_wei, count FROM hourly_base_fee")
        assert tuple(hour) == (sum(h.header.base_fee_wei for h in other), len(other))

    run(use, chain=other, stored=CHAIN)


def test_a_node_that_is_behind_on_the_same_branch_changes_nothing() -> None:
    async def use(bench: Bench) -> None:
        await bench.sync()
        assert await bench.hashes() == hashes(CHAIN)
        assert bench.told(Replaced) == []

    run(use, chain=CHAIN[:100], stored=CHAIN)


def test_a_tail_of_light_headers_is_compared_by_what_is_known_of_it() -> None:
    light = [Header(h.header.number, h.header.timestamp, h.header.base_fee_wei) for h in CHAIN]
    light[-1] = evolve(light[-1], base_fee_wei=1)

    async def use(bench: Bench) -> None:
        await bench.sync()
        assert bench.told(Replaced) == [Replaced(118, 1, 1)]
        assert (await bench.store.headers(119, 119))[0] == CHAIN[119].header

    run(use, stored=light)


def test_a_branch_from_too_far_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_sync, "MAX_REORG_BLOCKS", 64)

    async def use(bench: Bench) -> None:
        with pytest.raises(HeaderError, match="for more than 64 blocks up to 119"):
            await bench.sync()
        assert await bench.hashes() == hashes(CHAIN)

    run(use, chain=branch(20, 110), stored=CHAIN)


def test_a_branch_that_is_taken_while_blocks_are_fetched_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(header_sync, "PAGE_HEADERS", 10)
    other = branch(45, 60)

    async def use(bench: Bench) -> None:
        async def take_branch(calls: list[dict[str, Any]]) -> web.StreamResponse | None:
            if any(call["params"][:1] == [hex(75)] for call in calls):
                bench.server.chain = list(other)
                return None
            bench.server.misbehaviours.append(take_branch)
            return None

        bench.server.misbehaviours.append(take_branch)
        await bench.sync(from_block=0)
        assert await bench.hashes() == hashes(other)

    run(use)


@settings(max_examples=15)
@given(st.data())
def test_whatever_branches_a_chain_takes_a_follower_ends_up_with_it(data: st.DataObject) -> None:
    steps = data.draw(
        st.lists(st.tuples(st.integers(0, 60), st.integers(1, 70)), min_size=1, max_size=5)
    )
    first = data.draw(st.integers(1, 60))

    async def use(bench: Bench) -> None:
        for salt, (after, length) in enumerate(steps):
            other = branch(after, length, salt)
            bench.waits.append(partial(setattr, bench.server, "chain", other))
        await bench.sync(follow=1, from_block=0)
        final = bench.server.chain
        stored = await bench.hashes()
        # A node that went back on the same branch may catch up again.
        assert stored[: len(final)] == hashes(final)
        assert await bench.numbers(verified=True) == list(range(len(stored)))

    run(use, chain=CHAIN[:first])


# Following.


def test_a_follower_takes_in_what_comes() -> None:
    async def use(bench: Bench) -> None:
        for newest in (52, 52, 57):
            bench.waits.append(partial(setattr, bench.server, "finalized", newest))
        bench.server.finalized = 50
        await bench.sync(follow=1, from_block=45)
        assert await bench.numbers() == list(range(45, 58))
        assert [(e.first_block, e.last_block) for e in bench.told(Fetched)] == [
            (45, 50), (51, 52), (53, 57)
        ]  # fmt: skip
        assert [event.block for event in bench.told(CaughtUp)] == [50, 52, 52, 57]

    run(use)


def test_a_follower_ends_where_it_was_to_end() -> None:
    async def use(bench: Bench) -> None:
        bench.server.finalized = 50
        bench.waits.append(lambda: setattr(bench.server, "finalized", 70))
        sync = HeaderSync(bench.node, bench.store, sleep=bench.sleep)
        await sync.run(SyncRange(from_block=45, to_block=60), 1)
        assert await bench.numbers() == list(range(45, 61))

    run(use)


def test_a_follower_survives_a_node_that_is_gone_for_a_while() -> None:
    async def use(bench: Bench) -> None:
        async def fail(_: list[dict[str, Any]]) -> web.StreamResponse:
            return web.Response(status=503)

        bench.server.finalized = 50
        bench.waits.append(lambda: bench.server.misbehaviours.extend([fail] * 10))
        bench.waits.append(lambda: setattr(bench.server, "finalized", 55))
        await bench.sync(follow=1, from_block=45)
        assert await bench.numbers() == list(range(45, 56))
        (trouble,) = bench.told(Trouble)
        assert "HTTP 503" in trouble.message

    run(use)


def test_a_header_that_is_wrong_ends_a_follower() -> None:
    wrong = block_of(CHAIN[51]) | {"gasUsed": "0x1"}

    async def use(bench: Bench) -> None:
        async def lie(calls: list[dict[str, Any]]) -> web.StreamResponse | None:
            if calls[0]["params"][:1] != [hex(51)]:
                return None
            return web.json_response({"id": calls[0]["id"], "result": wrong})

        bench.server.finalized = 50
        bench.waits.append(lambda: setattr(bench.server, "finalized", 51))
        # Once would be passing: it is asked for again.
        bench.server.mode = lie
        sync = HeaderSync(bench.node, bench.store, sleep=bench.sleep)
        with pytest.raises(HeaderInvalid, match="block 51, block_hash"):
            await sync.run(SyncRange(from_block=45), 1)

    run(use)


def test_a_follower_outlives_a_database_that_is_away_at_any_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(bench: Bench) -> None:
        newest = bench.store.newest

        async def away() -> Header | None:
            raise StoreError("the database is away")

        def goes() -> None:
            monkeypatch.setattr(bench.store, "newest", away)

        def comes_back() -> None:
            monkeypatch.setattr(bench.store, "newest", newest)

        bench.waits.extend([goes, lambda: None, comes_back])
        await bench.sync(follow=1.0, from_block=10)
        assert [event.message for event in bench.told(Trouble)] == ["the database is away"] * 2
        assert isinstance(bench.events[-1], CaughtUp)

    run(use)
