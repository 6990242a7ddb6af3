"""Where a calibration starts: the likeliest of some hundred models of the hourly steps.

A step is `r[i] - phi * r[i-1]` with `phi` by least squares. Without time, its distribution is all
that the other parameters are about, and few points describe it: the steps in their order, the
outermost one by one, those between as means of equal numbers. The likelihood of a few hundred
models over these points costs as much as two over all hours. On 201 series from calm to extreme, a
search that starts there ended above the best minimum known 10 times, by up to 7; the best of three
searches from moments did so 21 times, by up to 3,344.
"""

from __future__ import annotations

import numpy as np

from prover_reserve_price.jump_model import DENSITY_FLOOR
from prover_reserve_price.season import FloatArray

# Steps at either end that are points of their own, and means between them.
_OUTERMOST = 6
_MEANS = 32

# The grid: probability of a jump; its mean, in deviations of a step; variance without a jump, and
# what a jump adds, both in terms of what the middle half of the steps shows.
_JUMP_PROBABILITY = np.array([0.01, 0.05, 0.15, 0.35, 0.6])
_JUMP_MEAN = np.array([0.1, 1.0, 4.0])
_CALM_VARIANCE = np.array([0.05, 0.3, 0.6, 1.0])
_JUMP_VARIANCE = np.array([0.1, 1.0, 4.0, 30.0])

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
    mean, total = float(steps.mean()), float(steps.var())
    point, weight = _points(steps)
    deviation = calm**0.5
    # Axes: probability and mean of a jump, variances without and of a jump, points. In units of
    # the calm deviation; a step has the mean of all steps on average, jumps included.
    probability = _JUMP_PROBABILITY[:, None, None, None, None]
    jump = _JUMP_MEAN[:, None, None, None] * min(total / calm, _LARGEST_MEAN_RATIO) ** 0.5
    variance = _CALM_VARIANCE[:, None, None]
    added = _JUMP_VARIANCE[:, None] * min(total / calm, _LARGEST_VARIANCE_RATIO)
    wide = variance + added
    from_calm = (point - mean) / deviation + probability * jump
    density = np.exp((-0.5 / wide) * (from_calm - jump) ** 2) * (probability / wide**0.5)
    density += np.exp((-0.5 / variance) * from_calm**2) * ((1 - probability) / variance**0.5)
    density += DENSITY_FLOOR
    likelihood = np.log(density, out=density) @ weight
    best = np.unravel_index(likelihood.argmax(), likelihood.shape)
    lam = float(_JUMP_PROBABILITY[best[0]])
    mu_j = float(jump[best[1], 0, 0, 0]) * deviation
    sigma_sq, sigma_sq_j = float(variance[best[2], 0, 0]) * calm, float(added[best[3], 0]) * calm
    return np.array([mean - lam * mu_j, phi, mu_j, sigma_sq, sigma_sq_j, lam])


def starts_of_moments(residual: FloatArray) -> list[FloatArray]:
    """Ordinary, frequent and rare jumps, on top of what the steps show without a model of jumps."""
    phi, steps, calm = _ordered_steps(residual)
    total = float(steps.var())
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
        faded = before / (size + 0.25 * size.mean())
        phi = float(now @ faded / (before @ faded))
    phi = min(max(phi, 0.0), _LARGEST_PHI)
    steps = np.sort(now - phi * before)
    total = float(steps.var())
    # The middle half of the steps is all but free of jumps, so its width gives the variance of an
    # hour without one.
    width = float(steps[3 * steps.size // 4] - steps[steps.size // 4])
    return phi, steps, min(max((width / _MIDDLE_HALF) ** 2, 0.01 * total), total)


def _points(steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Few points that stand for the ordered steps, and how many steps each of them is."""
    last = steps.size - _OUTERMOST
    cuts = np.linspace(_OUTERMOST, last, _MEANS + 1).astype(np.intp)
    count = np.diff(cuts)
    means = np.add.reduceat(steps[:last], cuts[:-1]) / count
    outer = np.ones(_OUTERMOST)
    points = np.concatenate((steps[:_OUTERMOST], means, steps[last:]))
    return points, np.concatenate((outer, count, outer))
