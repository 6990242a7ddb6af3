"""The first two moments of the last week's mean price, which are known without a draw.

The residual is a linear process: `P[i] = phi**i * P[0] + sum of phi**m * e[i-m] for m < i` with
independent innovations `e`, each normal or, with probability lambda, a jump. So the expectation of
`exp(c * P[i])` is a product over the innovations of their moment generating function `M`:

    ln E[exp(c * P[i])] = c * phi**i * P[0] + sum of ln M(c * phi**m) for m < i  =: L(c, i)

The mean `A` of the prices of a week has `E[A]` from `c = 1`. Its square is a double sum, and as
`P[i] + P[i+d] = (1 + phi**d) * P[i] + the d innovations between, faded`, it needs `c = 1 + phi**d`
for each distance `d`. All these lie in [1, 2], where `exp(L)` is smooth in `c`: it is computed at a
few Chebyshev points and interpolated, to ten digits or more where the moments are used at all.

`ln M(u)` is the quadratic of a normal with the mean and variance of `e`, whose sums are geometric,
and an excess of third order in `u`, which is summed over those `m` where it is not zero yet.

How far a price is from a lognormal is told by its fourth moment, again from `L`: it says whether
paths that no sample holds make up the moments.
"""

from __future__ import annotations

from math import pi

import numpy as np
from attrs import frozen

from prover_reserve_price.jump_model import JumpParameters
from prover_reserve_price.season import FloatArray

# Chebyshev points of [-1, 1], first and last at its ends, and the matrix from values there to
# coefficients of powers. So few of them lose four digits by that, and sixteen are there.
_DEGREE = 11
_POINTS = np.cos(pi * np.arange(_DEGREE + 1) / _DEGREE)
_TO_COEFFICIENTS = np.linalg.inv(np.vander(_POINTS, increasing=True))

# The same points in [1, 2], as factors c; the last is 1.
_FACTORS = 1.5 + 0.5 * _POINTS

# A power of phi below this, its cube times a third cumulant, is beyond the digits of a sum.
_FADED = 1e-5

# Where all of the residual's past has faded to this, each hour of the week has the same law.
_SETTLED = 1e-18


@frozen
class WeekMoments:
    """Moments of the mean price of the last week, in a unit of the caller's."""

    mean: float
    mean_square: float


def week_moments(
    jumps: JumpParameters,
    last_residual: float,
    powers: FloatArray,
    log_level: FloatArray,
    walk_variance: float,
) -> WeekMoments:
    """`E[A]` and `E[A**2]`; infinite or not a number where they are beyond floating point.

    Args:
        jumps: The law of the residual's step.
        last_residual: `P[0]`.
        powers: `phi**m` for `m` from 0 to the last hour of the week, shape `(hours,)`.
        log_level: Log price of each hour of the week without the residual and the walk's noise,
            shape `(week,)`; the drift of the walk is part of it.
        walk_variance: Variance of one hour's step of the walk, which starts with the week.
    """
    week = log_level.size
    first = powers.size - week
    lags = powers[: _lags(powers)]
    # Row after row the excess over m < i, for i from 1 on: shape (factors, lags).
    excess = _log_excess(jumps, _FACTORS[:, None] * lags).cumsum(axis=1)
    step_mean, step_variance = _step(jumps)
    faded = step_mean * powers[:-1].cumsum()
    half_variance = 0.5 * step_variance * (powers[:-1] ** 2).cumsum()

    # Hours of the week, or only the last where all are the same: shape (factors, week or 1).
    seen = np.arange(powers.size - 1 if powers[first] < _SETTLED else first, powers.size)
    factor = _FACTORS[:, None]
    log_residual = (half_variance[seen - 1] * factor + faded[seen - 1]) * factor
    log_residual += last_residual * factor * powers[seen]
    log_residual += excess[:, np.minimum(seen, lags.size) - 1]
    price = np.exp(log_residual, out=log_residual)

    hours = np.arange(1.0, week + 1)
    level = log_level + 0.5 * walk_variance * hours
    # The walk is common to two hours up to the first of them.
    later, first_of_two = np.exp(level), np.exp(level + walk_variance * hours)
    mean = float(np.add.reduce(price[-1] * later)) / week

    # For each factor and each distance d the sum over hours i of the week, with hour i + d; beyond
    # the week is nothing.
    padded = np.concatenate((later, np.zeros(week - 1)))
    place = 2 * powers[:week] - 1
    of_place = np.ones((_DEGREE + 1, week))
    for degree in range(1, _DEGREE + 1):
        np.multiply(of_place[degree - 1], place, out=of_place[degree])
    if seen.size == 1:
        by_distance = np.correlate(padded, first_of_two)
        by_distance *= _TO_COEFFICIENTS @ price[:, 0] @ of_place
    else:
        distances = np.lib.stride_tricks.sliding_window_view(padded, week)
        sums = price * first_of_two @ distances.T
        by_distance = (sums * (_TO_COEFFICIENTS.T @ of_place)).sum(axis=0)
    # The innovations between two hours.
    between = faded[: week - 1] + half_variance[: week - 1]
    between += excess[-1, np.minimum(np.arange(week - 1), lags.size - 1)]
    by_distance[1:] *= np.exp(between)
    return WeekMoments(mean, float(2 * by_distance.sum() - by_distance[0]) / week**2)


