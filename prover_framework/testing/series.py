"""Hourly series for tests: made up hour by hour, or simulated; and headers that give them."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from prover_framework.chain.headers import Header
from prover_framework.chain.sources.simulated import BLOCKS_PER_HOUR, DEFAULT_SEED, simulate
from prover_framework.model.series import HOUR_SECONDS, HourlySeries, SeriesKind, TimeRange

# Nobody's chain: a series of a test settles nothing.
TEST_CHAIN_ID = 1559_1559


def series_of(
    hours: Iterable[tuple[int, int]],
    *,
    first_hour: int = 0,
    chain_id: int = TEST_CHAIN_ID,
    simulated: bool = True,
    first_block: int = 1,
) -> HourlySeries:
    """Make a series of given hours.

    Args:
        hours: For each hour the sum of its blocks' base fees in wei, and the number of its blocks.
        first_hour: Unix timestamp at which the first hour begins.
        chain_id: Id of the chain.
        simulated: Whether the chain counts as a simulation.
        first_block: Number of the first block.
    """
    sums, counts = zip(*hours, strict=True)
    return HourlySeries(
        chain_id=chain_id,
        simulated=simulated,
        kind=SeriesKind.HOURLY if set(counts) == {1} else SeriesKind.BLOCKS,
        first_hour=first_hour,
        sums_wei=sums,
        counts=counts,
        first_block=first_block,
        last_block=first_block + sum(counts) - 1,
    )


# Ninety days are 648,000 blocks, which take a second or two; several tests want the same ones.
@lru_cache(maxsize=8)
def simulated_series(wanted: TimeRange, *, seed: int = DEFAULT_SEED) -> HourlySeries:
    """Return the hours of a range on a simulated chain that obeys EIP-1559.

    Args:
        wanted: The range.
        seed: Another seed makes another market.

    Raises:
        EmptyRange: There is no whole hour in the range.
    """
    hours = wanted.require_hours()
    fees = [header.base_fee_wei for header in simulate(hours.start, len(hours), seed=seed)]
    return series_of(
        (
            (sum(fees[start : start + BLOCKS_PER_HOUR]), BLOCKS_PER_HOUR)
            for start in range(0, len(hours) * BLOCKS_PER_HOUR, BLOCKS_PER_HOUR)
        ),
        first_hour=hours.start,
    )


def headers_of(series: HourlySeries) -> Iterator[Header]:
    """Yield headers whose hours are those of a series, and the one that ends the last hour.

    The fees of an hour's blocks differ by 1 wei at the most, and the blocks are spread over it.

    Raises:
        ValueError: An hour has more blocks than seconds.
    """
    number = series.first_block
    for place, (total, count) in enumerate(zip(series.sums_wei, series.counts, strict=True)):
        if count > HOUR_SECONDS:
            raise ValueError(f"an hour cannot have {count} blocks: timestamps are whole seconds")
        hour = series.first_hour + place * HOUR_SECONDS
        fee, rest = divmod(total, count)
        for block in range(count):
            yield Header(number, hour + block * HOUR_SECONDS // count, fee + (block < rest))
            number += 1
    yield Header(number, series.last_hour + HOUR_SECONDS, 1)
