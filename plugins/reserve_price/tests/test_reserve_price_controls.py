"""Controls of an estimate: their expectation is zero, and they are near to the payoff."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from prover_reserve_price.controls import LogControl, MeanControl
from prover_reserve_price.moments import LogMoments, WeekMoments
from prover_reserve_price.weeks import Weeks
from reserve_price_reference import FloatArray

NORMAL, WEIGHT = np.polynomial.hermite_e.hermegauss(40)
WEIGHT /= WEIGHT.sum()


def payoff(price: FloatArray) -> FloatArray:
    """Smooth, and limited on both sides."""
    paid: FloatArray = np.tanh(np.log(price / 1e10))
    return paid


def test_the_quadratic_in_the_mean_is_the_nearest_of_all_for_a_lognormal() -> None:
    mean, spread = 1.1, 0.09
    control = MeanControl.fit(payoff, 1e10, WeekMoments(mean, mean**2 * np.exp(spread)))
    assert control is not None
    price = np.exp(log(mean) - spread / 2 + spread**0.5 * NORMAL)
    left = payoff(1e10 * price) - control.linear * price - control.square * price**2
    left -= WEIGHT @ left
    for power in (price, price**2):
        assert WEIGHT @ (left * (power - WEIGHT @ power)) == pytest.approx(0.0, abs=1e-9)


def test_the_quadratic_in_the_logs_is_the_nearest_of_all_for_a_normal() -> None:
    moments = LogMoments(log(1.1e10), 0.3, 0.04)
    control = LogControl.fit(payoff, moments)
    logs = moments.mean + moments.variance**0.5 * NORMAL
    excess = logs - moments.mean
    left = payoff(np.exp(logs + 0.02)) - control.linear * excess - control.square * excess**2
    left -= WEIGHT @ left
    for power in (excess, excess**2):
        assert WEIGHT @ (left * (power - WEIGHT @ power)) == pytest.approx(0.0, abs=1e-9)
    assert control.spread == control.linear / 2


@pytest.mark.parametrize("kind", [LogControl, MeanControl])
def test_the_expectation_given_a_week_is_the_mean_over_its_normal(kind: type) -> None:
    rng = np.random.default_rng(1)
    weeks = Weeks.of(
        log(1e10) + 0.3 * rng.standard_normal((3, 24)), 0.3 + 0.1 * rng.random((3, 24))
    )
    at = weeks.centre[:, None, :] + weeks.slope[:, None, :] * NORMAL[:, None]
    if kind is LogControl:
        control: LogControl | MeanControl = LogControl(LogMoments(23.0, 0.1, 0.08), 2.0, -3.0, 5.0)
        mean = at.mean(axis=2) - 23.0
        values = 2.0 * mean - 3.0 * (mean**2 - 0.1) + 5.0 * (at.var(axis=2) - 0.08)
    else:
        control = MeanControl(1e10, WeekMoments(1.1, 1.3), 2.0, -3.0)
        price = np.exp(at).mean(axis=2) / 1e10
        values = 2.0 * (price - 1.1) - 3.0 * (price**2 - 1.3)
    assert control.over_normal(weeks) == pytest.approx(values @ WEIGHT, rel=1e-9)


@pytest.mark.parametrize(
    ("mean", "mean_square"),
    [(1.0, 1.0), (1.0, 1.5), (0.0, 0.0), (1.0, np.inf), (np.nan, np.nan), (1e-200, 1e-300)],
)
def test_moments_that_are_extreme_make_no_control(mean: float, mean_square: float) -> None:
    assert MeanControl.fit(payoff, 1e10, WeekMoments(mean, mean_square)) is None
