"""Control variates: functions of a path whose expectation is zero, and near to its payoff.

A quadratic in the week's mean price `A`, or, where the moments of `A` are those of paths that no
sample holds, one in the mean log price. What they are multiplied with follows from the law of a
path and from no draw, so they leave an estimate without bias.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, sqrt
from typing import Protocol

import numpy as np
from attrs import frozen

from prover_reserve_price.moments import LogMoments, WeekMoments
from prover_reserve_price.season import FloatArray
from prover_reserve_price.weeks import Weeks

# The payoff of week's mean prices in wei, of any shape.
Payoff = Callable[[FloatArray], FloatArray]

# The quadratic in `A` is used where the variance of the lognormal's logarithm lies between these. A
# price that varies less is a constant to the last digits; with one that varies more, the mean log
# price is the better control.
_SMALLEST_LOG_VARIANCE = 1e-8
_LARGEST_LOG_VARIANCE = 0.3

# A mean price that is this many times the unit, or this small a part, has no square in a float.
_LARGEST_MEAN = 1e100

# The normal, and by that the lognormal, that the controls are fitted to: a rule of as many points.
_NORMAL_POINTS, _NORMAL_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_NORMAL_WEIGHTS /= _NORMAL_WEIGHTS.sum()


class Control(Protocol):
    """A function of a path whose expectation is zero."""

    def over_normal(self, weeks: Weeks) -> FloatArray:
        """Its expectation given all of a path but one normal, shape `(paths,)`."""


@frozen
class MeanControl:
    """`linear * (A - E[A]) + square * (A**2 - E[A**2])`, with `A` in a unit."""

    unit: float
    moments: WeekMoments
    linear: float
    square: float

    @classmethod
    def fit(cls, payoff: Payoff, unit: float, moments: WeekMoments) -> MeanControl | None:
        """Least squares for a lognormal with the moments of `A`; none where they are extreme.

        Args:
            payoff: What the quadratic is to be near to.
            unit: Wei.
            moments: Those of `A` in the unit.
        """
        mean, square = moments.mean, moments.mean_square
        # Also false for what is not a number.
        if not (1 / _LARGEST_MEAN < mean < _LARGEST_MEAN and 0 < square < inf):
            return None
        spread = log(square) - 2 * log(mean)
        if not _SMALLEST_LOG_VARIANCE <= spread <= _LARGEST_LOG_VARIANCE:
            return None
        price = np.exp(log(mean) - spread / 2 + sqrt(spread) * _NORMAL_POINTS)
        # Orthogonal polynomials of the lognormal, of degree one and two.
        first = price - mean
        second = price**2 - square
        weighted = _NORMAL_WEIGHTS * first
        shared = float((weighted * second).sum() / (weighted * first).sum())
        second -= shared * first
        paid = payoff(unit * price)
        linear = float((weighted * paid).sum() / (weighted * first).sum())
        weighted = _NORMAL_WEIGHTS * second
        curved = float((weighted * paid).sum() / (weighted * second).sum())
        return cls(unit, moments, linear - shared * curved, curved)

    def over_normal(self, weeks: Weeks) -> FloatArray:
        """Its expectation given all of a path but one normal, shape `(paths,)`."""
        excess: FloatArray = self.linear * (weeks.mean() / self.unit - self.moments.mean)
        excess += self.square * (weeks.mean_square() / self.unit**2 - self.moments.mean_square)
        return excess


@frozen
class LogControl:
    """A quadratic in the mean `G` of the log prices, and their variance `Q` around it.

    `linear * (G - E[G]) + square * ((G - E[G])**2 - Var[G]) + spread * (Q - E[Q])`
    """

    moments: LogMoments
    linear: float
    square: float
    spread: float

    @classmethod
    def fit(cls, payoff: Payoff, moments: LogMoments) -> LogControl:
        """Least squares for a normal `G`, with `exp(G + Q / 2)` for the mean price."""
        deviation = sqrt(moments.variance)
        price = np.exp(moments.mean + moments.spread / 2 + deviation * _NORMAL_POINTS)
        weighted = _NORMAL_WEIGHTS * payoff(price)
        # The mean slope of the payoff, by Stein's identity.
        linear = float((weighted * _NORMAL_POINTS).sum()) / deviation
        square = float((weighted * (_NORMAL_POINTS**2 - 1)).sum()) / (2 * moments.variance)
        return cls(moments, linear, square, linear / 2)

    def over_normal(self, weeks: Weeks) -> FloatArray:
        """Its expectation given all of a path but one normal, shape `(paths,)`."""
        excess = weeks.centre.mean(axis=1) - self.moments.mean
        squared = excess**2 + weeks.slope.mean(axis=1) ** 2 - self.moments.variance
        spread = weeks.centre.var(axis=1) + weeks.slope.var(axis=1) - self.moments.spread
        control: FloatArray = self.linear * excess + self.square * squared + self.spread * spread
        return control
