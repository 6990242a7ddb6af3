"""The mean-reverting jump model of the residual log fee, and how likely it makes what was seen.

    r[i] = a + phi * r[i-1] + e[i]
    e[i] ~ N(0, sigma_sq)                  with probability 1 - lambda
           N(mu_j, sigma_sq + sigma_sq_j)  with probability lambda (an hour with a jump)

Value, gradient and Hessian of the negative log likelihood are exact. The gradient is what a
calibration is judged by; the Hessian is what makes it converge in a few steps.
"""

from __future__ import annotations

from math import pi

import numpy as np
from attrs import astuple, frozen

from prover_reserve_price.season import FloatArray

# Added to the density inside the logarithm, so that one hour the model thinks impossible costs
# 23 and not infinity. Part of the method: another value gives other parameters.
DENSITY_FLOOR = 1e-10

# The order of every parameter vector, gradient and receipt.
PARAMETER_NAMES = ("a", "phi", "mu_j", "sigma_sq", "sigma_sq_j", "lambda")

# Where a symmetric matrix repeats what stands above its diagonal.
_BELOW = np.tril_indices(len(PARAMETER_NAMES), -1)

_A, _PHI, _MU_J, _SIGMA_SQ, _SIGMA_SQ_J, _LAMBDA = range(len(PARAMETER_NAMES))


@frozen
class JumpParameters:
    """Parameters of the residual's hourly step; all are about log fees, so none has a unit."""

    a: float
    """Constant of the step."""
    phi: float
    """Part of a deviation that is left after an hour, 0 to 1."""
    mu_j: float
    """Mean of a jump, not negative."""
    sigma_sq: float
    """Variance of an hour without a jump."""
    sigma_sq_j: float
    """Variance that a jump adds."""
    lambda_: float
    """Probability that an hour has a jump, 0 to 1."""

    @classmethod
    def from_vector(cls, vector: FloatArray) -> JumpParameters:
        """The parameters from an array in the order of `PARAMETER_NAMES`."""
        return cls(*vector.tolist())

    def to_vector(self) -> FloatArray:
        """The parameters as an array in the order of `PARAMETER_NAMES`."""
        return np.array(astuple(self), dtype=np.float64)


@frozen
class _Component:
    """One normal of the mixture: its share of each density, and derivatives of its logarithm."""

    pull: FloatArray
    """Density over the floored density of the mixture, before the weight of the component."""
    by_mean: FloatArray
    by_variance: FloatArray
    variance: float

    def second_by_mean(self) -> FloatArray:
        """Second derivative of the density by its mean, over the density."""
        return self.by_mean**2 - 1 / self.variance

    def second_by_both(self) -> FloatArray:
        """Mixed derivative of the density by mean and variance, over the density."""
        return self.by_mean * (self.by_variance - 1 / self.variance)

    def second_by_variance(self) -> FloatArray:
        """Second derivative of the density by its variance, over the density."""
        v = self.variance
        return self.by_variance * (self.by_variance - 2 / v) - 0.5 / v**2


