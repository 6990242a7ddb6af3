"""The volatility is that of its formula to the last digit, and says what it was made from."""

import math
from itertools import pairwise

import prover_volatility as plugin
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prover_volatility import VolatilityParameters, volatility

from prover_framework import (
    EmptyRange,
    HourlySeries,
    Inputs,
    RangeTooShort,
    TimeRange,
    felt_from_float,
    felt_hex,
    hourly_base_fees,
)
from prover_framework.testing import ProofTypeConformance, series_of, service_in_a_box

HOUR = 3600
FIRST_HOUR = 1_704_067_200

# What fees of Ethereum are, and what they could be.
fees = st.integers(1, 2**63 - 1) | st.integers(10**9, 10**12)


def series(*fees_wei: int) -> HourlySeries:
    return series_of([(fee, 1) for fee in fees_wei], first_hour=FIRST_HOUR)


def parameters(hours: int, interval: int) -> VolatilityParameters:
    return VolatilityParameters(
        start_timestamp=FIRST_HOUR + 5,
        end_timestamp=FIRST_HOUR + hours * HOUR + 5,
        interval_hours=interval,
    )


class TestConformance(ProofTypeConformance):
    plugin = plugin
    samples = (parameters(48, 1), parameters(720, 24))
    wrong = (("interval_hours", 0), ("interval_hours", 8761))


@given(st.lists(fees, min_size=2, max_size=40), st.integers(1, 5))
@example([1, 2**63 - 1], 1)
def test_it_is_the_root_of_the_squared_returns(made_of: list[int], interval: int) -> None:
    counted = made_of[::interval]
    if len(counted) < 2:
        with pytest.raises(RangeTooShort):
            volatility(series(*made_of), interval)
        return
    result = volatility(series(*made_of), interval)
    changes = [math.log(later) - math.log(earlier) for earlier, later in pairwise(counted)]
    variance = math.fsum(change**2 for change in changes)
    # Logarithms of doubles that lie close together differ with a larger relative error.
    assert result.realised_variance == pytest.approx(variance, rel=1e-9, abs=1e-12)
    spanned = len(changes) * interval
    assert result.hourly_volatility == pytest.approx(
        math.sqrt(result.realised_variance / spanned), rel=1e-15
    )
    assert result.volatility == pytest.approx(
        math.sqrt(result.realised_variance / spanned * 8760), rel=1e-15
    )
    assert result.volatility_felt == felt_hex(felt_from_float(result.volatility))
    assert (result.returns, result.interval_hours) == (len(changes), interval)


def test_fees_that_double_and_halve_move_by_the_logarithm_of_two() -> None:
    result = volatility(series(10, 20, 10, 20, 10), 1)
    assert result.hourly_volatility == math.log(2)
    # Every other hour nothing has changed.
    assert volatility(series(10, 20, 10, 20, 10), 2).volatility == 0.0


@given(st.lists(fees, min_size=2, max_size=30))
def test_a_unit_of_money_does_not_move_it(made_of: list[int]) -> None:
    one = volatility(series(*made_of), 1)
    assert volatility(series(*(fee * 1000 for fee in made_of)), 1) == one


@given(st.lists(fees, min_size=2, max_size=30))
def test_time_may_run_backwards(made_of: list[int]) -> None:
    one, other = volatility(series(*made_of), 1), volatility(series(*reversed(made_of)), 1)
    assert one.realised_variance == pytest.approx(other.realised_variance, rel=1e-15)


def test_hours_after_the_last_whole_interval_do_not_count() -> None:
    assert volatility(series(3, 9, 5, 7, 100), 3) == volatility(series(3, 8, 8, 7), 3)


def test_an_hour_without_a_fee_is_named() -> None:
    with pytest.raises(plugin.FeeNotPositive, match=f"zero in the hour {FIRST_HOUR + 2 * HOUR}"):
        volatility(series(3, 0, 0, 0, 5), 2)
    assert volatility(series(3, 0, 3), 2).volatility == 0.0


def test_it_does_not_wait_for_data_that_would_not_suffice() -> None:
    assert plugin.inputs(parameters(25, 24)) == {
        "hourly_base_fee": hourly_base_fees(TimeRange(FIRST_HOUR + 5, FIRST_HOUR + 25 * HOUR + 5))
    }
    with pytest.raises(RangeTooShort, match="needs at least 25 hours and the range has 24"):
        plugin.inputs(parameters(24, 24))
    with pytest.raises(EmptyRange):
        plugin.inputs(VolatilityParameters(start_timestamp=1234567890, end_timestamp=1234567891))


def test_no_group_has_to_ask_for_it_and_every_hour_counts_unless_said() -> None:
    assert not plugin.proof_type().required
    assert VolatilityParameters(start_timestamp=0, end_timestamp=1).interval_hours == 1


def test_a_service_proves_it() -> None:
    made_of = series(*[10, 20] * 24, 10)
    with service_in_a_box(plugin, series=made_of) as box:
        group = box.submit(
            {
                "job_group_id": "swings",
                "volatility": {
                    "start_timestamp": FIRST_HOUR,
                    "end_timestamp": FIRST_HOUR + 49 * HOUR,
                },
            }
        )
    (job,) = group.jobs
    assert isinstance(job.result, dict)
    assert job.result["hourly_volatility"] == math.log(2)


def test_its_charts_end_at_the_result_where_the_window_is_the_range() -> None:
    made = series(10, 12, 11, 15)
    result = volatility(made, 1)
    course, returns = plugin.charts(Inputs({"hourly_base_fee": made}), result)
    assert list(course.curves[0].y) == pytest.approx([result.volatility])
    assert course.marks[0].y == result.volatility
    assert returns.histogram is not None
    assert sum(returns.histogram.counts) == result.returns
