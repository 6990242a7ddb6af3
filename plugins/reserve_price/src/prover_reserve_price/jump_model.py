"""The mean-reverting jump model of the residual log fee, and how likely it makes what was seen.

    r[i] = a + phi * r[i-1] + e[i]
    e[i] ~ N(0, sigma_sq)                  with probability 1 - lambda
           N(mu_j, sigma_sq + sigma_sq_j)  with probability lambda (an hour with a jump)

Value, gradient and Hessian of the negative log likelihood are exact. The gradient is what a
calibration is judged by; the Hessian is what makes it converge in a few steps.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from attrs import astuple, frozen

from prover_reserve_price.season import FloatArray

# Added to the density inside the logarithm, so that one hour the model thinks impossible costs
# 23 and not infinity. Part of the method: another value gives other parameters.
DENSITY_FLOOR = 1e-10

# The order of every parameter vector, gradient and receipt.
PARAMETER_NAMES = ("a", "phi", "mu_j", "sigma_sq", "sigma_sq_j", "lambda")

_LAMBDA = PARAMETER_NAMES.index("lambda")

# Rows that the derivatives of a component's density are made of, as factors of the density: by its
# mean, that times the hour before, by its variance; one; the hour before.
_CALM_ROWS = (0, 1, 2, 3, 4)
_JUMP_ROWS = (2, 3, 4, 0, 1)

# Which parameters move mean, slope and variance of the components (columns).
_BY_CALM = np.zeros((6, 3))
_BY_CALM[[0, 1, 3], [0, 1, 2]] = 1.0
_BY_JUMP = _BY_CALM.copy()
_BY_JUMP[[2, 4], [0, 2]] = 1.0


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


class JumpLikelihood:
    """Negative log likelihood of a residual series, shape `(n,)`, as a function of a vector.

    A vector has the six parameters in the order of `PARAMETER_NAMES` and must lie inside the bounds
    of the model. The sum runs over the `n - 1` steps of the series.
    """

    def __init__(self, residual: FloatArray) -> None:
        self._now = np.ascontiguousarray(residual[1:])
        self._before = np.ascontiguousarray(residual[:-1])
        # Room for one evaluation: so large that to get it anew each time takes a third of its time.
        # What the derivatives of each hour are made of: the first five rows for the hour without a
        # jump, in the order of `_CALM_ROWS`, the last five for one with a jump, as `_JUMP_ROWS`.
        self._rows = np.empty((8, self._now.size))
        self._rows[3] = 1.0
        self._rows[4] = self._before
        self._pulled = np.empty((10, self._now.size))
        # The vector that the rows were filled for, and what came with them.
        self._filled: tuple[list[float], tuple[float, FloatArray, FloatArray]] | None = None

    def value(self, vector: FloatArray) -> float:
        """`-sum(ln(density + DENSITY_FLOOR))`."""
        return self.gradient(vector)[0]

    def gradient(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient, shape `(6,)`."""
        value, calm, jump = self._pulls(vector)
        sums = np.concatenate((self._rows[:5] @ calm, self._rows[3:] @ jump))
        return value, -(_to_scores(vector) @ sums)

    def hessian(self, vector: FloatArray) -> FloatArray:
        """Second derivatives, shape `(6, 6)`.

        With `q` the floored density of an hour, the second derivative of `-ln q` is the product of
        its first derivatives (the scores) minus the second derivative of the density over `q`. All
        are sums over products of two of a few rows.
        """
        _, calm_pull, jump_pull = self._pulls(vector)
        rows, pulled = self._rows, self._pulled
        np.multiply(rows[:5], calm_pull, out=pulled[:5])
        np.multiply(rows[3:], jump_pull, out=pulled[5:])
        calm = pulled[:5] @ rows[:5].T
        jump = pulled[5:] @ rows[3:].T
        to_scores = _to_scores(vector)

        *_, sigma_sq, sigma_sq_j, lam = vector.tolist()
        of_calm = _second(calm, _CALM_ROWS, sigma_sq)
        of_jump = _second(jump, _JUMP_ROWS, sigma_sq + sigma_sq_j)
        curvature = (1 - lam) * (_BY_CALM @ of_calm @ _BY_CALM.T)
        curvature += lam * (_BY_JUMP @ of_jump @ _BY_JUMP.T)
        by_lambda = _BY_JUMP @ jump[2:, 0] - _BY_CALM @ calm[:3, 3]
        curvature[_LAMBDA] += by_lambda
        curvature[:, _LAMBDA] += by_lambda
        second: FloatArray = to_scores @ (pulled @ pulled.T) @ to_scores.T
        second -= curvature
        # Both triangles differ by the rounding of products in another order.
        return (second + second.T) / 2

    def _pulls(self, vector: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Value, and each component's density over the floored one of the mixture; fills the rows.

        The Hessian is asked for where the gradient was before: then all of it is there.
        """
        parameters = vector.tolist()
        if self._filled is None or self._filled[0] != parameters:
            self._filled = parameters, self._fill(*parameters)
        return self._filled[1]

    def _fill(
        self, a: float, phi: float, mu_j: float, sigma_sq: float, sigma_sq_j: float, lam: float
    ) -> tuple[float, FloatArray, FloatArray]:
        rows, before = self._rows, self._before
        deviation = before * -phi
        deviation += self._now
        deviation -= a
        calm = _normal_density(deviation, sigma_sq, rows[0], rows[2])
        np.multiply(rows[0], before, out=rows[1])
        deviation -= mu_j
        jump = _normal_density(deviation, sigma_sq + sigma_sq_j, rows[5], rows[7])
        np.multiply(rows[5], before, out=rows[6])
        floored = lam * jump
        floored += (1 - lam) * calm
        floored += DENSITY_FLOOR
        calm /= floored
        jump /= floored
        return -float(np.log(floored, out=floored).sum()), calm, jump


def _normal_density(
    deviation: FloatArray, variance: float, by_mean: FloatArray, by_variance: FloatArray
) -> FloatArray:
    """Density; writes its derivatives by mean and variance, over itself."""
    np.multiply(deviation, 1 / variance, out=by_mean)
    np.multiply(by_mean, deviation, out=by_variance)
    density: FloatArray = by_variance * -0.5
    np.exp(density, out=density)
    density *= 1 / sqrt(2 * pi * variance)
    by_variance -= 1.0
    by_variance *= 0.5 / variance
    return density


def _to_scores(vector: FloatArray) -> FloatArray:
    """From the rows times their densities to the derivatives of each log density, `(6, 10)`."""
    lam = float(vector[_LAMBDA])
    to_scores = np.zeros((6, 10))
    to_scores[:, 0:3] = (1 - lam) * _BY_CALM
    to_scores[:, 7:10] = lam * _BY_JUMP
    to_scores[_LAMBDA, 3], to_scores[_LAMBDA, 5] = -1.0, 1.0
    return to_scores


def _second(products: FloatArray, rows: tuple[int, ...], variance: float) -> FloatArray:
    """Second derivatives of a density by mean, slope and variance, over the mixture; `(3, 3)`.

    `products` are the sums over rows times rows times the density over the mixture.
    """
    mean, slope, spread, one, before = rows
    sums = products.tolist()
    second = products[mean : spread + 1, mean : spread + 1].copy()
    by_mean, by_slope, by_variance = sums[mean][one], sums[slope][one], sums[spread][one]
    less = sums[one][before]
    second -= (
        np.array(
            [
                [sums[one][one], less, by_mean],
                [less, sums[before][before], by_slope],
                [by_mean, by_slope, 2 * by_variance + 0.5 * sums[one][one] / variance],
            ]
        )
        / variance
    )
    return second
