"""Trend and season: what is put in comes out, and nothing is left for the residual to explain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prover_reserve_price.season import SEASON_COLUMNS, Season, decompose, design_matrix
from reserve_price_reference import plain_model, season_columns, synthetic_fees


@given(
    st.lists(st.floats(-1, 1), min_size=SEASON_COLUMNS, max_size=SEASON_COLUMNS),
    st.integers(0, 10_000),
)
@settings(max_examples=50, deadline=None)
def test_season_at_any_hour_is_the_sum_of_its_columns(values: list[float], start: int) -> None:
    t = start + np.arange(0, 200, 0.75)
    expected = season_columns(t) @ np.array(values)
    assert Season(tuple(values)).at(t) == pytest.approx(expected, abs=1e-9)


def test_columns_are_daily_then_weekly_sine_before_cosine() -> None:
    row = design_matrix(3.0)
    assert row.shape == (12,)
    # Three hours are an eighth of a day: 45 degrees of the first wave.
    assert row[:4] == pytest.approx([0.5**0.5, 0.5**0.5, 1.0, 0.0], abs=1e-15)
    assert row[6] == pytest.approx(np.sin(2 * np.pi * 3 / 168))


@given(
    st.integers(336, 1500),
    st.floats(-1e-3, 1e-3),
    st.floats(10, 30),
    st.lists(st.floats(-1, 1), min_size=SEASON_COLUMNS, max_size=SEASON_COLUMNS),
)
@settings(max_examples=50, deadline=None)
def test_what_is_left_is_orthogonal_to_every_column(
    hours: int, slope: float, intercept: float, values: list[float]
) -> None:
    t = np.arange(float(hours))
    rng = np.random.default_rng(hours)
    log_fee = slope * t + intercept + Season(tuple(values)).at(t) + rng.standard_normal(hours)
    parts = decompose(log_fee)
    assert season_columns(t).T @ parts.residual == pytest.approx(np.zeros(12), abs=1e-8)
    rebuilt = parts.trend.slope * t + parts.trend.intercept + parts.season.at(t) + parts.residual
    assert rebuilt == pytest.approx(log_fee, abs=1e-10)


@pytest.mark.parametrize("hours", [336, 337, 1000, 2160])
def test_fit_is_the_least_squares_of_the_definition(hours: int) -> None:
    fees = synthetic_fees(hours, seed=hours)
    plain = plain_model(fees, parameters=(0.0,) * 6)
    parts = decompose(np.log(fees))
    assert parts.trend.slope == pytest.approx(plain.slope, rel=1e-9)
    assert parts.trend.intercept == pytest.approx(plain.intercept, rel=1e-12)
    assert parts.season.coefficients == pytest.approx(plain.season, abs=1e-11)
    assert parts.residual == pytest.approx(plain.residual, abs=1e-11)
