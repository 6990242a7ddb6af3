"""Ranges are rounded down to hours, and the means of hours are exact."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prover_framework.errors import EmptyRange
from prover_framework.model.names import MAX_INT64
from prover_framework.model.series import HourlySeries, SeriesKind, TimeRange

HOUR = 3600
timestamps = st.integers(0, 10**6) | st.integers(0, MAX_INT64)
blocks = st.tuples(st.integers(0, MAX_INT64), st.integers(1, 400))


def series(hours: list[tuple[int, int]], first_hour: int = 0) -> HourlySeries:
    """Make a series from the sum and the number of blocks of each hour."""
    counts = tuple(count for _, count in hours)
    return HourlySeries(
        chain_id=1,
        simulated=False,
        kind=SeriesKind.BLOCKS,
        first_hour=first_hour,
        sums_wei=tuple(total for total, _ in hours),
        counts=counts,
        first_block=1,
        last_block=sum(counts),
    )


@given(timestamps, timestamps)
@example(0, HOUR)
@example(1, HOUR)
@example(HOUR - 1, 2 * HOUR - 1)
@example(HOUR, 2 * HOUR + 1)
@example(MAX_INT64 - HOUR, MAX_INT64)
def test_both_ends_are_rounded_down_to_the_hour(start: int, end: int) -> None:
    hours = TimeRange(start, end).hours
    first = math.floor(Fraction(start, HOUR)) * HOUR
    stop = math.floor(Fraction(end, HOUR)) * HOUR
    assert len(hours) == max(0, (stop - first) // HOUR)
    if hours:
        assert hours[0] == first <= start < first + HOUR
        assert hours[-1] + HOUR == stop <= end < stop + HOUR
        assert hours[0] % HOUR == hours.step % HOUR == 0


def test_an_hour_begins_at_its_first_second_and_ends_before_its_last() -> None:
    assert list(TimeRange(HOUR, 3 * HOUR).hours) == [HOUR, 2 * HOUR]
    assert list(TimeRange(HOUR - 1, 3 * HOUR - 1).hours) == [0, HOUR]
    assert list(TimeRange(HOUR + 1, 3 * HOUR + 1).hours) == [HOUR, 2 * HOUR]


@pytest.mark.parametrize(("start", "end"), [(1234567890, 1234567891), (0, HOUR - 1), (7200, 7200)])
def test_a_range_without_a_whole_hour_is_empty(start: int, end: int) -> None:
    empty = TimeRange(start, end)
    assert not empty.hours
    with pytest.raises(EmptyRange, match=f"{start}\\.\\.{end} holds no whole hour"):
        empty.require_hours()


def test_a_range_with_an_hour_gives_its_hours() -> None:
    assert list(TimeRange(HOUR - 1, HOUR).require_hours()) == [0]


@given(st.lists(blocks, min_size=1, max_size=20))
@example([(1, 3), (2, 3), (MAX_INT64, 1)])
def test_means_are_those_of_fractions(hours: list[tuple[int, int]]) -> None:
    made = series(hours, first_hour=7 * HOUR)
    exact = [Fraction(total, count) for total, count in hours]
    assert made.felts() == [math.floor(mean * 2**128) for mean in exact]
    assert made.means_wei() == [float(Fraction(felt, 2**128)) for felt in made.felts()]
    assert made.means_wei() == pytest.approx([float(mean) for mean in exact], rel=1e-15, abs=1e-38)
    assert len(made) == len(hours)
    assert made.last_hour == (7 + len(hours) - 1) * HOUR
