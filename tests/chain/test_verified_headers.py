"""Whole headers are verified as they come in, in whatever pieces; what is verified is known."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, TypeVar

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from real_headers import LONDON, PRAGUE, PRAGUE_NEXT, altered, stored

from prover_framework.chain import ingest as header_import
from prover_framework.chain.headers import EncodedHeader, Header, next_base_fee_wei
from prover_framework.chain.ingest import ChainFacts, ImportReport
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import HeaderConflict, HeaderError, HeaderInvalid, HeaderRule
from prover_framework.model.series import TimeRange

T = TypeVar("T")
Item = Header | EncodedHeader

HOUR = 3600
START = 1_700_002_800
CHAIN_ID = 1559_1559
FACTS = ChainFacts(CHAIN_ID, simulated=True, source="test")
# Ten minutes apart, six blocks to the hour.
LIGHT = [
    evolve(header, timestamp=START + i * 600)
    for i, header in enumerate(islice(simulate(START, 1, first_number=50), 26))
]
CHAIN = list(made_whole(LIGHT))


class Current:
    """Where `run` finds the database of the test."""

    url = ""


@pytest.fixture(autouse=True)
def current_database(database_url: str) -> None:
    Current.url = database_url


def run(use: Callable[[HeaderStore, Database], Awaitable[T]]) -> T:
    """Give a store on a database without headers to a function."""

    async def work() -> T:
        async with Database(Current.url) as database:
            async with database.transaction() as connection:
                for table in ("block_header", "raw_header", "hourly_base_fee", "chain"):
                    await connection.fetch(f"DELETE FROM {table}")
            return await use(HeaderStore(database), database)

    return asyncio.run(work())


async def verified(database: Database) -> list[int]:
    """Return the numbers of the blocks that are verified; the hours agree with them."""
    blocks = await database.read(
        "SELECT number, timestamp, verified FROM block_header ORDER BY number"
    )
    counts: dict[int, int] = {}
    for _, timestamp, is_verified in blocks:
        hour = timestamp - timestamp % HOUR
        counts[hour] = counts.get(hour, 0) + bool(is_verified)
    hours = await database.read("SELECT hour, verified_count FROM hourly_base_fee ORDER BY hour")
    assert [tuple(hour) for hour in hours] == sorted(counts.items())
    return [number for number, _, is_verified in blocks if is_verified]


async def kept(database: Database) -> list[tuple[Any, ...]]:
    """Return everything that is stored of headers."""
    return [
        tuple(row)
        for table, order in (
            ("block_header", "number"), ("raw_header", "number"), ("hourly_base_fee", "hour")
        )
        for row in await database.read(f"SELECT * FROM {table} ORDER BY {order}")
    ]  # fmt: skip


def numbers(items: Sequence[Item]) -> list[int]:
    return [item.number if isinstance(item, Header) else item.header.number for item in items]


def refused(items: Sequence[Item], kind: type[HeaderError], *, before: Sequence[Item] = ()) -> Any:
    """Import some headers after others and return the error; nothing of them is stored."""

    async def use(store: HeaderStore, database: Database) -> HeaderError:
        if before:
            await store.import_headers(before, FACTS)
        was = await kept(database)
        with pytest.raises(kind) as caught:
            await store.import_headers(items, FACTS)
        assert await kept(database) == was
        return caught.value

    return run(use)


# What is verified.


def test_each_whole_header_after_the_first_is_verified() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        report = await store.import_headers(CHAIN, FACTS)
        assert report == ImportReport(read=26, new=26, verified=25)
        assert await verified(database) == numbers(CHAIN[1:])
        again = await store.import_headers(CHAIN, FACTS)
        assert again == ImportReport(read=26, new=0, verified=25)

    run(use)


def test_light_headers_are_taken_and_not_verified() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        assert await store.import_headers(LIGHT, FACTS) == ImportReport(26, 26)
        assert await verified(database) == []

    run(use)


@settings(max_examples=25)
@given(st.data())
def test_what_is_verified_depends_on_what_is_there_and_not_on_how_it_came(
    data: st.DataObject,
) -> None:
    kinds = data.draw(st.lists(st.sampled_from(["whole", "light", "no"]), min_size=26, max_size=26))
    wanted = [
        (place, CHAIN[place] if kind == "whole" else CHAIN[place].header)
        for place, kind in enumerate(kinds)
        if kind != "no"
    ]
    # Blocks that come whole may have come light before.
    early = data.draw(st.lists(st.sampled_from(range(26)), unique=True))
    pieces: list[list[Item]] = [[CHAIN[place].header for place in sorted(early)]]
    present = {place for place, _ in wanted} | set(early)
    left = list(wanted)
    while left:
        size = data.draw(st.integers(1, len(left)))
        begin = data.draw(st.integers(0, len(left) - size))
        pieces.append([item for _, item in left[begin : begin + size]])
        del left[begin : begin + size]
    chunk = data.draw(st.sampled_from([1, 2, 7, 100]))

    async def use(store: HeaderStore, database: Database) -> None:
        for piece in pieces:
            if piece:
                await store.import_headers(piece, FACTS)
        assert await verified(database) == [
            CHAIN[place].header.number
            for place, item in wanted
            if isinstance(item, EncodedHeader) and place - 1 in present
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header_import, "CHUNK", chunk)
        run(use)


def test_a_parent_without_hash_or_gas_verifies_nothing_until_they_come() -> None:
    bare = Header(LIGHT[0].number, LIGHT[0].timestamp, LIGHT[0].base_fee_wei)

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers([bare, CHAIN[1]], FACTS)
        assert await verified(database) == []
        await store.import_headers([CHAIN[0].header], FACTS)
        assert await verified(database) == [CHAIN[1].header.number]

    run(use)


def test_the_first_london_block_of_mainnet_needs_no_parent() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        facts = ChainFacts(1, simulated=False, source="test")
        await store.import_headers([stored(LONDON)], facts)
        assert await verified(database) == [12_965_000]

    run(use)


def test_real_headers_are_verified() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        facts = ChainFacts(11155111, simulated=False, source="test")
        await store.import_headers([stored(PRAGUE), stored(PRAGUE_NEXT)], facts)
        assert await verified(database) == [8006482]

    run(use)


# What is refused.


def test_a_header_with_another_hash_is_refused_with_the_whole_import() -> None:
    wrong = EncodedHeader(CHAIN[9].header, CHAIN[8].rlp)
    error = refused([*CHAIN[:9], wrong, *CHAIN[10:]], HeaderInvalid)
    assert (error.block, error.rule) == (CHAIN[9].header.number, HeaderRule.STORED)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"base_fee_per_gas": 5}, HeaderRule.BASE_FEE),
        ({"parent_hash": bytes(32)}, HeaderRule.PARENT),
        ({"gas_used": 30_000_001}, HeaderRule.GAS),
    ],
)
def test_a_header_that_does_not_follow_is_refused_whatever_came_in_between(
    changes: dict[str, Any], rule: HeaderRule
) -> None:
    wrong = altered(CHAIN[9], **changes)
    for before in ([], CHAIN[:9], [CHAIN[8].header]):
        error = refused([*CHAIN[8:9], wrong], HeaderInvalid, before=before)
        assert (error.block, error.rule) == (CHAIN[9].header.number, rule)


def test_a_header_that_the_next_stored_block_does_not_follow_is_refused() -> None:
    error = refused([altered(CHAIN[9], gas_used=7)], HeaderInvalid, before=CHAIN[10:])
    assert (error.block, error.rule) == (CHAIN[10].header.number, HeaderRule.PARENT)


@pytest.mark.parametrize("first", ["stored", "coming"])
def test_a_light_header_with_another_parent_hash_is_refused(first: str) -> None:
    light = [item.header for item in CHAIN]
    wrong = evolve(light[9], parent_hash="0x" + "11" * 32)
    before, items = ([light[8]], [wrong]) if first == "stored" else ([], [light[8], wrong])
    error = refused(items, HeaderConflict, before=before)
    assert f"block {wrong.number} has the parent hash 0x1111" in str(error)
    after = refused([light[8]], HeaderConflict, before=[wrong])
    assert f"block {wrong.number} has the parent hash 0x1111" in str(after)


def test_a_whole_header_that_contradicts_a_light_one_is_refused() -> None:
    wrong = evolve(CHAIN[9].header, base_fee_wei=5, block_hash=None)
    error = refused([CHAIN[9]], HeaderConflict, before=[wrong])
    assert "base_fee_per_gas" in str(error)


def test_a_base_fee_before_london_is_refused() -> None:
    async def use(store: HeaderStore, database: Database) -> None:  # noqa: ARG001
        with pytest.raises(HeaderInvalid, match="the first block with one is 12965000"):
            await store.import_headers(CHAIN, ChainFacts(1, simulated=False, source="test"))

    run(use)


# Another branch of the chain.


def branch(after: int, length: int) -> list[EncodedHeader]:
    """Make other blocks after one of the chain, with other gas and other times."""
    made: list[EncodedHeader] = [CHAIN[after]]
    for place in range(after + 1, after + 1 + length):
        parent = made[-1].header
        template = CHAIN[min(place, 25)]
        made.append(
            altered(
                template,
                number=parent.number + 1,
                timestamp=parent.timestamp + 601,
                gas_used=1234 + place,
                base_fee_per_gas=next_base_fee_wei(
                    parent.base_fee_wei, parent.gas_used or 0, parent.gas_limit or 0
                ),
                parent_hash=bytes.fromhex((parent.block_hash or "")[2:]),
            )
        )
    return made[1:]


@pytest.mark.parametrize(("after", "length"), [(0, 30), (5, 0), (6, 12), (11, 1), (24, 30)])
def test_a_branch_replaces_the_tail_with_its_sums(after: int, length: int) -> None:
    other = branch(after, length)

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(CHAIN, FACTS)
        report = await store.import_headers(other, FACTS, replace_after=CHAIN[after].header.number)
        assert report == ImportReport(length, length, length, replaced=25 - after)
        replaced = await kept(database)
        for table in ("block_header", "raw_header", "hourly_base_fee"):
            await database.write(f"DELETE FROM {table}")
        await store.import_headers([*CHAIN[: after + 1], *other], FACTS)
        assert await kept(database) == replaced

    run(use)


def test_a_branch_that_does_not_verify_replaces_nothing() -> None:
    other = branch(5, 8)
    other[3] = altered(other[3], base_fee_per_gas=1)

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(CHAIN, FACTS)
        was = await kept(database)
        with pytest.raises(HeaderInvalid):
            await store.import_headers(other, FACTS, replace_after=CHAIN[5].header.number)
        assert await kept(database) == was

    run(use)


def test_a_branch_needs_a_block_to_grow_from() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(CHAIN, FACTS)
        was = await kept(database)
        with pytest.raises(HeaderError, match="block 7 is not stored"):
            await store.import_headers([], FACTS, replace_after=7)
        assert await kept(database) == was

    run(use)


# What receipts need to know.


def test_the_blocks_of_a_series_are_told_with_their_hashes() -> None:
    async def use(store: HeaderStore, database: Database) -> None:  # noqa: ARG001
        await store.import_headers(CHAIN, FACTS)
        # The second and third hour; the first block of the first one has no parent here.
        series, blocks = await store.series_and_blocks(TimeRange(START + HOUR, START + 3 * HOUR))
        assert (blocks.first_block, blocks.last_block) == (series.first_block, series.last_block)
        assert blocks.first_hash == CHAIN[6].header.block_hash
        assert blocks.last_hash == CHAIN[17].header.block_hash
        assert blocks.parent_hash == CHAIN[5].header.block_hash
        assert blocks.verified
        assert blocks.source == "test"
        _, all_blocks = await store.series_and_blocks(TimeRange(START, START + 4 * HOUR))
        assert not all_blocks.verified

    run(use)


def test_one_block_that_is_not_whole_leaves_the_blocks_unverified() -> None:
    place = 17  # The last of the range.
    items: list[Item] = [*CHAIN[:place], CHAIN[place].header, *CHAIN[place + 1 :]]

    async def use(store: HeaderStore, database: Database) -> None:  # noqa: ARG001
        await store.import_headers(items, FACTS)
        _, blocks = await store.series_and_blocks(TimeRange(START + HOUR, START + 3 * HOUR))
        assert not blocks.verified
        await store.import_headers([CHAIN[place]], FACTS)
        _, blocks = await store.series_and_blocks(TimeRange(START + HOUR, START + 3 * HOUR))
        assert blocks.verified

    run(use)


def test_light_headers_have_no_hashes_to_tell() -> None:
    async def use(store: HeaderStore, database: Database) -> None:  # noqa: ARG001
        await store.import_headers(LIGHT, FACTS)
        _, blocks = await store.series_and_blocks(TimeRange(START + HOUR, START + 2 * HOUR))
        assert (blocks.first_hash, blocks.last_hash, blocks.parent_hash) == (None, None, None)

    run(use)


def test_whole_headers_come_with_their_bytes() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers([*CHAIN[:9], CHAIN[9].header, *CHAIN[10:]], FACTS)
        first, last = CHAIN[3].header.number, CHAIN[20].header.number
        found = [(Header(*row[:-1]), row[-1]) for row in await store.whole_rows(first, last)]
        assert found == [(c.header, None if c is CHAIN[9] else c.rlp) for c in CHAIN[3:21]]

    run(use)


@pytest.mark.parametrize(("first", "last"), [(50, 50), (53, 57), (55, 61), (70, 90)])
def test_what_is_taken_out_is_gone_and_the_hours_agree(first: int, last: int) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(CHAIN, FACTS)
        gone = [number for number in numbers(CHAIN) if first <= number <= last]
        assert await store.count(first, last) == len(gone)
        assert await store.remove(first, last) == len(gone)
        left = set(numbers(CHAIN)) - set(gone)
        # Without the block before it, a block is not verified any more.
        assert await verified(database) == sorted(left - {50, last + 1})
        assert (await store.import_headers(CHAIN, FACTS)).new == len(gone)
        assert await verified(database) == numbers(CHAIN[1:])

    run(use)


def test_when_all_is_taken_out_another_chain_may_come() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(CHAIN, FACTS)
        assert await store.remove(0, 2**63 - 1) == len(CHAIN)
        assert await kept(database) == []
        assert await store.chain() is None
        assert await store.remove(0, 2**63 - 1) == 0

    run(use)


def test_why_headers_are_not_verified_is_counted() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        report = await store.import_headers([CHAIN[0], LIGHT[1], *CHAIN[2:4], CHAIN[9]], FACTS)
        assert dict(report.unverified) == {
            header_import.Unverified.PARENT: 2,
            header_import.Unverified.FIELDS: 1,
            header_import.Unverified.PARENT_FIELDS: 1,
        }

    run(use)


def test_on_the_op_stack_the_bytes_of_a_stored_parent_are_read() -> None:
    """Two imports: what the fee of the second's first block follows from is in the database."""
    facts = ChainFacts(8453, simulated=False, source="test")
    extra = b"\0" + (10).to_bytes(4) + (2).to_bytes(4)
    first = altered(
        CHAIN[0], gas_used=10_000_000, gas_limit=30_000_000, base_fee_per_gas=10**7,
        extra_data=extra,
    )  # fmt: skip
    link = {"number": 51, "timestamp": START + 2, "parent_hash": first.header.block_hash}
    right = altered(first, base_fee_per_gas=9_666_667, **link)
    wrong = altered(first, base_fee_per_gas=9_583_334, **link)

    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers([first], facts)
        with pytest.raises(HeaderInvalid, match="it must be 9666667"):
            await store.import_headers([wrong], facts)
        assert (await store.import_headers([right], facts)).verified == 1

    run(use)


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (FACTS, "a simulated chain: Eip1559"),
        (ChainFacts(11155111, simulated=False, source="test"), "Sepolia: Eip1559"),
        (ChainFacts(42161, simulated=False, source="test"), None),
    ],
)
def test_a_series_says_by_which_rule_its_fees_were_checked(
    facts: ChainFacts, rule: str | None
) -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(CHAIN, facts)
        _series, blocks = await store.series_and_blocks(TimeRange(START + HOUR, START + 3 * HOUR))
        assert blocks.verified
        assert blocks.fee_rule == rule

    run(use)
