"""Where a calibration starts: the likeliest of some hundred models of the hourly steps.

A step is `r[i] - phi * r[i-1]` with `phi` by least squares. Without time, its distribution is all
that the other parameters are about, and few points describe it: the steps in their order, the
outermost one by one, those between as means of equal numbers. The likelihood of a few hundred
models over these points costs as much as two over all hours. On 201 series from calm to extreme, a
search that starts there ended above the best minimum known 10 times, by up to 7; the best of three
searches from moments did so 21 times, by up to 3,344.
"""

from __future__ import annotations

from math import prod

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

_CALM_SHAPE = (_JUMP_PROBABILITY.size, _JUMP_MEAN.size, _CALM_VARIANCE.size)
_CALM_MODELS = prod(_CALM_SHAPE)
_MODELS = _JUMP_VARIANCE.size * _CALM_MODELS

# A few large jumps may make most of the variance of the steps. More than this part of it is left to
# the grid.
_LARGEST_MEAN_RATIO = 4.0
_LARGEST_VARIANCE_RATIO = 10.0

# Deviations that the middle half of a normal is wide.
_MIDDLE_HALF = 1.349

# Least squares for phi are repeated so often with less weight for large steps, which are jumps.
_REWEIGHTED = 2

# Below 1, so that the residual returns.
_LARGEST_PHI = 0.999


def likeliest_start(residual: FloatArray) -> FloatArray:
    """The likeliest model of the grid, in the order of `PARAMETER_NAMES`."""
    phi, steps, calm = _ordered_steps(residual)
    mean, total = mean_and_variance(steps)
    point, weight = _points(steps)
    deviation = calm**0.5
    # Axes: what a jump adds to the variance, probability and mean of a jump, variance without one.
    # In units of the calm deviation; a step has the mean of all steps on average, jumps included.
    added = _JUMP_VARIANCE * min(total / calm, _LARGEST_VARIANCE_RATIO)
    jump = _JUMP_MEAN * min(total / calm, _LARGEST_MEAN_RATIO) ** 0.5
    probability, mean_of_jump = _JUMP_PROBABILITY[:, None, None], jump[:, None]
    calm_mean = -probability * mean_of_jump
    # The log density of each model at each point is a quadratic: those with a jump, then without.
    wide = added[:, None, None, None] + _CALM_VARIANCE
    quadratic = np.empty((_MODELS + _CALM_MODELS, 3))
    with_jump = quadratic[:_MODELS].reshape(wide.shape[0], *_CALM_SHAPE, 3)
    without = quadratic[_MODELS:].reshape(*_CALM_SHAPE, 3)
    _set_log_density(with_jump, calm_mean + mean_of_jump, wide, probability)
    _set_log_density(without, calm_mean, _CALM_VARIANCE, 1 - probability)
    point = (point - mean) / deviation
    densities = quadratic @ np.stack((point**2, point, np.ones_like(point)))
    np.exp(densities, out=densities)
    density = densities[:_MODELS].reshape(wide.shape[0], -1)
    density += densities[_MODELS:].ravel()
    density += DENSITY_FLOOR
    likelihood = np.log(density, out=density).reshape(_MODELS, -1) @ weight
    of_jump, of_probability, of_mean, of_calm = np.unravel_index(
        likelihood.argmax(), with_jump.shape[:-1]
    )
    lam, mu_j = float(_JUMP_PROBABILITY[of_probability]), float(jump[of_mean]) * deviation
    sigma_sq, sigma_sq_j = float(_CALM_VARIANCE[of_calm]) * calm, float(added[of_jump]) * calm
    return np.array([mean - lam * mu_j, phi, mu_j, sigma_sq, sigma_sq_j, lam])


def _set_log_density(
    quadratic: FloatArray, mean: FloatArray, variance: FloatArray, weight: FloatArray
) -> None:
    """Coefficients of the log of a weighted normal density, up to a constant of all models."""
    precision = 1 / variance
    pull = mean * precision
    quadratic[..., 0] = -0.5 * precision
    quadratic[..., 1] = pull
    quadratic[..., 2] = np.log(weight * np.sqrt(precision)) - 0.5 * mean * pull


def starts_of_moments(residual: FloatArray) -> list[FloatArray]:
    """Ordinary, frequent and rare jumps, on top of what the steps show without a model of jumps."""
    phi, steps, calm = _ordered_steps(residual)
    _, total = mean_and_variance(steps)
    middle, mu_j = float(steps[steps.size // 2]), 0.1 * total**0.5
    return [
        np.array([middle, phi, mu_j, min(calm, total), spread * total, lam])
        for spread, lam in ((3.0, 0.1), (1.0, 0.3), (10.0, 0.03))
    ]


def _ordered_steps(residual: FloatArray) -> tuple[float, FloatArray, float]:
    """Least squares `phi`, the steps in ascending order, and their variance without jumps."""
    now, before = residual[1:], residual[:-1]
    phi = float(now @ before / (before @ before))
    for _ in range(_REWEIGHTED):
        size = (now - phi * before) ** 2
        faded = before / (size + 0.25 / size.size * float(size.sum()))
        phi = float(now @ faded / (before @ faded))
    phi = min(max(phi, 0.0), _LARGEST_PHI)
    # Single precision is enough for a start, and sorted in half the time.
    steps = np.sort((now - phi * before).astype(np.float32)).astype(np.float64)
    _, total = mean_and_variance(steps)
    # The middle half of the steps is all but free of jumps, so its width gives the variance of an
    # hour without one.
    width = float(steps[3 * steps.size // 4] - steps[steps.size // 4])
    return phi, steps, min(max((width / _MIDDLE_HALF) ** 2, 0.01 * total), total)


def _points(steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Few points that stand for the ordered steps, and how many steps each of them is."""
    last = steps.size - _OUTERMOST
    cuts = _OUTERMOST + np.arange(_MEANS + 1) * (last - _OUTERMOST) // _MEANS
    count = np.diff(cuts)
    means = np.add.reduceat(steps[:last], cuts[:-1]) / count
    outer = np.ones(_OUTERMOST)
    points = np.concatenate((steps[:_OUTERMOST], means, steps[last:]))
    return points, np.concatenate((outer, count, outer))
