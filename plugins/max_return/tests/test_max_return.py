"""The max return is the exact maximum, the first on a tie, and says when it occurred."""

import csv
import math
import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import prover_max_return
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from prover_max_return import MaxReturnParameters, max_return

from prover_framework import (
    EmptyRange,
    HourlySeries,
    Inputs,
    ProofError,
    RangeTooShort,
    TimeRange,
    hourly_base_fees,
)
from prover_framework.testing import ProofTypeConformance, series_of

HOUR = 3600
FIRST_HOUR = 1000 * HOUR

# Sum of the base fees in wei, and number of blocks, of one hour.
hours = st.tuples(st.integers(0, 2**63 - 1) | st.integers(0, 9), st.integers(1, 400))

# From a reference implementation, over real hours: (number of hours, window).
GOLDEN = {
    (2184, 720): 0.4885042293692916,
    (2160, 720): 0.4885042293692916,
    (1440, 240): 0.995068591165621,
}


class TestConformance(ProofTypeConformance):
    plugin = prover_max_return
    samples = (
        MaxReturnParameters(
            start_timestamp=1_704_067_200, end_timestamp=1_704_153_600, window_hours=5
        ),
        # Window and range of an option market.
        MaxReturnParameters(start_timestamp=1_696_291_200, end_timestamp=1_704_067_201),
    )
    wrong = (("window_hours", 0), ("window_hours", 87_661))


def series(made_of: Sequence[tuple[int, int]]) -> HourlySeries:
    return series_of(made_of, first_hour=FIRST_HOUR)


def fees(*means_wei: int) -> HourlySeries:
    return series([(mean, 1) for mean in means_wei])


def returns_of(values: Sequence[Fraction], window: int) -> dict[int, Fraction]:
    """Return the returns by the definition, with the index of the hour each occurred in."""
    means = {
        i: sum(values[i - window + 1 : i + 1], Fraction(0)) / window
        for i in range(window - 1, len(values))
    }
    return {i: means[i] / means[i - window] - 1 for i in means if i - window in means}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[int, int]], int]:
    window = draw(st.integers(1, 6))
    return draw(st.lists(hours, min_size=2 * window, max_size=30)), window


@given(cases())
@example(([(1, 3), (2, 3), (2, 3), (4, 3)], 1))
def test_it_is_the_first_maximum_by_the_definition(
    case: tuple[list[tuple[int, int]], int],
) -> None:
    made_of, window = case
    values = [
        Fraction(math.floor(Fraction(total, count) * 2**128), 2**128) for total, count in made_of
    ]
    assume(all(any(values[i : i + window]) for i in range(len(values) - 2 * window + 1)))
    expected = returns_of(values, window)
    # Python's max is the first one on a tie.
    when = max(expected, key=lambda i: expected[i])
    result = max_return(series(made_of), window)
    assert result.max_return == float(expected[when])
    assert result.occurred_hour == FIRST_HOUR + when * HOUR
    assert result.returns == len(expected) == len(made_of) - 2 * window + 1
    assert result.window_hours == window
    later, earlier = int(result.window_felts_sum, 16), int(result.earlier_window_felts_sum, 16)
    assert Fraction(later, earlier) - 1 == expected[when]
    assert later == sum(values[when - window + 1 : when + 1]) * 2**128
    assert earlier == sum(values[when - 2 * window + 1 : when - window + 1]) * 2**128
    if result.max_return < 0:
        assert result.max_return_felt is None
    else:
        assert result.max_return_felt is not None
        exact_felt = math.floor(Fraction(result.max_return) * 2**128)
        assert int(result.max_return_felt, 16) == exact_felt


def test_the_first_hour_wins_a_tie() -> None:
    result = max_return(fees(10, 20, 10, 20, 10, 20), 1)
    assert (result.max_return, result.occurred_hour) == (1.0, FIRST_HOUR + 1 * HOUR)


def test_a_tie_is_decided_without_rounding() -> None:
    # The two returns differ by less than a double shows; the second is larger.
    big = 2**60
    result = max_return(fees(big + 1, big + 2, big, big + 1), 1)
    assert float(Fraction(big + 2, big + 1)) == float(Fraction(big + 1, big))
    assert result.occurred_hour == FIRST_HOUR + 3 * HOUR