class JumpLikelihood:
    """Negative log likelihood of a residual series, shape `(n,)`, as a function of a vector.

    A vector has the six parameters in the order of `PARAMETER_NAMES` and must lie inside the bounds
    of the model. The sum runs over the `n - 1` steps of the series.
    """

    def __init__(self, residual: FloatArray) -> None:
        self._now = np.ascontiguousarray(residual[1:])
        self._before = np.ascontiguousarray(residual[:-1])

    def value(self, vector: FloatArray) -> float:
        """`-sum(ln(density + DENSITY_FLOOR))`."""
        return self._densities(vector)[0]

    def gradient(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient, shape `(6,)`."""
        value, calm, jump = self._components(vector)
        return value, -self._scores(vector, calm, jump).sum(axis=1)

    def hessian(self, vector: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Value, gradient and Hessian, shape `(6, 6)`.

        With `q` the floored density of an hour, the second derivative of `-ln q` is the product of
        its first derivatives (the scores) minus the second derivative of the density over `q`.
        """
        value, calm, jump = self._components(vector)
        scores = self._scores(vector, calm, jump)
        lam = float(vector[_LAMBDA])
        x = self._before
        calm_pull, jump_pull = (1 - lam) * calm.pull, lam * jump.pull

        mean_jump = jump_pull * jump.second_by_mean()
        mean_all = mean_jump + calm_pull * calm.second_by_mean()
        both_jump = jump_pull * jump.second_by_both()
        both_all = both_jump + calm_pull * calm.second_by_both()
        variance_jump = float(jump_pull @ jump.second_by_variance())
        variance_all = variance_jump + float(calm_pull @ calm.second_by_variance())
        jump_mean_score = jump.pull * jump.by_mean
        jump_variance_score = float(jump.pull @ jump.by_variance)
        lambda_mean = jump_mean_score - calm.pull * calm.by_mean

        curvature = np.zeros((6, 6))
        curvature[_A, _A] = mean_all.sum()
        curvature[_A, _PHI] = mean_all @ x
        curvature[_PHI, _PHI] = mean_all @ (x * x)
        curvature[_A, _MU_J] = curvature[_MU_J, _MU_J] = mean_jump.sum()
        curvature[_PHI, _MU_J] = mean_jump @ x
        curvature[_A, _SIGMA_SQ] = both_all.sum()
        curvature[_PHI, _SIGMA_SQ] = both_all @ x
        curvature[_A, _SIGMA_SQ_J] = both_jump.sum()
        curvature[_PHI, _SIGMA_SQ_J] = both_jump @ x
        curvature[_MU_J, _SIGMA_SQ] = curvature[_MU_J, _SIGMA_SQ_J] = both_jump.sum()
        curvature[_SIGMA_SQ, _SIGMA_SQ] = variance_all
        curvature[_SIGMA_SQ, _SIGMA_SQ_J] = curvature[_SIGMA_SQ_J, _SIGMA_SQ_J] = variance_jump
        curvature[_A, _LAMBDA] = lambda_mean.sum()
        curvature[_PHI, _LAMBDA] = lambda_mean @ x
        curvature[_MU_J, _LAMBDA] = jump_mean_score.sum()
        curvature[_SIGMA_SQ, _LAMBDA] = jump_variance_score - float(calm.pull @ calm.by_variance)
        curvature[_SIGMA_SQ_J, _LAMBDA] = jump_variance_score
        curvature[_BELOW] = curvature.T[_BELOW]
        return value, -scores.sum(axis=1), scores @ scores.T - curvature

    def _densities(
        self, vector: FloatArray
    ) -> tuple[float, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Value; floored density; deviation without a jump; densities without and with a jump."""
        a, phi, mu_j, sigma_sq, sigma_sq_j, lam = vector.tolist()
        deviation = self._now - a - phi * self._before
        calm = _normal_density(deviation, sigma_sq)
        jump = _normal_density(deviation - mu_j, sigma_sq + sigma_sq_j)
        floored = lam * jump + (1 - lam) * calm + DENSITY_FLOOR
        return -float(np.log(floored).sum()), floored, deviation, calm, jump

    def _components(self, vector: FloatArray) -> tuple[float, _Component, _Component]:
        value, floored, deviation, calm, jump = self._densities(vector)
        sigma_sq = float(vector[_SIGMA_SQ])
        jump_sq = sigma_sq + float(vector[_SIGMA_SQ_J])
        inverse = 1 / floored
        calm_slope = deviation / sigma_sq
        jump_slope = (deviation - vector[_MU_J]) / jump_sq
        return (
            value,
            _Component(calm * inverse, calm_slope, 0.5 * (calm_slope**2 - 1 / sigma_sq), sigma_sq),
            _Component(jump * inverse, jump_slope, 0.5 * (jump_slope**2 - 1 / jump_sq), jump_sq),
        )

    def _scores(self, vector: FloatArray, calm: _Component, jump: _Component) -> FloatArray:
        """Derivatives of the log density of each hour, shape `(6, n - 1)`."""
        lam = float(vector[_LAMBDA])
        calm_pull, jump_pull = (1 - lam) * calm.pull, lam * jump.pull
        scores = np.empty((6, self._now.size))
        np.multiply(jump_pull, jump.by_mean, out=scores[_MU_J])
        np.multiply(calm_pull, calm.by_mean, out=scores[_A])
        scores[_A] += scores[_MU_J]
        np.multiply(scores[_A], self._before, out=scores[_PHI])
        np.multiply(jump_pull, jump.by_variance, out=scores[_SIGMA_SQ_J])
        np.multiply(calm_pull, calm.by_variance, out=scores[_SIGMA_SQ])
        scores[_SIGMA_SQ] += scores[_SIGMA_SQ_J]
        np.subtract(jump.pull, calm.pull, out=scores[_LAMBDA])
        return scores


def _normal_density(deviation: FloatArray, variance: float) -> FloatArray:
    scaled = deviation**2
    scaled *= -0.5 / variance
    np.exp(scaled, out=scaled)
    scaled /= np.sqrt(2 * pi * variance)
    return scaled
