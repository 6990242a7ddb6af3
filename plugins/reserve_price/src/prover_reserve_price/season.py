"""From hourly base fees to what the jump model sees: logarithm, minus trend, minus season.

    ln x[i] = (slope * i + intercept) + season(i) + residual[i]

The trend is the least squares line through all hours. The season is the least squares fit, to what
the trend leaves, of a daily and a weekly wave with 1, 2 and 4 cycles each.
"""

from __future__ import annotations

from math import pi

import numpy as np
import numpy.typing as npt
from attrs import frozen
from scipy.linalg.lapack import dposv

FloatArray = npt.NDArray[np.float64]

# Hours of one wave. The order of periods, multiples and of sine before cosine is the order of the
# coefficients in a receipt.
SEASON_PERIODS_HOURS = (24, 168)

# j in sin(j * pi * t / period): half the number of cycles in a period.
SEASON_MULTIPLES = (2, 4, 8)

SEASON_COLUMNS = len(SEASON_PERIODS_HOURS) * len(SEASON_MULTIPLES) * 2

# Every column repeats after the longest period, of which the others are divisors.
_SEASON_REPEATS_HOURS = max(SEASON_PERIODS_HOURS)


@frozen
class Trend:
    """The line `slope * t + intercept`: log wei at hour `t` counted from the first hour."""

    slope: float
    intercept: float

    def at(self, t: float) -> float:
        """Log fee of the trend, `t` hours after the first hour."""
        return self.slope * t + self.intercept


@frozen
class Season:
    """A daily and a weekly wave in the log fee; `coefficients` are in the order of the columns."""

    coefficients: tuple[float, ...]

    def at(self, t: npt.ArrayLike) -> FloatArray:
        """Season of the log fee, `t` in hours after the first hour; the shape of `t`."""
        t = np.asarray(t)
        whole = t.dtype.kind in "iu"
        design = _WEEK[t % _SEASON_REPEATS_HOURS] if whole else design_matrix(t)
        season: FloatArray = design @ np.array(self.coefficients)
        return season


@frozen(eq=False)
class Decomposition:
    """A log fee taken apart; `residual` has one value for each hour."""

    trend: Trend
    season: Season
    residual: FloatArray


def design_matrix(t: npt.ArrayLike) -> FloatArray:
    """The columns of the season, shape `t.shape + (12,)`; `t` in hours, whole or not."""
    # Reduced first: the sine of a large angle loses digits, the sine of the same hour of the first
    # week does not.
    hour = np.mod(np.asarray(t, dtype=np.float64), _SEASON_REPEATS_HOURS)
    angles = [j * pi * hour / period for period in SEASON_PERIODS_HOURS for j in SEASON_MULTIPLES]
    return np.stack([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=-1)


# The design of a week, of which every design repeats rows.
_WEEK = design_matrix(np.arange(_SEASON_REPEATS_HOURS))


def decompose(log_fee: FloatArray) -> Decomposition:
    """Take the log fee of consecutive hours, shape `(n,)`, apart."""
    trend = _fit_line(log_fee)
    residual = np.arange(float(log_fee.size))
    residual *= -trend.slope
    residual += log_fee - trend.intercept

    # All hours of the same hour of the week share one row of the design, so the normal equations
    # over n rows are those over 168, weighted by the number of their hours. The columns are all but
    # orthogonal, so that no digits are lost in them.
    weeks, more = divmod(log_fee.size, _SEASON_REPEATS_HOURS)
    cut = log_fee.size - more
    whole, rest = residual[:cut].reshape(weeks, -1), residual[cut:]
    total = whole.sum(axis=0)
    total[:more] += rest
    count = np.full((_SEASON_REPEATS_HOURS, 1), float(weeks))
    count[:more] += 1
    coefficients = dposv(_WEEK.T @ (_WEEK * count), _WEEK.T @ total)[1]

    season = _WEEK @ coefficients
    whole -= season
    rest -= season[:more]
    return Decomposition(trend, Season(tuple(coefficients.tolist())), residual)


def mean_and_variance(values: FloatArray) -> tuple[float, float]:
    """Mean and population variance, shape `(n,)`; numpy's take any shape and thrice the time."""
    mean = float(np.add.reduce(values)) / values.size
    away = values - mean
    away *= away
    return mean, float(np.add.reduce(away)) / values.size


def _fit_line(y: FloatArray) -> Trend:
    """Least squares line through `(i, y[i])`, in the centred form, which keeps all digits."""
    n = y.size
    centre = (n - 1) / 2
    mean = float(np.add.reduce(y)) / n
    # Sum of (i - centre)**2 over 0..n-1.
    spread = n * (n * n - 1) / 12
    from_centre = np.arange(n) - centre
    from_centre *= y - mean
    slope = float(np.add.reduce(from_centre)) / spread
    return Trend(slope, mean - slope * centre)
