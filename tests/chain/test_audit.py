"""What is stored of headers is verified again; whatever was altered in the database is found."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TypeVar

import pytest
from attrs import evolve

from prover_framework.chain.audit import ChainReport, verify_stored
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import HeaderError, HeaderInvalid, HeaderRule

T = TypeVar("T")

START = 1_700_002_800
FACTS = ChainFacts(1559_1559, simulated=True, source="test")
CHAIN = list(
    made_whole(
        evolve(header, timestamp=START + i * 600)
        for i, header in enumerate(islice(simulate(START, 1, first_number=50), 40))
    )
)
FIRST, LAST = 50, 89


@pytest.fixture
def run(database_url: str) -> Callable[[Callable[[HeaderStore, Database], Awaitable[T]]], T]:
    """Give a store with a whole chain to a function."""

    def call(use: Callable[[HeaderStore, Database], Awaitable[T]]) -> T:
        async def work() -> T:
            async with Database(database_url) as database:
                store = HeaderStore(database)
                await store.import_headers(CHAIN, FACTS)
                return await use(store, database)

        return asyncio.run(work())

    return call


Run = Callable[[Callable[[HeaderStore, Database], Awaitable[object]]], object]


def hash_of(number: int) -> str:
    found = CHAIN[number - FIRST].header.block_hash
    assert found is not None
    return found


def test_everything_that_is_stored_is_verified(run: Run) -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        seen: list[tuple[int, int]] = []
        report = await verify_stored(
            store, processes=2, page=7, on_progress=lambda done, total: seen.append((done, total))
        )
        assert (report.span.first.number, report.span.last.number) == (FIRST, LAST)
        assert (report.whole_start, report.trusted_block) == (False, None)
        assert seen[-1] == (40, 40)

    run(use)


def test_a_part_is_verified_from_the_block_before_it_on(run: Run) -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        report = await verify_stored(store, first=60, last=70)
        assert (report.span.first.number, report.span.last.number) == (60, 70)
        assert report.whole_start

    run(use)


def test_a_trusted_block_is_found_at_or_after_the_end(run: Run) -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        async def trusted(number: int, last: int | None = None) -> ChainReport:
            named = "0x" + hash_of(number)[2:].upper()
            return await verify_stored(store, trusted=named, last=last, page=7)

        assert (await trusted(80)).trusted_block == 80
        assert (await trusted(80, last=60)).trusted_block == 80
        assert (await trusted(60, last=60)).trusted_block == 60
        # A block that is trusted says nothing of those after it.
        early = await trusted(60, last=75)
        assert early.trusted_block is None
        assert early.span.last.number >= 75
        unknown = await verify_stored(store, trusted="0x" + "00" * 32)
        assert unknown.trusted_block is None

    run(use)


@pytest.mark.parametrize(
    ("column", "value", "field", "rule"),
    [
        ("timestamp", START + 6001, "timestamp", HeaderRule.STORED),
        ("base_fee_wei", 7, "base_fee_per_gas", HeaderRule.STORED),
        ("gas_used", 7, "gas_used", HeaderRule.STORED),
        ("gas_limit", 7, "gas_limit", HeaderRule.STORED),
        ("parent_hash", "0x" + "11" * 32, "parent_hash", HeaderRule.STORED),
        ("block_hash", "0x" + "11" * 32, "block_hash", HeaderRule.HASH),
    ],
)
def test_an_altered_column_is_found(
    run: Run, column: str, value: object, field: str, rule: HeaderRule
) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await database.write(f"UPDATE block_header SET {column} = ? WHERE number = 60", [value])
        with pytest.raises(HeaderInvalid) as caught:
            await verify_stored(store)
        assert (caught.value.block, caught.value.field, caught.value.rule) == (60, field, rule)

    run(use)


def test_altered_bytes_are_found(run: Run) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        encoded = bytearray(CHAIN[10].rlp)
        encoded[40] ^= 1
        await database.write("UPDATE raw_header SET rlp = ? WHERE number = 60", [bytes(encoded)])
        with pytest.raises(HeaderInvalid) as caught:
            await verify_stored(store, processes=2, page=7)
        assert (caught.value.block, caught.value.rule) == (60, HeaderRule.HASH)

    run(use)


def test_a_first_block_that_does_not_follow_from_the_one_before_is_found(run: Run) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await database.write("UPDATE block_header SET gas_used = 7 WHERE number = 59")
        with pytest.raises(HeaderInvalid) as caught:
            await verify_stored(store, first=60)
        assert (caught.value.block, caught.value.rule) == (60, HeaderRule.BASE_FEE)

    run(use)


@pytest.mark.parametrize("column", ["sum_wei", "count", "verified_count", "last_block"])
def test_a_wrong_sum_of_an_hour_is_found(run: Run, column: str) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        hour = START + 2 * 3600
        await database.write(
            f"UPDATE hourly_base_fee SET {column} = {column} + 1 WHERE hour = ?", [hour]
        )
        with pytest.raises(HeaderError, match=f"1 hours .* begin at {hour}$"):
            await verify_stored(store)
        await verify_stored(store, last=60)

    run(use)


def test_an_hour_without_a_sum_or_without_blocks_is_found(run: Run) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await database.write(
            "UPDATE hourly_base_fee SET hour = hour + 36000 WHERE hour = ?", [START + 3600]
        )
        assert await store.wrong_hours(START, START + 50_000) == [START + 3600, START + 39600]

    run(use)


def test_what_is_not_there_is_told(run: Run) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        with pytest.raises(HeaderError, match="no headers from block 90 to block 89"):
            await verify_stored(store, first=90)
        with pytest.raises(HeaderError, match="block 90 is not stored whole"):
            await verify_stored(store, last=95)
        for table in ("block_header", "raw_header", "hourly_base_fee"):
            await database.write(f"DELETE FROM {table}")
        with pytest.raises(HeaderError, match="there are no headers to verify"):
            await verify_stored(store)

    run(use)


def test_headers_that_are_not_whole_are_named(run: Run) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await database.write("DELETE FROM raw_header WHERE number = 70")
        with pytest.raises(HeaderError, match="block 70 is not stored whole"):
            await verify_stored(store)
        assert (await verify_stored(store, last=69)).span.last.number == 69

    run(use)
