"""The moments of the last week's mean price are those of the definition, without a draw."""

from __future__ import annotations

import numpy as np
import pytest
from prover_reserve_price.jump_model import JumpParameters
from prover_reserve_price.moments import log_excess, log_moments, week_moments

LAWS = [
    JumpParameters(-0.018, 0.89, 0.05, 0.014, 0.15, 0.33),
    JumpParameters(-0.04, 0.8, 0.18, 0.043, 0.17, 0.2),
    JumpParameters(-0.001, 0.995, 0.02, 0.0005, 0.01, 0.2),
    JumpParameters(0.0, 1.0, 0.02, 0.0002, 0.0003, 0.2),
    JumpParameters(0.01, 0.0, 0.5, 0.05, 0.1, 0.02),
    JumpParameters(0.01, 0.5, 0.0, 0.05, 1e-9, 0.0),
]

# Fewer hours than the method has, so that every pair of hours can be gone through.
FIRST, WEEK = 60, 24
LAST_RESIDUAL, WALK_VARIANCE = 0.7, 0.002
LEVEL = 0.2 * np.sin(np.arange(WEEK) / 4.0)


def expected_of(jumps: JumpParameters, *hours: int) -> float:
    """`E[exp]` of the sum of the log prices of hours of the week, innovation by innovation."""
    exponent = sum(LEVEL[hour] for hour in hours)
    for hour in hours:
        exponent += jumps.phi ** (FIRST + hour) * LAST_RESIDUAL
    for step in range(1, FIRST + WEEK):
        u = sum(
            jumps.phi ** (FIRST + hour - step) if step <= FIRST + hour else 0.0 for hour in hours
        )
        calm = np.exp(u * jumps.a + u * u * jumps.sigma_sq / 2)
        jump = np.exp(u * jumps.mu_j + u * u * jumps.sigma_sq_j / 2)
        exponent += np.log(calm * (1 - jumps.lambda_ + jumps.lambda_ * jump))
    for step in range(WEEK):
        exponent += WALK_VARIANCE / 2 * sum(step <= hour for hour in hours) ** 2
    return float(np.exp(exponent))


@pytest.mark.parametrize("jumps", LAWS)
def test_moments_are_the_sums_over_all_hours_and_pairs_of_hours(jumps: JumpParameters) -> None:
    powers = jumps.phi ** np.arange(float(FIRST + WEEK))
    moments = week_moments(jumps, LAST_RESIDUAL, powers, LEVEL, WALK_VARIANCE)
    mean = np.mean([expected_of(jumps, i) for i in range(WEEK)])
    square = np.mean([expected_of(jumps, i, j) for i in range(WEEK) for j in range(WEEK)])
    assert moments.mean == pytest.approx(mean, rel=1e-12)
    assert moments.mean_square == pytest.approx(square, rel=1e-9)


def test_a_price_without_jumps_is_a_lognormal() -> None:
    powers = 0.5 ** np.arange(100.0)
    assert log_excess(LAWS[-1], powers) == pytest.approx(0.0, abs=1e-6)


def test_rare_and_large_jumps_are_far_from_a_lognormal() -> None:
    powers = 0.5 ** np.arange(100.0)
    assert log_excess(JumpParameters(0.0, 0.5, 0.0, 0.05, 0.1, 0.2), powers) < 1
    assert log_excess(JumpParameters(0.0, 0.5, 0.0, 0.05, 2.0, 0.02), powers) > 10


@pytest.mark.parametrize("jumps", LAWS)
def test_moments_of_log_prices_follow_from_means_and_covariances_of_the_hours(
    jumps: JumpParameters,
) -> None:
    lam = jumps.lambda_
    step_mean = jumps.a + lam * jumps.mu_j
    # A jump's square, on average, minus the square of the average.
    step_variance = (
        jumps.sigma_sq + lam * (jumps.sigma_sq_j + jumps.mu_j**2) - (lam * jumps.mu_j) ** 2
    )
    mean, variance = [LAST_RESIDUAL], [0.0]
    for _ in range(FIRST + WEEK - 1):
        mean.append(step_mean + jumps.phi * mean[-1])
        variance.append(step_variance + jumps.phi**2 * variance[-1])
    week = range(FIRST, FIRST + WEEK)
    covariance = np.array(
        [
            [
                jumps.phi ** abs(i - j) * variance[min(i, j)]
                + WALK_VARIANCE * (min(i, j) - FIRST + 1)
                for j in week
            ]
            for i in week
        ]
    )
    log_price = np.array(mean[FIRST:]) + LEVEL
    powers = jumps.phi ** np.arange(float(FIRST + WEEK))
    moments = log_moments(jumps, LAST_RESIDUAL, powers, LEVEL, WALK_VARIANCE)
    assert moments.mean == pytest.approx(log_price.mean(), rel=1e-10)
    assert moments.variance == pytest.approx(covariance.mean(), rel=1e-10)
    spread = np.trace(covariance) / WEEK + log_price.var() - covariance.mean()
    assert moments.spread == pytest.approx(spread, rel=1e-10)
