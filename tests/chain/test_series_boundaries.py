"""Which blocks make a series whole: the boundaries of hours and ranges, on both engines."""

import asyncio
from collections.abc import Sequence

import pytest

from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import DataNotYet, SeriesIncomplete
from prover_framework.model.series import TimeRange

HOUR = 3600
# Two hours are asked for: ten and eleven o'clock.
BEGIN, END = 10 * HOUR, 12 * HOUR
FACTS = ChainFacts(100, simulated=False, source="test")


def blocks(*times: int, first: int = 50, gaps: Sequence[int] = ()) -> list[Header]:
    """Make blocks at some times, without those at some places, each with its own fee."""
    made = [Header(first + place, time, 10**place) for place, time in enumerate(times)]
    return [header for place, header in enumerate(made) if place not in gaps]


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        # First and last second of an hour.
        pytest.param(blocks(BEGIN, END - HOUR, END), [1, 10], id="a block at the very start"),
        pytest.param(
            blocks(BEGIN - 1, BEGIN, END - HOUR, END), [10, 100], id="one second before the start"
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR - 1, END - HOUR, END), [11, 100],
            id="the last second of an hour belongs to it",
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR - 1, END - HOUR, END - 1, END), [11, 1100],
            id="the last second of the range belongs to it",
        ),
        # The start.
        pytest.param(
            blocks(BEGIN - 1, BEGIN + 1, END - HOUR, END), [10, 100],
            id="a block before the start shows that the first hour is whole",
        ),
        pytest.param(
            blocks(BEGIN + 1, END - HOUR, END), "block 49 is missing",
            id="without one it may lack blocks",
        ),
        pytest.param(
            blocks(BEGIN + 1, END - HOUR, END, first=0), [1, 10],
            id="before block 0 there is none",
        ),
        # The end.
        pytest.param(
            blocks(BEGIN, END - HOUR, END), [1, 10], id="a block exactly at the end is enough"
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR, END + 5 * HOUR), [1, 10], id="a block long after the end"
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR, END - 1), DataNotYet, id="one second before the end waits"
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR, END, END + 12, gaps=[2]), "block 52 is missing after",
            id="the block at the end is missing, and a later one is there",
        ),
        # Gaps of one block.
        pytest.param(
            blocks(BEGIN, BEGIN + 12, BEGIN + 24, END - HOUR, END, gaps=[1]),
            "1 blocks are missing in the hour that begins at 36000: 51", id="a gap in an hour",
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR - 1, END - HOUR, END, gaps=[1]),
            "blocks 51..51 are missing at the end of the hour", id="a gap at the end of an hour",
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR, END - HOUR + 12, END, gaps=[1]),
            "blocks 51..51 are missing at the end of the hour", id="a gap at the start of an hour",
        ),
        pytest.param(
            blocks(BEGIN - 12, BEGIN, BEGIN + 12, END - HOUR, END, gaps=[1]), "block 51 is missing",
            id="a gap at the start of the range",
        ),
        pytest.param(
            blocks(BEGIN - 24, BEGIN - 12, BEGIN, END - HOUR, END, gaps=[1]), [100, 1000],
            id="a gap before the range does not matter",
        ),
        pytest.param(
            blocks(BEGIN, END - HOUR, END, END + 12, END + 24, gaps=[3]), [1, 10],
            id="a gap after the range does not matter",
        ),
        # Hours without a block.
        pytest.param(
            blocks(BEGIN, END), "1 of 2 hours have no block: those that begin at 39600",
            id="an hour without a block",
        ),
    ],
)  # fmt: skip
def test_a_series_is_whole_or_says_what_is_missing(
    database_url: str, headers: list[Header], outcome: list[int] | str | type[Exception]
) -> None:
    async def work() -> None:
        async with Database(database_url) as database:
            async with database.transaction() as connection:
                for table in ("block_header", "raw_header", "hourly_base_fee", "chain"):
                    await connection.fetch(f"DELETE FROM {table}")
            store = HeaderStore(database)
            await store.import_headers(headers, FACTS)
            wanted = TimeRange(BEGIN, END)
            match outcome:
                case str():
                    with pytest.raises(SeriesIncomplete) as caught:
                        (await store.series_and_blocks(wanted))[0]
                    assert outcome in str(caught.value)
                case type():
                    with pytest.raises(outcome):
                        (await store.series_and_blocks(wanted))[0]
                case _:
                    series = (await store.series_and_blocks(wanted))[0]
                    assert list(series.sums_wei) == outcome

    asyncio.run(work())
