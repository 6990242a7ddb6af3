"""Headers go in by whole parts, their hourly sums stay current, and gaps are named."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prover_framework.chain import ingest as header_import
from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import ChainFacts, ImportReport
from prover_framework.chain.sources import simulated
from prover_framework.chain.store import Gap, HeaderStore
from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import (
    DataNotYet,
    EmptyRange,
    HeaderConflict,
    HeaderError,
    SeriesIncomplete,
    StoreError,
)
from prover_framework.model.names import MAX_INT64
from prover_framework.model.series import SeriesKind, TimeRange

T = TypeVar("T")

HOUR = 3600
REAL = ChainFacts(100, simulated=False, source="file headers.csv")
SIMULATED = ChainFacts(1559_1559, simulated=True, source="simulation, seed 1")
HASH = "0x" + "1d" * 32
OTHER_HASH = "0x" + "2e" * 32


class Failing(Exception):
    """A source of headers breaks down."""


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


async def contents(database: Database) -> tuple[list[Header], list[tuple[int, ...]]]:
    """Return all headers and all hourly sums that are stored."""
    blocks = await database.read(
        "SELECT number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash "
        "FROM block_header ORDER BY number"
    )
    hours = await database.read(
        "SELECT hour, sum_wei, count, first_block, last_block FROM hourly_base_fee ORDER BY hour"
    )
    return [Header(*block) for block in blocks], [tuple(hour) for hour in hours]


def summed(headers: Sequence[Header]) -> list[tuple[int, ...]]:
    """Return the hourly sums of headers by their definition."""
    hours: dict[int, list[Header]] = {}
    for header in headers:
        hours.setdefault(header.timestamp // HOUR * HOUR, []).append(header)
    return [
        (
            hour,
            sum(h.base_fee_wei for h in members),
            len(members),
            min(h.number for h in members),
            max(h.number for h in members),
        )
        for hour, members in sorted(hours.items())
    ]


def chain(
    count: int, *, seconds: int = 600, start: int = 10 * HOUR, number: int = 1
) -> list[Header]:
    """Make blocks at even distances: six to the hour unless said otherwise."""
    return [Header(number + i, start + i * seconds, 100 + i) for i in range(count)]


def without(headers: Sequence[Header], *numbers: int) -> list[Header]:
    return [header for header in headers if header.number not in numbers]


def series_error(headers: Sequence[Header], wanted: TimeRange, kind: type[Exception]) -> str:
    async def use(store: HeaderStore, _: Database) -> str:
        if headers:
            await store.import_headers(headers, REAL)
        with pytest.raises(kind) as caught:
            (await store.series_and_blocks(wanted))[0]
        return str(caught.value)

    return run(use)


# Hourly sums.


@st.composite
def imports(draw: st.DrawFn) -> list[list[Header]]:
    """Make a chain, and cut it into imports that come in any order, overlap and repeat."""
    count = draw(st.integers(1, 40))
    steps = draw(
        st.lists(
            st.integers(1, 1200) | st.sampled_from([HOUR - 1, HOUR, HOUR + 1, 5 * HOUR]),
            min_size=count,
            max_size=count,
        )
    )
    skips = draw(st.lists(st.sampled_from([1, 1, 1, 3]), min_size=count, max_size=count))
    number, timestamp = draw(st.integers(0, 9)), 10 * HOUR + draw(st.integers(-2, 2))
    headers = []
    for step, skip in zip(steps, skips, strict=True):
        headers.append(Header(number, timestamp, draw(st.integers(0, 10**12))))
        number, timestamp = number + skip, timestamp + step
    return draw(
        st.lists(
            st.lists(st.sampled_from(headers), min_size=1, unique=True).map(
                lambda piece: sorted(piece, key=lambda header: header.number)
            ),
            min_size=1,
            max_size=4,
        )
    )


@settings(max_examples=40, deadline=None)
@given(pieces=imports(), chunk=st.integers(1, 7))
def test_sums_are_those_of_all_headers_in_whatever_order_they_came(
    pieces: list[list[Header]], chunk: int
) -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        known: dict[int, Header] = {}
        for piece in pieces:
            fresh = {header.number: header for header in piece}
            report = await store.import_headers(iter(piece), REAL)
            assert report == ImportReport(len(piece), len(fresh.keys() - known.keys()))
            known |= fresh
            everything = [known[number] for number in sorted(known)]
            assert await contents(database) == (everything, summed(everything))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header_import, "CHUNK", chunk)
        run(use)


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, 3 * HOUR),
    length=st.integers(1, 4 * HOUR),
    fees=st.lists(st.integers(0, 2**50), min_size=61, max_size=61),
)
def test_a_series_is_the_mean_of_the_blocks_of_its_hours(
    start: int, length: int, fees: list[int]
) -> None:
    headers = [Header(i, 50 + i * 500, fee) for i, fee in enumerate(fees)]
    wanted = TimeRange(start, start + length)

    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(headers, REAL)
        if not wanted.hours:
            with pytest.raises(EmptyRange):
                (await store.series_and_blocks(wanted))[0]
            return
        series = (await store.series_and_blocks(wanted))[0]
        assert series.first_hour == start // HOUR * HOUR
        assert len(series) == (start + length) // HOUR - start // HOUR
        members = [
            [h for h in headers if hour <= h.timestamp < hour + HOUR] for hour in wanted.hours
        ]
        for felt, hour_blocks in zip(series.felts(), members, strict=True):
            exact = Fraction(sum(h.base_fee_wei for h in hour_blocks), len(hour_blocks))
            assert Fraction(felt, 2**128) <= exact < Fraction(felt + 1, 2**128)
        assert series.counts == tuple(map(len, members))
        assert (series.first_block, series.last_block) == (
            members[0][0].number,
            members[-1][-1].number,
        )
        assert (series.chain_id, series.simulated) == (100, False)

    run(use)


def test_a_block_on_the_hour_belongs_to_the_hour_that_begins() -> None:
    headers = [Header(1, HOUR - 1, 5), Header(2, HOUR, 7), Header(3, 2 * HOUR - 1, 9),
               Header(4, 2 * HOUR, 1)]  # fmt: skip

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(headers, REAL)
        assert (await contents(database))[1] == [
            (0, 5, 1, 1, 1),
            (HOUR, 16, 2, 2, 3),
            (2 * HOUR, 1, 1, 4, 4),
        ]

    run(use)


def test_headers_may_come_before_and_into_those_that_are_stored() -> None:
    everything = chain(30)

    async def use(store: HeaderStore, database: Database) -> None:
        for part in (everything[10:14], everything[20:], everything[:10], everything[14:20]):
            assert (await store.import_headers(part, REAL)).new == len(part)
        assert await contents(database) == (everything, summed(everything))

    run(use)


def test_the_last_timestamp_that_there_is_can_be_stored() -> None:
    headers = [Header(1, MAX_INT64 - 1, 5), Header(MAX_INT64, MAX_INT64, 7)]

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(headers, REAL)
        assert await contents(database) == (headers, summed(headers))

    run(use)


# Importing again.


@pytest.mark.parametrize("chunk", [3, 20_000])
def test_importing_again_changes_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_import, "CHUNK", chunk)
    headers = [evolve(h, gas_used=1, gas_limit=2, block_hash=HASH) for h in chain(10)]

    async def use(store: HeaderStore, database: Database) -> None:
        assert await store.import_headers(headers, REAL) == ImportReport(read=10, new=10)
        before = await contents(database)
        assert await store.import_headers(headers, REAL) == ImportReport(read=10, new=0)
        assert await store.import_headers(headers[2:5], REAL) == ImportReport(read=3, new=0)
        assert await contents(database) == before

    run(use)


def test_importing_again_adds_fields_and_takes_none_away() -> None:
    bare = chain(3)
    full = [evolve(h, gas_used=1, gas_limit=2, block_hash=HASH, parent_hash=HASH) for h in bare]

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(bare, REAL)
        for again in (full, bare):
            assert (await store.import_headers(again, REAL)).new == 0
            assert (await contents(database))[0] == full

    run(use)


# Refusals.


@pytest.mark.parametrize(
    ("name", "stored", "other"),
    [
        ("timestamp", 37201, 37202),
        ("base_fee_wei", 100, 101),
        ("gas_used", 5, 6),
        ("gas_limit", 0, 7),
        ("block_hash", HASH, OTHER_HASH),
        ("parent_hash", HASH, OTHER_HASH),
    ],
)
def test_a_contradiction_is_refused_with_its_block_and_values(
    name: str, stored: Any, other: Any
) -> None:
    headers = chain(4)
    headers[2] = evolve(headers[2], **{name: stored})
    fresh = chain(8)
    fresh[2] = evolve(fresh[2], **{name: other})

    async def use(store: HeaderStore, database: Database) -> str:
        await store.import_headers(headers, REAL)
        before = await contents(database)
        with pytest.raises(HeaderConflict) as caught:
            await store.import_headers(fresh, evolve(REAL, source="another file"))
        assert await contents(database) == before
        assert await store.chain() == REAL
        return str(caught.value)

    column = {"base_fee_wei": "base_fee_per_gas"}.get(name, name)
    message = run(use)
    assert f"block 3 is stored with other values: {column} {other} (stored: {stored})" in message


@pytest.mark.parametrize(
    ("facts", "other", "names"),
    [
        (REAL, evolve(REAL, chain_id=2), ("holds chain 100", "are of chain 2")),
        (REAL, evolve(REAL, simulated=True), ("holds chain 100", "are of simulated chain 100")),
        (SIMULATED, REAL, ("holds simulated chain 15591559", "are of chain 100")),
    ],
)
def test_a_database_holds_one_chain(
    facts: ChainFacts, other: ChainFacts, names: tuple[str, str]
) -> None:
    async def use(store: HeaderStore, database: Database) -> str:
        await store.import_headers(chain(4), facts)
        before = await contents(database)
        with pytest.raises(HeaderConflict) as caught:
            await store.import_headers(chain(4, start=20 * HOUR, number=5), other)
        assert await contents(database) == before
        assert await store.chain() == facts
        return str(caught.value)

    message = run(use)
    assert all(name in message for name in names)
    assert "PROVER_DATA_DIR" in message


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize(
    "late",
    [
        [Header(5, 10 * HOUR, 1)],
        [Header(5, 10 * HOUR + 600, 1)],
        [Header(5, 10 * HOUR + 599, 1), Header(6, 10 * HOUR + 601, 1)],
        [Header(2, 9 * HOUR, 1), Header(3, 10 * HOUR, 1)],
        [Header(9, 10 * HOUR + 700, 1), Header(11, 10 * HOUR + 1200, 1)],
        [Header(3, 10 * HOUR - 1, 1), Header(9, 10 * HOUR + 1200, 1)],
    ],
)
def test_time_must_rise_with_the_number_across_what_is_stored(
    late: list[Header], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_import, "CHUNK", chunk)
    stored = [
        Header(4, 10 * HOUR, 1),
        Header(8, 10 * HOUR + 600, 1),
        Header(10, 10 * HOUR + 1200, 1),
    ]

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(stored, REAL)
        before = await contents(database)
        with pytest.raises(HeaderConflict, match="which is not after that of block"):
            await store.import_headers(late, REAL)
        there, sums = await contents(database)
        assert sums == summed(there)
        if chunk > len(late):
            assert (there, sums) == before
        else:
            # What came before the part that is refused stays.
            taken = [header for header in there if header not in stored]
            assert taken == late[: len(taken)] != late

    run(use)


def test_headers_must_come_once_and_in_order() -> None:
    first, second = chain(2)
    for wrong in ([first, evolve(first, base_fee_wei=7)], [second, first]):

        async def use(store: HeaderStore, database: Database, wrong: list[Header] = wrong) -> None:
            with pytest.raises(HeaderError, match="in the order of their numbers"):
                await store.import_headers(wrong, REAL)
            assert await contents(database) == ([], [])

        run(use)


def test_a_source_that_breaks_down_at_once_leaves_nothing() -> None:
    def source() -> Iterator[Header]:
        yield from chain(5)
        raise Failing

    async def use(store: HeaderStore, database: Database) -> None:
        with pytest.raises(Failing):
            await store.import_headers(source(), REAL)
        assert await contents(database) == ([], [])
        assert await store.chain() is None
        # The database is free again.
        assert (await store.import_headers(chain(5), SIMULATED)).new == 5

    run(use)


def test_an_import_that_broke_off_goes_on_when_it_is_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(header_import, "CHUNK", 4)
    headers = chain(15)
    told: list[Header | None] = []

    def source() -> Iterator[Header]:
        yield from headers[:10]
        raise Failing

    async def use(store: HeaderStore, database: Database) -> None:
        async def on_new() -> None:
            told.append(await store.newest())

        importer = HeaderStore(database, on_new)
        with pytest.raises(Failing):
            await importer.import_headers(source(), REAL)
        assert await contents(database) == (headers[:8], summed(headers[:8]))
        # Jobs that wait for what came go on.
        assert told == [headers[7]]
        assert await importer.import_headers(headers, REAL) == ImportReport(read=15, new=7)
        assert await contents(database) == (headers, summed(headers))

    run(use)


async def test_others_see_whole_parts_of_an_import_and_write_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_import, "CHUNK", 4)
    path, headers = tmp_path / "prover.sqlite3", chain(10)
    seen: list[tuple[int, int]] = []

    def look(read: int) -> None:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            (newest,) = other.execute("SELECT MAX(number) FROM block_header").fetchone()
            columns = "hour, sum_wei, count, first_block, last_block"
            hours = other.execute(f"SELECT {columns} FROM hourly_base_fee ORDER BY hour").fetchall()
            other.rollback()
        assert hours == summed(headers[:read])
        seen.append((read, newest))

    async with Database(path) as database:
        await database.migrate()
        await HeaderStore(database).import_headers(headers, REAL, look)
    assert seen == [(4, 4), (8, 8), (10, 10)]


def test_fees_that_add_up_to_more_than_a_column_holds_are_refused() -> None:
    most = [Header(1, 0, MAX_INT64 - 7), Header(2, 12, 7)]

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(most, REAL)
        assert (await contents(database))[1] == [(0, MAX_INT64, 2, 1, 2)]
        before = await contents(database)
        with pytest.raises(HeaderError, match=r"add up to more than 2\^63 - 1 wei"):
            await store.import_headers([Header(3, 24, 1)], REAL)
        assert await contents(database) == before

    run(use)


def test_progress_is_told_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_import, "CHUNK", 4)
    told: list[int] = []

    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(chain(10), REAL, told.append)

    run(use)
    assert told == [4, 8, 10]


def test_a_database_that_can_not_be_read_is_one_error() -> None:
    async def use(store: HeaderStore, database: Database) -> None:
        async with database.transaction() as connection:
            await connection.fetch("ALTER TABLE chain RENAME TO gone")
        for read in (store.chain(), store.status(), store.series_and_blocks(TimeRange(0, HOUR))):
            with pytest.raises(StoreError, match="chain"):
                await read

    run(use)


# What is missing.


def test_whole_hours_make_a_series() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(chain(19), REAL)
        series = (await store.series_and_blocks(TimeRange(10 * HOUR, 13 * HOUR)))[0]
        assert series.counts == (6, 6, 6)
        assert series.sums_wei == (615, 651, 687)
        assert series.kind is SeriesKind.BLOCKS
        assert (series.first_block, series.last_block) == (1, 18)

    run(use)


def test_one_row_for_each_hour_is_legal_and_labelled() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(chain(4, seconds=HOUR), REAL)
        series = (await store.series_and_blocks(TimeRange(10 * HOUR, 13 * HOUR)))[0]
        assert series.kind is SeriesKind.HOURLY
        assert series.sums_wei == (100, 101, 102)

    run(use)


def test_a_simulated_chain_is_labelled() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(simulated.simulate(10 * HOUR, 2), SIMULATED)
        series = (await store.series_and_blocks(TimeRange(10 * HOUR, 12 * HOUR)))[0]
        assert series.simulated
        assert series.chain_id == SIMULATED.chain_id
        assert series.counts == (300, 300)

    run(use)


def test_without_headers_a_series_waits() -> None:
    wanted = TimeRange(10 * HOUR, 12 * HOUR)
    assert "no headers yet" in series_error([], wanted, DataNotYet)


def test_a_series_waits_until_a_header_at_or_after_its_end() -> None:
    wanted = TimeRange(10 * HOUR, 12 * HOUR + 300)
    reached = 12 * HOUR - 1
    headers = [*chain(12), Header(13, reached, 5)]
    message = series_error(headers, wanted, DataNotYet)
    assert f"ends at {12 * HOUR} and the headers reach {reached}" in message

    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers([*headers, Header(14, 12 * HOUR, 5)], REAL)
        assert ((await store.series_and_blocks(wanted))[0]).counts == (6, 7)

    run(use)


def test_a_range_that_is_not_reached_waits_even_where_blocks_are_missing_before() -> None:
    headers = without(chain(12), 2, 3)
    series_error(headers, TimeRange(10 * HOUR, 12 * HOUR), DataNotYet)


def test_hours_without_a_block_are_named() -> None:
    headers = [h for h in chain(19) if h.timestamp // HOUR != 11]
    message = series_error(headers, TimeRange(10 * HOUR, 13 * HOUR), SeriesIncomplete)
    assert f"1 of 3 hours have no block: those that begin at {11 * HOUR};" in message


def test_of_many_missing_hours_the_first_are_named_and_the_rest_counted() -> None:
    headers = [Header(1, 10 * HOUR, 1), Header(2, 20 * HOUR, 1)]
    message = series_error(headers, TimeRange(9 * HOUR, 20 * HOUR), SeriesIncomplete)
    named = ", ".join(str(hour * HOUR) for hour in (9, 11, 12, 13, 14))
    assert f"10 of 11 hours have no block: those that begin at {named} and 5 more" in message


def test_a_range_of_all_time_is_refused_without_walking_through_it() -> None:
    headers = [Header(1, 10 * HOUR, 1), Header(2, MAX_INT64, 1)]
    message = series_error(headers, TimeRange(0, MAX_INT64), SeriesIncomplete)
    assert f"{MAX_INT64 // HOUR - 1} of {MAX_INT64 // HOUR} hours have no block" in message


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ((8,), f"1 blocks are missing in the hour that begins at {11 * HOUR}: 8;"),
        ((8, 9, 11), f"3 blocks are missing in the hour that begins at {11 * HOUR}: 8..9, 11;"),
        ((6,), f"blocks 6..6 are missing at the end of the hour that begins at {10 * HOUR}"),
        ((7, 8), f"blocks 7..8 are missing at the end of the hour that begins at {10 * HOUR}"),
        ((12,), f"blocks 12..12 are missing at the end of the hour that begins at {11 * HOUR}"),
        ((17,), f"1 blocks are missing in the hour that begins at {12 * HOUR}: 17;"),
        ((19,), "block 19 is missing after the last stored block of the range"),
        ((18, 19), "block 18 is missing after the last stored block of the range"),
    ],
)
def test_missing_blocks_are_named(missing: tuple[int, ...], named: str) -> None:
    headers = without(chain(20), *missing)
    message = series_error(headers, TimeRange(10 * HOUR, 13 * HOUR), SeriesIncomplete)
    assert named in message


def test_the_first_hour_is_whole_only_with_a_block_before_it_or_at_its_start() -> None:
    wanted = TimeRange(10 * HOUR, 12 * HOUR)
    # Block 0 has none before it; block 6 begins on the hour; block 5 proves it for block 6.
    late = [evolve(h, timestamp=h.timestamp + 1) for h in chain(20, number=6)]
    message = series_error(late, wanted, SeriesIncomplete)
    assert "block 5 is missing" in message
    assert f"the first stored block of the range, 6, has timestamp {10 * HOUR + 1}" in message
    whole = (
        chain(20, number=6),
        [Header(5, 10 * HOUR - 1, 9), *late],
        [evolve(h, number=h.number - 6) for h in late],
    )
    for headers in whole:

        async def use(
            store: HeaderStore, _: Database, headers: Sequence[Header] = headers
        ) -> tuple[int, ...]:
            await store.import_headers(headers, REAL)
            return ((await store.series_and_blocks(wanted))[0]).counts

        assert run(use) == (6, 6)


# Status.


def test_the_status_of_an_empty_database_is_none() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        assert await store.status() is None
        assert await store.chain() is None

    run(use)


def test_the_status_tells_what_is_there() -> None:
    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(chain(20, number=6), REAL)
        status = await store.status()
        assert status is not None
        assert status.chain == REAL
        assert (status.count, status.hours) == (20, 4)
        assert (status.first_block, status.last_block) == (6, 25)
        assert status.first_timestamp == 10 * HOUR
        assert status.last_timestamp == 10 * HOUR + 19 * 600
        assert status.gaps == ()
        assert (status.missing_blocks, status.missing_hours) == (0, 0)

    run(use)


@settings(max_examples=40, deadline=None)
@given(
    present=st.sets(st.integers(1, 40), min_size=1),
    late=st.dictionaries(st.integers(2, 40), st.integers(1, 3), max_size=2),
)
@example(present=set(range(1, 41)), late={20: 2})
def test_the_status_names_every_gap(present: set[int], late: dict[int, int]) -> None:
    headers, shift = [], 0
    for header in chain(40):
        # Hours in which the chain stood still are gaps in time and not in numbers.
        shift += late.get(header.number, 0) * HOUR
        headers.append(evolve(header, timestamp=header.timestamp + shift))
    headers = [header for header in headers if header.number in present]
    expected = [
        Gap(a.number, b.number, a.timestamp, b.timestamp)
        for a, b in pairwise(headers)
        if b.number - a.number > 1 or b.timestamp // HOUR - a.timestamp // HOUR > 1
    ]

    async def use(store: HeaderStore, _: Database) -> None:
        await store.import_headers(headers, REAL)
        status = await store.status(max_gaps=100)
        assert status is not None
        assert list(status.gaps) == expected
        assert status.missing_blocks == sum(gap.missing_blocks for gap in expected)
        assert status.missing_hours == sum(gap.missing_hours for gap in expected)
        few = await store.status(max_gaps=2)
        assert few is not None
        assert list(few.gaps) == expected[:2]
        assert few.missing_blocks == status.missing_blocks

    run(use)


# Cost.


def test_a_series_of_ninety_days_reads_no_headers_but_those_at_its_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queries: list[tuple[str, Sequence[object]]] = []
    original = Database.read

    async def recorded(self: Database, query: str, values: Sequence[object] = ()) -> Sequence[Row]:
        queries.append((query, values))
        return await original(self, query, values)

    async def use(store: HeaderStore, database: Database) -> None:
        await store.import_headers(chain(90 * 24 * 2 + 1, seconds=1800), REAL)
        monkeypatch.setattr(Database, "read", recorded)
        series = (await store.series_and_blocks(TimeRange(10 * HOUR, (10 + 90 * 24) * HOUR)))[0]
        monkeypatch.undo()
        assert len(series) == 90 * 24
        assert 1 <= len(queries) <= 5
        if database.embedded:
            await no_walks(database, queries)

    async def no_walks(database: Database, queries: Sequence[tuple[str, Sequence[object]]]) -> None:
        for query, values in queries:
            plan = await database.read(f"EXPLAIN QUERY PLAN {query}", values)
            steps = [row["detail"] for row in plan]
            assert not [step for step in steps if step.startswith("SCAN block_header")]
            # Reading by a range of the index on time would be a walk over all blocks too.
            assert not [step for step in steps if "block_header" in step and "timestamp" in step]
            assert not [step for step in steps if step.startswith("SCAN hourly")]

    run(use)


def test_the_newest_week_is_looked_at_and_no_more() -> None:
    week = 7 * 24 * 6
    old, new = chain(1000), chain(week + 3, number=1001, start=10 * HOUR + 1000 * 600)

    async def use(store: HeaderStore, _: Database) -> None:
        assert await store.recent() is None
        # What is missing before the week is none of its business.
        await store.import_headers(without(old, 500), REAL)
        await store.import_headers(without(new, 1500, 1501), REAL)
        found = await store.recent()
        assert found is not None
        newest = new[-1]
        assert (found.newest_block, found.newest_timestamp) == (newest.number, newest.timestamp)
        assert (found.missing_blocks, found.verified) == (2, 0)
        assert week - 6 <= found.count + found.missing_blocks <= week

    run(use)