@frozen
class LogMoments:
    """Moments of the log prices of the last week."""

    mean: float
    """Expectation of their mean `G`."""
    variance: float
    """Variance of `G`."""
    spread: float
    """Expectation of their variance around `G`."""


def log_moments(
    jumps: JumpParameters,
    last_residual: float,
    powers: FloatArray,
    log_level: FloatArray,
    walk_variance: float,
) -> LogMoments:
    """From means and covariances of the log prices; the arguments are those of `week_moments`."""
    week = log_level.size
    first = powers.size - week
    step_mean, step_variance = _step(jumps)
    # Sums of phi**k over the k hours that lie between a step and the hour it is seen at.
    faded, faded_squared = np.cumsum(powers), np.cumsum(powers**2)
    seen = slice(first - 1, powers.size - 1)
    mean = powers[first:] * last_residual + step_mean * faded[seen] + log_level
    residual_variance = step_variance * faded_squared[seen]
    walked = walk_variance * np.arange(1.0, week + 1)
    # An hour's covariance with itself and twice that with each later hour of the week. The
    # residual's fades by phi each hour, the walk's stays.
    later = np.arange(week - 1, -1, -1)
    covariance = residual_variance * (2 * faded[later] - 1) + walked * (2 * later + 1)
    variance = float(covariance.sum()) / week**2
    spread = float((residual_variance + walked).mean() + mean.var()) - variance
    return LogMoments(float(mean.mean()), variance, spread)


def log_excess(jumps: JumpParameters, powers: FloatArray) -> float:
    """Log of a price's fourth moment, over that of a lognormal with the same log mean and variance.

    `powers` is as in `week_moments`; the price is that of the last hour. Zero without jumps.
    """
    return float(_log_excess(jumps, 4 * powers[: _lags(powers)]).sum())


def _step(jumps: JumpParameters) -> tuple[float, float]:
    """Mean and variance of one innovation of the residual."""
    lam = jumps.lambda_
    mean = jumps.a + lam * jumps.mu_j
    return mean, jumps.sigma_sq + lam * jumps.sigma_sq_j + lam * (1 - lam) * jumps.mu_j**2


def _lags(powers: FloatArray) -> int:
    """How many of the hours before an hour count in a sum of excesses, at least one."""
    # Powers fall, if at all; the last is of an hour that has no innovation.
    return max(1, int(np.searchsorted(-powers[:-1], -_FADED)))


def _log_excess(jumps: JumpParameters, u: FloatArray) -> FloatArray:
    """`ln E[exp(u * e)]` of an innovation of the residual, over that of a normal; as `u` in shape.

    The normal has the innovation's mean and variance.
    """
    lam = jumps.lambda_
    variance = lam * jumps.sigma_sq_j + lam * (1 - lam) * jumps.mu_j**2
    mixture = np.exp((jumps.mu_j + 0.5 * jumps.sigma_sq_j * u) * u)
    mixture *= lam
    mixture += 1 - lam
    excess: FloatArray = np.log(mixture, out=mixture)
    excess -= (lam * jumps.mu_j + 0.5 * variance * u) * u
    return excess