def test_it_is_negative_where_fees_only_fall() -> None:
    result = max_return(fees(16, 8, 6), 1)
    assert result.max_return == -0.25
    assert result.occurred_hour == FIRST_HOUR + 2 * HOUR
    assert result.max_return_felt is None


def test_a_fall_to_zero_is_a_return_of_minus_one() -> None:
    assert max_return(fees(5, 0), 1).max_return == -1.0


def test_it_occurs_in_the_last_hour_of_the_later_window() -> None:
    result = max_return(fees(1, 1, 1, 9, 1, 1), 2)
    assert result.max_return == 4.0
    assert result.occurred_hour == FIRST_HOUR + 3 * HOUR


def test_twice_the_window_is_just_enough() -> None:
    result = max_return(fees(1, 2, 3, 6), 2)
    assert (result.max_return, result.returns) == (2.0, 1)
    with pytest.raises(RangeTooShort, match=r"window of 2 hours needs at least 4 hours.* has 3"):
        max_return(fees(1, 2, 3), 2)


def test_a_window_of_free_hours_has_no_return_and_is_named() -> None:
    with pytest.raises(ProofError, match=f"zero in all 2 hours from {FIRST_HOUR + HOUR} on"):
        max_return(fees(3, 0, 0, 5, 5), 2)


def test_a_free_window_that_nothing_is_compared_with_does_no_harm() -> None:
    assert max_return(fees(3, 3, 0, 0), 2).max_return == -1.0


def test_the_window_is_thirty_days_unless_given() -> None:
    assert MaxReturnParameters(start_timestamp=0, end_timestamp=1).window_hours == 720


@pytest.mark.parametrize("window", [0, -1, 87_661])
def test_an_impossible_window_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match="window_hours"):
        MaxReturnParameters(start_timestamp=0, end_timestamp=1, window_hours=window)


def parameters(start: int, end: int, window: int = 2) -> MaxReturnParameters:
    return MaxReturnParameters(start_timestamp=start, end_timestamp=end, window_hours=window)


def test_it_asks_for_the_fees_of_its_range() -> None:
    asked = prover_max_return.inputs(parameters(5, 4 * HOUR + 5))
    assert asked == {"hourly_base_fee": hourly_base_fees(TimeRange(5, 4 * HOUR + 5))}


def test_it_does_not_wait_for_data_that_would_not_suffice() -> None:
    with pytest.raises(RangeTooShort, match="needs at least 4 hours and the range has 3"):
        prover_max_return.inputs(parameters(5, 4 * HOUR - 1))
    with pytest.raises(EmptyRange):
        prover_max_return.inputs(parameters(1234567890, 1234567891))


def test_the_hook_uses_the_parameters_window() -> None:
    made = fees(1, 2, 3, 6)
    for window in (1, 2):
        computed = prover_max_return.compute(
            parameters(0, 4 * HOUR, window), Inputs({"hourly_base_fee": made})
        )
        assert computed == max_return(made, window)
        assert computed.window_hours == window


def test_it_is_registered_as_a_required_proof() -> None:
    registered = prover_max_return.proof_type()
    assert (registered.name, registered.title) == ("max_return", "Max Return")
    assert registered.required
    assert registered.parameters is MaxReturnParameters
    assert registered.result is prover_max_return.MaxReturnResult


@pytest.mark.parametrize(("count", "window"), GOLDEN)
def test_real_hours_have_the_golden_return(count: int, window: int) -> None:
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    with (Path(folder) / "mainnet_hourly_base_fee.csv").open() as lines:
        rows = islice(csv.DictReader(lines), count)
        means = [float(row["base_fee_wei"]).as_integer_ratio() for row in rows]
    result = max_return(series(means), window)
    assert result.max_return == pytest.approx(GOLDEN[count, window], rel=1e-12)


def test_its_charts_mark_the_two_windows_that_the_maximum_compares() -> None:
    made = series_of([(n, 1) for n in (4, 4, 2, 2, 4, 8, 4)], first_hour=FIRST_HOUR)
    result = max_return(made, 2)
    mean, returns = prover_max_return.charts(Inputs({"hourly_base_fee": made}), result)
    earlier, later = mean.spans
    assert later.end == result.occurred_hour + HOUR
    assert (earlier.end, later.end - later.start) == (later.start, 2.0 * HOUR)
    assert [mark.y for mark in mean.marks] == [2.0, 6.0]
    assert max(returns.curves[0].y) == pytest.approx(result.max_return)
    assert len(returns.curves[0].x) == result.returns
