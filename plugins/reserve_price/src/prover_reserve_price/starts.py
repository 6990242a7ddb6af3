"""Where a calibration starts: the likeliest of some hundred models of the hourly steps.

A step is `r[i] - phi * r[i-1]` with `phi` by least squares. Without time, its distribution is all
that the other parameters are about, and few points describe it: the steps in their order, the
outermost one by one, those between as means of equal numbers. The likelihood of a few hundred
models over these points costs as much as two over all hours. On 201 series from calm to extreme, a
search that starts there ended above the best minimum known 10 times, by up to 7; the best of three
searches from moments did so 21 times, by up to 3,344. From the likeliest of them two steps of
expectation and maximisation go on, over the same points. On 260 other series, the search ended at
the same minimum with and without them, and took one step less.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np

from prover_reserve_price.jump_model import DENSITY_FLOOR
from prover_reserve_price.season import FloatArray, mean_and_variance

# Steps at either end that are points of their own, and means between them.
_OUTERMOST = 6
_MEANS = 32

# The grid: probability of a jump; its mean, in deviations of a step; variance without a jump, and
# what a jump adds, both in terms of what the middle half of the steps shows.
_JUMP_PROBABILITY = np.array([0.01, 0.05, 0.15, 0.35, 0.6])
_JUMP_MEAN = np.array([0.1, 1.0, 4.0])
_CALM_VARIANCE = np.array([0.05, 0.3, 0.6, 1.0])
_JUMP_VARIANCE = np.array([0.1, 1.0, 4.0, 30.0])

# Axes as in `likeliest_start`: models with a jump of each variance, and without.
_SHAPE = (_JUMP_VARIANCE.size + 1, _JUMP_PROBABILITY.size, _JUMP_MEAN.size, _CALM_VARIANCE.size)
# Mean of a jump times this is the mean of the component, where that of all steps is zero.
_MEAN_IN_JUMPS = np.empty((_SHAPE[0], _SHAPE[1], 1, 1))
_MEAN_IN_JUMPS[:-1] = (1 - _JUMP_PROBABILITY)[:, None, None]
_MEAN_IN_JUMPS[-1] = -_JUMP_PROBABILITY[:, None, None]
_LOG_PROBABILITY = np.empty_like(_MEAN_IN_JUMPS)
_LOG_PROBABILITY[:-1] = np.log(_JUMP_PROBABILITY)[:, None, None]
_LOG_PROBABILITY[-1] = np.log(1 - _JUMP_PROBABILITY)[:, None, None]

# A few large jumps may make most of the variance of the steps. More than this part of it is left to
# the grid.
_LARGEST_MEAN_RATIO = 4.0
_LARGEST_VARIANCE_RATIO = 10.0

# Deviations that the middle half of a normal is wide.
_MIDDLE_HALF = 1.349

# Least squares for phi are repeated so often with less weight for large steps, which are jumps.
_REWEIGHTED = 2

# Steps of expectation and maximisation from the likeliest of the grid, over the same points. Each
# costs a tenth of a step of the search, and two of them save one of those.
_CLIMBED = 2

# But not where jumps are this common: there, they may lead to the model that has both kinds of hour
# exchanged, and it is less likely.
_COMMON = 0.5

# Such a step leaves a variance at least this part, and either kind of hour this part of all hours:
# a few points alone could make a variance of zero.
_LEAST_VARIANCE_KEPT = 0.1
_LEAST_PART = 1e-3

# A jump has at least this many times the variance of an hour without one.
_LEAST_WIDER = 1.001

# Below 1, so that the residual returns.
_LARGEST_PHI = 0.999


def likeliest_start(residual: FloatArray) -> FloatArray:
    """The likeliest model of the grid, a little improved, in the order of `PARAMETER_NAMES`."""
    phi, steps, calm, mean, total = _ordered_steps(residual)
    point, weight = _points(steps)
    deviation = calm**0.5
    # Axes: what a jump adds to the variance, probability and mean of a jump, variance without one.
    # In units of the calm deviation; a step has the mean of all steps on average, jumps included.
    added = _JUMP_VARIANCE * min(total / calm, _LARGEST_VARIANCE_RATIO)
    jump = _JUMP_MEAN * min(total / calm, _LARGEST_MEAN_RATIO) ** 0.5
    # The log density at a point is a quadratic in it, up to a constant of all models. That of an
    # hour without a jump follows after those with one, as if a jump added nothing.
    precision = np.empty((_JUMP_VARIANCE.size + 1, 1, 1, _CALM_VARIANCE.size))
    precision[-1] = 1 / _CALM_VARIANCE
    np.divide(1.0, added[:, None, None, None] + _CALM_VARIANCE, out=precision[:-1])
    mean_here = _MEAN_IN_JUMPS * jump[:, None]
    quadratic = np.empty((*_SHAPE, 3))
    quadratic[..., 0] = -0.5 * precision
    pull = np.multiply(mean_here, precision, out=quadratic[..., 1])
    quadratic[..., 2] = _LOG_PROBABILITY + 0.5 * np.log(precision) - 0.5 * mean_here * pull
    point = (point - mean) / deviation
    powers = np.stack((point**2, point, np.ones_like(point)))
    densities = (quadratic.reshape(-1, 3) @ powers).reshape(_SHAPE[0], -1)
    np.exp(densities, out=densities)
    density = densities[:-1]
    density += densities[-1]
    density += DENSITY_FLOOR
    likelihood = np.log(density, out=density).reshape(-1, point.size) @ weight
    of_jump, of_probability, of_mean, of_calm = np.unravel_index(likelihood.argmax(), _SHAPE)
    lam, mu_j = float(_JUMP_PROBABILITY[of_probability]), float(jump[of_mean])
    variance = float(_CALM_VARIANCE[of_calm])
    model = lam, -lam * mu_j, (1 - lam) * mu_j, variance, variance + float(added[of_jump])
    for _ in range(_CLIMBED if lam < _COMMON else 0):
        model = _likelier(powers, weight, model)
    lam, a, of_jump_hour, variance, wide = model
    return np.array(
        [
            mean + a * deviation,
            phi,
            (of_jump_hour - a) * deviation,
            variance * calm,
            (wide - variance) * calm,
            lam,
        ]
    )


# Probability of a jump, mean without and with one, variance without and with one.
_Mixture = tuple[float, float, float, float, float]


def _likelier(powers: FloatArray, weight: FloatArray, model: _Mixture) -> _Mixture:
    """One step of expectation and maximisation for two normals over weighted points.

    Args:
        powers: Square of each point, the point, and one, shape `(3, points)`.
        weight: How many steps each point is, shape `(points,)`.
        model: The model to start from.
    """
    lam, mean, jump_mean, variance, wide = model
    quadratics = [
        [-0.5 / v, m / v, log(part / sqrt(v)) - 0.5 * m * m / v]
        for part, m, v in ((1 - lam, mean, variance), (lam, jump_mean, wide))
    ]
    density = np.exp(np.array(quadratics) @ powers)
    density *= weight / (density[0] + density[1] + DENSITY_FLOOR)
    (square, first, calm), (jump_square, jump_first, jumps) = (density @ powers.T).tolist()
    lam = jumps / (calm + jumps)
    if not _LEAST_PART <= lam <= 1 - _LEAST_PART:
        return model
    mean = first / calm
    jump_mean = max(jump_first / jumps, mean)
    variance = max(square / calm - mean**2, _LEAST_VARIANCE_KEPT * variance)
    wide = max(jump_square / jumps - jump_mean**2, _LEAST_WIDER * variance)
    return lam, mean, jump_mean, variance, wide


def starts_of_moments(residual: FloatArray) -> list[FloatArray]:
    """Ordinary, frequent and rare jumps, on top of what the steps show without a model of jumps."""
    phi, steps, calm, _, total = _ordered_steps(residual)
    middle, mu_j = float(steps[steps.size // 2]), 0.1 * total**0.5
    return [
        np.array([middle, phi, mu_j, min(calm, total), spread * total, lam])
        for spread, lam in ((3.0, 0.1), (1.0, 0.3), (10.0, 0.03))
    ]


def _ordered_steps(residual: FloatArray) -> tuple[float, FloatArray, float, float, float]:
    """Least squares `phi`, the steps in ascending order, and numbers of them.

    These are their variance without jumps, their mean, and their variance.
    """
    now, before = residual[1:], residual[:-1]
    phi = float(now @ before / (before @ before))
    for _ in range(_REWEIGHTED):
        size = (now - phi * before) ** 2
        faded = before / (size + 0.25 / size.size * float(size.sum()))
        phi = float(now @ faded / (before @ faded))
    phi = min(max(phi, 0.0), _LARGEST_PHI)
    # Single precision is enough for a start, and sorted in half the time.
    steps = np.sort((now - phi * before).astype(np.float32)).astype(np.float64)
    mean, total = mean_and_variance(steps)
    # The middle half of the steps is all but free of jumps, so its width gives the variance of an
    # hour without one.
    width = float(steps[3 * steps.size // 4] - steps[steps.size // 4])
    calm = min(max((width / _MIDDLE_HALF) ** 2, 0.01 * total), total)
    return phi, steps, calm, mean, total


def _points(steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Few points that stand for the ordered steps, and how many steps each of them is."""
    last = steps.size - _OUTERMOST
    cuts = _OUTERMOST + np.arange(_MEANS + 1) * (last - _OUTERMOST) // _MEANS
    count = np.diff(cuts)
    means = np.add.reduceat(steps[:last], cuts[:-1]) / count
    outer = np.ones(_OUTERMOST)
    points = np.concatenate((steps[:_OUTERMOST], means, steps[last:]))
    return points, np.concatenate((outer, count, outer))
