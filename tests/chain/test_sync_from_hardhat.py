"""A sync against a real node: its headers verify, and its branches are followed."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hardhat_node import HardhatMissing, HardhatNode, hardhat_node

from prover_framework.chain.parallel import verify_blocks
from prover_framework.chain.rule_book import BUILT_IN
from prover_framework.chain.sources.base import TAGS
from prover_framework.chain.sources.node import RequestRate, open_node
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.sync import HeaderSync, Replaced, SyncEvent, SyncRange
from prover_framework.database.database import Database
from prover_framework.jobs.headers import header_store
from prover_framework.model.series import TimeRange

T = TypeVar("T")

# A whole hour; far enough ahead that Hardhat does not begin at the present time.
START = 2_000_001_600


def node_of(hardfork: str) -> Iterator[HardhatNode]:
    try:
        with hardhat_node(hardfork, START) as node:
            yield node
    except HardhatMissing as reason:
        if "CI" in os.environ:
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def node() -> Iterator[HardhatNode]:
    yield from node_of("prague")


@pytest.fixture(params=["london", "shanghai", "cancun"])
def older_node(request: pytest.FixtureRequest) -> Iterator[HardhatNode]:
    yield from node_of(request.param)


def with_sync(
    node: HardhatNode,
    folder: Path,
    use: Callable[[Callable[..., Awaitable[list[SyncEvent]]], HeaderStore], Awaitable[T]],
) -> T:
    """Give a function that syncs, and the store, to another function."""

    async def work() -> T:
        async with Database(folder / "prover.sqlite3") as database:
            await database.migrate()
            store = header_store(database)

            async def sync(from_block: int | None = 0) -> list[SyncEvent]:
                events: list[SyncEvent] = []
                pace = RequestRate(batch=50, requests_per_second=1000)
                async with open_node(node.url, tag="latest", rate=pace) as source:
                    await HeaderSync(source, store, on_event=events.append).run(
                        SyncRange(from_block=from_block)
                    )
                return events

            return await use(sync, store)

    return asyncio.run(work())


async def hashes(store: HeaderStore) -> list[str | None]:
    return [header.block_hash for header in await store.headers(0, 10**9)]


def test_a_chain_is_fetched_verified_and_followed_to_another_branch(
    node: HardhatNode, tmp_path: Path
) -> None:
    async def use(sync: Callable[..., Awaitable[list[SyncEvent]]], store: HeaderStore) -> None:
        node.mine(310)
        await sync()
        assert await hashes(store) == node.hashes()
        assert len(await hashes(store)) == 311
        series, blocks = await store.series_and_blocks(TimeRange(START, START + 3600))
        assert blocks.verified
        assert blocks.last_hash == node.hashes()[series.last_block]
        chain = await store.chain()
        assert chain is not None
        assert chain.chain_id == 31337

        # Another branch, longer than the one that it replaces.
        snapshot = node.call("evm_snapshot")
        node.mine(5)
        await sync(from_block=None)
        assert await hashes(store) == node.hashes()
        node.call("evm_revert", snapshot)
        node.mine(9, seconds=13)
        assert Replaced(310, 5, 5) in await sync(from_block=None)
        assert await hashes(store) == node.hashes()
        assert len(await hashes(store)) == 320

        span = await verify_blocks(store, 0, 319, BUILT_IN[31337], trusted=node.hashes()[319])
        assert span is not None
        assert span.trusted_block == 319

    with_sync(node, tmp_path, use)


@pytest.mark.parametrize("tag", TAGS)
def test_a_real_node_knows_the_tag(node: HardhatNode, tag: str) -> None:
    async def newest() -> int | None:
        async with open_node(node.url, tag=tag) as source:
            return await source.newest()

    node.mine(3)
    assert asyncio.run(newest()) == int(node.block(tag)["number"], 16)


def test_headers_of_older_forks_verify(older_node: HardhatNode, tmp_path: Path) -> None:
    async def use(sync: Callable[..., Awaitable[list[SyncEvent]]], store: HeaderStore) -> None:
        older_node.mine(20)
        await sync()
        span = await verify_blocks(store, 0, 20, BUILT_IN[31337], trusted=older_node.hashes()[20])
        assert span is not None
        assert span.trusted_block == 20

    with_sync(older_node, tmp_path, use)
