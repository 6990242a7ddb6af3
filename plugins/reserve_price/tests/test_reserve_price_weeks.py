"""A week as a function of one normal: its moments, and the rule for all other expectations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prover_reserve_price.weeks import Weeks, over_normal, points
from reserve_price_reference import FloatArray

HOURS = 24
NORMAL, WEIGHT = np.polynomial.hermite_e.hermegauss(60)
WEIGHT /= WEIGHT.sum()


def some_weeks(paths: int, slope: float, swing: float, noise: float = 0.4) -> Weeks:
    """Log prices with noise, and slopes that differ by `swing` from the first hour to the last."""
    centre = noise * np.random.default_rng(3).standard_normal((paths, HOURS))
    slopes = slope + swing * np.linspace(-0.5, 0.5, HOURS)
    return Weeks.of(centre, np.tile(slopes, (paths, 1)))


def mean_price(weeks: Weeks, z: float) -> FloatArray:
    mean: FloatArray = np.exp(weeks.centre + weeks.slope * z).mean(axis=1)
    return mean


@pytest.mark.parametrize(("slope", "swing"), [(0.3, 0.2), (0.5, 0.5), (0.1, 0.0), (0.0, 0.3)])
def test_its_moments_are_those_of_all_hours_and_pairs_of_hours(slope: float, swing: float) -> None:
    weeks = some_weeks(5, slope, swing)
    mean = np.exp(weeks.centre + weeks.slope**2 / 2).mean(axis=1)
    centres = weeks.centre[:, :, None] + weeks.centre[:, None, :]
    slopes = weeks.slope[:, :, None] + weeks.slope[:, None, :]
    assert weeks.mean() == pytest.approx(mean, rel=1e-13)
    square = np.exp(centres + slopes**2 / 2).mean(axis=(1, 2))
    assert weeks.mean_square() == pytest.approx(square, rel=1e-11)


def test_level_and_line_describe_the_mean_price() -> None:
    weeks = some_weeks(4, 0.3, 0.2)
    step = 1e-4
    up, centre, down = (np.log(mean_price(weeks, z)) for z in (step, 0.0, -step))
    assert weeks.line == pytest.approx((up - down) / (2 * step), rel=1e-6)
    bend = (up - 2 * centre + down) / step**2
    assert weeks.level == pytest.approx(centre + bend / 2, abs=1e-7)


def test_it_is_seen_at_the_points() -> None:
    weeks = some_weeks(3, 0.3, 0.2)
    at = points(np.random.default_rng(1).standard_normal((3, 10)))
    for seen, z in zip(weeks.at(at), at, strict=True):
        expected = [mean_price(weeks, each)[path] for path, each in enumerate(z)]
        assert seen == pytest.approx(expected, rel=1e-13)


@given(
    st.lists(st.floats(-3, 3), min_size=6, max_size=6),
    st.lists(st.floats(0.05, 3), min_size=10, max_size=10),
)
def test_a_polynomial_of_degree_five_has_no_error_at_any_points(
    coefficients: list[float], normals: list[float]
) -> None:
    at = points(np.array([normals]))
    # Expectations of the powers of a normal.
    expected = coefficients[0] + coefficients[2] + 3 * coefficients[4]
    values = np.asarray(np.polynomial.polynomial.polyval(at, coefficients), dtype=np.float64)
    (estimate,) = over_normal(values, at)
    apart = abs(at[3, 0] ** 2 - at[1, 0] ** 2)
    scale = 1 + np.abs(values).max() * (1 + at[3, 0] ** 2) / min(apart, at[1, 0] ** 2, 1.0)
    assert estimate == pytest.approx(expected, abs=1e-12 * scale)


@pytest.mark.parametrize("bend", [lambda z: np.abs(z), lambda z: z > 0.7, lambda z: z**6])
def test_the_rule_has_no_bias_for_a_function_that_is_no_polynomial(bend: object) -> None:
    assert callable(bend)
    at = points(np.random.default_rng(2).standard_normal((200_000, 10)))
    estimates = over_normal(np.asarray(bend(at), dtype=np.float64), at)
    fine = np.linspace(-12, 12, 2_000_001)
    density = np.exp(-(fine**2) / 2)
    expected = (bend(fine) * density).sum() / density.sum()
    error = estimates.std(ddof=1) / estimates.size**0.5
    assert abs(estimates.mean() - expected) <= 4 * error
    assert error < 0.01 * (1 + expected)


def test_the_points_are_two_with_both_signs_and_zero() -> None:
    zero, near, back, far, behind = points(np.random.default_rng(4).standard_normal((500, 10)))
    assert not zero.any()
    assert (back == -near).all()
    assert (behind == -far).all()
    assert (near > 0).all()
    assert (near < far).all()
