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

# Rows of numbers of each hour that all sums are made of, in pairs for the hour without and with a
# jump. With `z` the step minus its mean in deviations of that component, `b` the residual of the
# hour before, and `R` the component's density over that of the mixture, up to a factor: `R`, `R z`,
# `R z**2`, `R z b`, `R z**3` and `R z**4`. Above them stand the hour's residual, `b**2`, `b`, one.
_STEP, _STATIC, _BEFORE, _BEFORE_AND_ONE = slice(0, 4), slice(1, 4), 2, slice(2, 4)
_DENSITY, _FIRST, _SQUARE = slice(4, 6), slice(6, 8), slice(8, 10)
_FIRST_BEFORE, _CUBE, _FOURTH = slice(10, 12), slice(12, 14), slice(14, 16)
_FOR_GRADIENT, _FOR_SCORES, _FOR_HESSIAN = slice(4, 10), slice(4, 12), slice(4, 16)
# The rows that the Hessian's are multiplied with: three that stand above, and those of the scores.
_PARTNERS, _STATIC_PARTNERS, _SCORE_PARTNERS = slice(1, 12), slice(0, 3), slice(3, 11)


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
        now, before = residual[1:], residual[:-1]
        # Room for one evaluation: so large that to get it anew each time takes a third of its time.
        self._rows = np.empty((_FOR_HESSIAN.stop, now.size))
        self._rows[_STEP] = now, before**2, before, np.ones_like(now)
        self._z, self._square = np.empty((2, 2, now.size))
        self._mixture = np.empty(now.size)
        # The vector that the rows were filled for, and the value there.
        self._filled: tuple[list[float], float] | None = None

    def value(self, vector: FloatArray) -> float:
        """`-sum(ln(density + DENSITY_FLOOR))`."""
        return self._fill(vector.tolist())

    def gradient(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient, shape `(6,)`."""
        parameters = vector.tolist()
        value = self._fill(parameters)
        sums = (self._rows[_FOR_GRADIENT] @ self._rows[_BEFORE_AND_ONE].T).tolist()
        *_, sigma_sq, sigma_sq_j, lam = parameters
        calm, by_mean, by_slope, by_variance = _first(sums[0::2], sigma_sq)
        jump, j_mean, j_slope, j_variance = _first(sums[1::2], sigma_sq + sigma_sq_j)
        no = 1 - lam
        return value, np.array(
            [
                -no * by_mean - lam * j_mean,
                -no * by_slope - lam * j_slope,
                -lam * j_mean,
                -no * by_variance - lam * j_variance,
                -lam * j_variance,
                calm - jump,
            ]
        )

    def hessian(self, vector: FloatArray) -> FloatArray:
        """Second derivatives, shape `(6, 6)`.

        With `q` the floored density of an hour, the second derivative of `-ln q` is the product of
        its first derivatives (the scores) minus the second derivative of the density over `q`. All
        are sums over products of two of the rows.
        """
        parameters = vector.tolist()
        # The Hessian is asked for where the gradient was before: then half of the rows are there.
        self._fill(parameters)
        rows = self._rows
        np.multiply(rows[_FIRST], rows[_BEFORE], out=rows[_FIRST_BEFORE])
        np.multiply(rows[_SQUARE], self._z, out=rows[_CUBE])
        np.multiply(rows[_SQUARE], self._square, out=rows[_FOURTH])
        # One product for all: of a matrix with nothing but itself, the library takes longer.
        products = rows[_FOR_HESSIAN] @ rows[_PARTNERS].T

        *_, sigma_sq, sigma_sq_j, lam = parameters
        wide = sigma_sq + sigma_sq_j
        height, jump_height = _height(sigma_sq), _height(wide)
        mean, jump_mean = (1 - lam) * height / sqrt(sigma_sq), lam * jump_height / sqrt(wide)
        spread, jump_spread = (1 - lam) * height / (2 * sigma_sq), lam * jump_height / (2 * wide)
        to_scores = np.array(
            [
                [0, 0, mean, jump_mean, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0, mean, jump_mean],
                [0, 0, 0, jump_mean, 0, 0, 0, 0],
                [-spread, -jump_spread, 0, 0, spread, jump_spread, 0, 0],
                [0, -jump_spread, 0, 0, 0, jump_spread, 0, 0],
                [-height, jump_height, 0, 0, 0, 0, 0, 0],
            ]
        )
        second: FloatArray = to_scores @ products[:8, _SCORE_PARTNERS] @ to_scores.T
        second -= _curvature(products[:, _STATIC_PARTNERS].tolist(), sigma_sq, wide, lam)
        # Both triangles differ by the rounding of products in another order.
        return (second + second.T) / 2

    def _fill(self, parameters: list[float]) -> float:
        """The value; leaves the rows that the gradient is made of, and `z` and its square."""
        if self._filled is not None and self._filled[0] == parameters:
            return self._filled[1]
        a, phi, mu_j, sigma_sq, sigma_sq_j, lam = parameters
        wide = sigma_sq + sigma_sq_j
        scale, jump_scale = 1 / sqrt(sigma_sq), 1 / sqrt(wide)
        to_z = np.array(
            [
                [scale, 0.0, -phi * scale, -a * scale],
                [jump_scale, 0.0, -phi * jump_scale, -(a + mu_j) * jump_scale],
            ]
        )
        rows, z, square, mixture = self._rows, self._z, self._square, self._mixture
        density = rows[_DENSITY]
        np.matmul(to_z, rows[_STEP], out=z)
        np.multiply(z, z, out=square)
        np.multiply(square, -0.5, out=density)
        np.exp(density, out=density)
        np.matmul(
            np.array([(1 - lam) * _height(sigma_sq), lam * _height(wide)]), density, out=mixture
        )
        mixture += DENSITY_FLOOR
        density /= mixture
        np.multiply(density, z, out=rows[_FIRST])
        np.multiply(density, square, out=rows[_SQUARE])
        value = -float(np.add.reduce(np.log(mixture, out=mixture)))
        self._filled = parameters, value
        return value


def _height(variance: float) -> float:
    """Largest density of a normal."""
    return 1 / sqrt(2 * pi * variance)


def _first(sums: list[list[float]], variance: float) -> tuple[float, float, float, float]:
    """A component's density over that of the mixture, and its derivatives by mean, slope, variance.

    `sums` are those of `R`, `R z` and `R z**2`, each at last times `b` and times one.
    """
    (*_, density), (*_, first_before, first), (*_, square) = sums
    height = _height(variance)
    by_mean = height / sqrt(variance)
    return (
        height * density,
        by_mean * first,
        by_mean * first_before,
        height / (2 * variance) * (square - density),
    )


def _second(sums: list[list[float]], variance: float, weight: float) -> tuple[float, ...]:
    """Second derivatives of a component's weighted density over that of the mixture.

    By mean, slope and variance: the upper triangle, row after row. `sums` are those of `R`, `R z`,
    `R z**2`, `R z b`, `R z**3` and `R z**4`, each times `b**2`, times `b` and times one.
    """
    (d_square, d_before, density), (_, _, first), (s_square, s_before, square) = sums[:3]
    (_, _, first_before), (_, cube_before, cube), (_, _, fourth) = sums[3:]
    height = weight * _height(variance)
    by_mean, by_variance = height / variance, height / (2 * variance**1.5)
    return (
        by_mean * (square - density),
        by_mean * (s_before - d_before),
        by_variance * (cube - 3 * first),
        by_mean * (s_square - d_square),
        by_variance * (cube_before - 3 * first_before),
        height / (4 * variance**2) * (fourth - 6 * square + 3 * density),
    )


def _curvature(
    sums: list[list[float]], variance: float, wide: float, lam: float
) -> list[list[float]]:
    """Second derivatives of the mixture's density over itself by each two parameters, `(6, 6)`."""
    calm, jump = sums[0::2], sums[1::2]
    _, mean, slope, spread = _first(calm[:3], variance)
    _, j_mean, j_slope, j_spread = _first(jump[:3], wide)
    mm, ms, mv, ss, sv, vv = _second(calm, variance, 1 - lam)
    jmm, jms, jmv, jss, jsv, jvv = _second(jump, wide, lam)
    return [
        [mm + jmm, ms + jms, jmm, mv + jmv, jmv, j_mean - mean],
        [ms + jms, ss + jss, jms, sv + jsv, jsv, j_slope - slope],
        [jmm, jms, jmm, jmv, jmv, j_mean],
        [mv + jmv, sv + jsv, jmv, vv + jvv, jvv, j_spread - spread],
        [jmv, jsv, jmv, jvv, jvv, j_spread],
        [j_mean - mean, j_slope - slope, j_mean, j_spread - spread, j_spread, 0.0],
    ]
