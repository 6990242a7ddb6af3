"""The TWAP is the exact mean of the hours' felts, rounded to a double once."""

import csv
import math
import os
from fractions import Fraction
from itertools import islice
from pathlib import Path
from random import Random

import prover_twap
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prover_framework import Inputs, RangeParameters
from prover_framework.testing import ProofTypeConformance, series_of

# Sum of the base fees in wei, and number of blocks, of one hour.
hours = st.tuples(st.integers(0, 2**63 - 1), st.integers(1, 400))

# From a reference implementation, over real hours.
GOLDEN = {
    (0, 2184): 15522747186.714481,
    (0, 720): 13242878795.995258,
    (1464, 2184): 13690325285.187069,
}


class TestConformance(ProofTypeConformance):
    plugin = prover_twap
    samples = (
        RangeParameters(start_timestamp=0, end_timestamp=3600),
        RangeParameters(start_timestamp=1_704_067_201, end_timestamp=1_704_153_600),
    )


def felt(total: int, count: int) -> int:
    return math.floor(Fraction(total, count) * 2**128)


@given(st.lists(hours, min_size=1, max_size=50))
@example([(0, 1)])
@example([(1, 3)])
@example([(2**63 - 1, 1)] * 50)
def test_it_is_the_mean_of_the_hours(made_of: list[tuple[int, int]]) -> None:
    result = prover_twap.twap(series_of(made_of))
    total = sum(felt(*hour) for hour in made_of)
    exact = Fraction(total, len(made_of) * 2**128)
    assert result.twap == float(exact)
    assert result.hourly_felts_sum == hex(total)
    assert result.hours == len(made_of)
    assert int(result.twap_felt, 16) == math.floor(Fraction(result.twap) * 2**128)
    # Cutting an hour off after 128 bits moves the mean by less than one such bit.
    assert (
        0 <= sum(Fraction(*hour) for hour in made_of) / len(made_of) - exact < Fraction(1, 2**128)
    )


@given(st.lists(hours, min_size=1, max_size=50))
def test_the_cross_check_counts_each_block_once(made_of: list[tuple[int, int]]) -> None:
    result = prover_twap.twap(series_of(made_of))
    sums, counts = zip(*made_of, strict=True)
    assert result.block_weighted_mean == float(Fraction(sum(sums), sum(counts)))


@given(st.lists(hours, min_size=2, max_size=30), st.randoms())
def test_the_order_of_the_hours_does_not_move_a_digit(
    made_of: list[tuple[int, int]], random: Random
) -> None:
    shuffled = random.sample(made_of, len(made_of))
    assert prover_twap.twap(series_of(shuffled)) == prover_twap.twap(series_of(made_of))


def test_an_hour_with_many_blocks_weighs_as_much_as_one_with_few() -> None:
    result = prover_twap.twap(series_of([(1000, 100), (30, 1)]))
    assert result.twap == 20.0
    assert result.block_weighted_mean == pytest.approx(1030 / 101)


def test_it_is_registered_as_a_required_proof_over_a_range() -> None:
    registered = prover_twap.proof_type()
    assert (registered.name, registered.title) == ("twap", "TWAP")
    assert registered.required
    assert registered.parameters is RangeParameters
    assert registered.result is prover_twap.TwapResult


def test_the_hook_computes_from_its_inputs() -> None:
    made = series_of([(5, 2), (7, 2)])
    assert prover_twap.compute(Inputs({"hourly_base_fee": made})) == prover_twap.twap(made)
    assert prover_twap.compute(Inputs({"hourly_base_fee": made})).twap == 3.0


@pytest.mark.parametrize(("first", "stop"), GOLDEN)
def test_real_hours_have_the_golden_mean(first: int, stop: int) -> None:
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    with (Path(folder) / "mainnet_hourly_base_fee.csv").open() as lines:
        rows = islice(csv.DictReader(lines), first, stop)
        means = [Fraction(float(row["base_fee_wei"])) for row in rows]
    # The felt of an hour is what counts, and a double's fits into 128 bits after the point.
    exact = series_of([(mean.numerator, mean.denominator) for mean in means])
    assert prover_twap.twap(exact).twap == pytest.approx(GOLDEN[first, stop], rel=1e-12)


def test_its_chart_has_all_hours_and_the_result() -> None:
    made = series_of([(5, 2), (7, 2), *[(8, 2)] * 30])
    (chart,) = prover_twap.charts(Inputs({"hourly_base_fee": made}), prover_twap.twap(made))
    hours, days = chart.curves
    assert hours.y[:3] == (2.5, 3.5, 4.0)
    assert len(days.y) == 32 - 23
    assert chart.marks[0].y == prover_twap.twap(made).twap
    assert (chart.spans[0].start, chart.spans[0].end) == (0.0, 32 * 3600.0)


def test_a_range_of_one_hour_has_a_chart() -> None:
    made = series_of([(5, 2)])
    (chart,) = prover_twap.charts(Inputs({"hourly_base_fee": made}), prover_twap.twap(made))
    assert len(chart.curves) == 1
