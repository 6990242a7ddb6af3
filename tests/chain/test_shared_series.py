"""A series that is read by several jobs is read once, and never from a chain that is gone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.shared_series import (
    MAX_HOURS,
    MAX_SERIES,
    ReadSeries,
    SharedSeries,
    Wanted,
)
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import DataNotYet, HeaderConflict, SeriesIncomplete
from prover_framework.model.series import BlockRange, HourlySeries, SeriesKind, TimeRange

HOUR = 3600
START = 10 * HOUR
FACTS = ChainFacts(100, simulated=False, source="a test")
HOURS = 3

SERIES = ReadSeries(
    HourlySeries(1, False, SeriesKind.BLOCKS, START, (7,), (1,), 1, 1),  # noqa: FBT003
    BlockRange(
        first_block=1,
        last_block=1,
        first_hash=None,
        last_hash=None,
        parent_hash=None,
        verified=False,
        source="a test",
    ),
    is_current=True,
)


def headers(fees: Sequence[int]) -> list[Header]:
    """Return two blocks an hour, the first at its beginning."""
    return [Header(1 + i, START + i * HOUR // 2, fee) for i, fee in enumerate(fees)]


async def read(store: HeaderStore, wanted: TimeRange) -> object:
    """Return the series of a range with its blocks, or why it is not to be had."""
    try:
        return await store.series_and_blocks(wanted)
    except (DataNotYet, SeriesIncomplete) as error:
        return type(error), str(error)


fee_lists = st.lists(st.integers(1, 9), min_size=1, max_size=2 * HOURS + 2)
changes = st.one_of(
    st.tuples(st.just("import"), fee_lists),
    st.tuples(st.just("branch"), st.integers(1, 2 * HOURS), fee_lists),
    st.tuples(st.just("remove"), st.integers(1, 2 * HOURS), st.integers(0, 4)),
    st.tuples(st.just("source"), st.sampled_from(["a test", "another"])),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    async def make(file: Path) -> Path:
        async with Database(file) as database:
            await database.migrate()
        return file

    return asyncio.run(make(tmp_path_factory.mktemp("chain") / "prover.sqlite3"))


@settings(deadline=None, max_examples=20)
@given(course=st.lists(changes, min_size=1, max_size=6))
@example(course=[("branch", 4, [9, 9])])
@example(course=[("remove", 1, 9), ("import", [2] * 2 * HOURS)])
def test_a_store_that_has_read_before_reads_what_a_new_one_reads(
    file: Path, course: list[tuple[object, ...]]
) -> None:
    asyncio.run(_follow(file, course))


async def _follow(file: Path, course: list[tuple[object, ...]]) -> None:
    ranges = [TimeRange(START, START + hours * HOUR) for hours in range(1, HOURS + 1)]
    async with Database(file) as database, Database(file) as elsewhere:
        for table in ("block_header", "hourly_base_fee", "chain"):
            await database.write(f"DELETE FROM {table} WHERE TRUE")
        store, writer = HeaderStore(database), HeaderStore(elsewhere)
        for change in [("import", [1] * 2 * HOURS), *course]:
            await _change(writer, change)
            fresh = HeaderStore(database)
            for wanted in ranges:
                assert await read(store, wanted) == await read(fresh, wanted)


async def _change(writer: HeaderStore, change: tuple[object, ...]) -> None:
    match change:
        case "import", list() as fees:
            try:
                await writer.import_headers(headers(fees), FACTS)
            except HeaderConflict:
                # Others are stored already.
                return
        case "branch", int() as after, list() as fees:
            fresh = [evolve(h, number=h.number) for h in headers([1] * after + fees)][after:]
            if await writer.count(after, after):
                await writer.import_headers(fresh, FACTS, replace_after=after)
        case "remove", int() as first, int() as more:
            await writer.remove(first, first + more)
        case "source", str() as source:
            await writer.import_headers([], evolve(FACTS, source=source))


async def test_jobs_that_want_the_same_hours_at_once_share_one_reading(database_url: str) -> None:
    async with Database(database_url) as database:
        store = HeaderStore(database)
        await store.import_headers(headers([5] * 5), FACTS)
        wanted = TimeRange(START + 7, START + 2 * HOUR + 7)
        found = await asyncio.gather(*(store.series_and_blocks(wanted) for _ in range(5)))
        again = await store.series_and_blocks(TimeRange(START, START + 2 * HOUR))
        assert {id(series) for series, _ in [*found, again]} == {id(found[0][0])}
        (other, _) = await store.series_and_blocks(TimeRange(START, START + HOUR))
        assert other.counts == (2,)


async def counts(store: HeaderStore, since: float) -> tuple[int, ...]:
    (series, _) = await store.since(since).series_and_blocks(TimeRange(START, START + HOUR))
    return series.counts


async def test_jobs_that_were_taken_together_look_at_the_chain_once(
    database_url: str,
) -> None:
    now = asyncio.get_running_loop().time
    async with Database(database_url) as database:
        writer, store = HeaderStore(database), HeaderStore(database, look_seconds=1000)
        hasty = HeaderStore(database, look_seconds=0)
        await writer.import_headers(headers([5] * 5), FACTS)
        before = now()
        assert await counts(store, before) == await counts(hasty, before) == (2,)
        await writer.remove(1, 9)
        # It was held already when the others looked; what comes later sees what is there then.
        assert await counts(store, before) == (2,)
        # What was looked at long ago is not what is there.
        with pytest.raises(DataNotYet):
            await counts(hasty, before)
        with pytest.raises(DataNotYet):
            await counts(store, now())
        # Data that was not there is looked for again.
        await writer.import_headers(headers([5, 5, 5]), FACTS)
        assert await counts(store, before) == (2,)


async def test_what_was_read_of_another_state_is_not_kept() -> None:
    shared, reads = SharedSeries(), []

    async def read_late() -> ReadSeries:
        reads.append(1)
        return evolve(SERIES, is_current=False)

    wanted = Wanted(range(0, HOUR, HOUR), ("v",))
    for _ in range(2):
        await shared.get(wanted, read_late)
    assert len(reads) == 2


async def test_where_one_fails_to_read_the_next_one_tries() -> None:
    shared, tries = SharedSeries(), []

    async def read_at_last() -> ReadSeries:
        tries.append(1)
        await asyncio.sleep(0)
        if len(tries) == 1:
            raise DataNotYet("not yet")
        return SERIES

    wanted = Wanted(range(0, HOUR, HOUR), ("v",))
    answers = await asyncio.gather(
        *(shared.get(wanted, read_at_last) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [DataNotYet, ReadSeries, ReadSeries]
    assert len(tries) == 2


async def test_what_is_kept_is_bounded() -> None:
    shared, reads = SharedSeries(), []

    async def read_one() -> ReadSeries:
        reads.append(1)
        return SERIES

    first = Wanted(range(0, HOUR, HOUR), ("v",))
    await shared.get(first, read_one)
    for state in range(MAX_SERIES - 1):
        await shared.get(evolve(first, state=(state,)), read_one)
    await shared.get(first, read_one)
    assert len(reads) == MAX_SERIES
    # As many hours as may be kept in all leave no room for others.
    await shared.get(Wanted(range(0, MAX_HOURS * HOUR, HOUR), ("v",)), read_one)
    await shared.get(first, read_one)
    assert len(reads) == MAX_SERIES + 2
