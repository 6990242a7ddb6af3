"""The last week of a path in one dimension: what is left of it, given all but one normal.

Of all directions in which the normals of a path can move, one moves the mean price of the last week
the most. Given the rest of the path, the log price of hour `i` of the week is `centre[i] +
slope[i] * z` with `z` normal, and the mean price

    A(z) = mean of exp(centre[i] + slope[i] * z)

is all but a lognormal: the slopes of the hours differ little. Its first two moments over `z` are
exact here; the expectation of any other function is estimated from five points without bias.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from attrs import frozen

from prover_reserve_price.season import FloatArray

# Terms of the series in `Weeks.mean_square`. What is left out is below 1e-10 of the sum for every
# law whose moments are used.
_TERMS = 8
_FACTORIALS = np.array([[float(factorial(term))] for term in range(_TERMS + 1)])

# Largest slope of the lognormal that stands beside `A(z)`, and largest bend of its logarithm. Any
# lognormal is as right; the mean of one with a larger slope, such as that of a residual without
# return, may be no float.
_LARGEST_LINE = 5.0
_LARGEST_BEND = 1.0


@frozen(eq=False)
class Weeks:
    """Last weeks of some paths, as functions of one normal `z` of each."""

    centre: FloatArray
    """Log prices where `z` is zero, shape `(paths, hours)`."""
    slope: FloatArray
    """What `z` adds to each log price, shape `(paths, hours)`."""
    price: FloatArray
    """`exp(centre)`."""
    line: FloatArray
    """Slope of `ln A(z)` at zero, where it is not extreme, shape `(paths,)`."""
    level: FloatArray
    """`ln A(z) - line * z`, on average as far as its second derivative goes, shape `(paths,)`."""

    @classmethod
    def of(cls, centre: FloatArray, slope: FloatArray) -> Weeks:
        """Weeks of log prices `centre + slope * z`."""
        price = np.exp(centre)
        total = price.sum(axis=1)
        weighted = price * slope
        line = weighted.sum(axis=1) / total
        weighted *= slope
        bend = weighted.sum(axis=1) / total - line**2
        line = np.minimum(line, _LARGEST_LINE)
        level = np.log(total / centre.shape[1]) + 0.5 * np.minimum(bend, _LARGEST_BEND)
        return cls(centre, slope, price, line, level)

    def at(self, z: FloatArray) -> FloatArray:
        """`A` at `points`, shape `(5, paths)`."""
        near = np.exp(self.slope * z[1][:, None])
        far = np.exp(self.slope * z[3][:, None])
        mean = np.empty_like(z)
        np.add.reduce(self.price, axis=1, out=mean[0])
        for row, factor in ((1, near), (3, far)):
            _row_products(self.price, factor, mean[row])
            _row_products(self.price, np.divide(1.0, factor, out=factor), mean[row + 1])
        mean /= self.centre.shape[1]
        return mean

    def mean(self) -> FloatArray:
        """`E[A(z)]`, shape `(paths,)`."""
        half_square = self.slope**2
        half_square *= 0.5
        mean = np.empty(self.line.size)
        _row_products(self.price, np.exp(half_square, out=half_square), mean)
        mean /= self.centre.shape[1]
        return mean

    def mean_square(self) -> FloatArray:
        """`E[A(z)**2]`, shape `(paths,)`.

        The expectation of the product of two hours' prices is `exp((s + t)**2 / 2)` with their
        slopes `s` and `t`. With `d = s - line` and `e = t - line`, the exponent is a term of each
        hour and `d * e`, which is small: the double sum over hours is a sum over the powers of
        `d * e` in the series of its exponential, of squares of sums over hours.
        """
        line = self.line[:, None]
        power = 0.5 * self.slope
        power += line
        power *= self.slope
        np.exp(power, out=power)
        power *= self.price
        away = self.slope - line
        sums = np.empty((_TERMS + 1, power.shape[0]))
        np.add.reduce(power, axis=1, out=sums[0])
        for term in range(1, _TERMS + 1):
            power *= away
            np.add.reduce(power, axis=1, out=sums[term])
        sums *= sums
        sums /= _FACTORIALS
        # One by one: numpy adds those of a lone path in another order than those of many.
        mean_square: FloatArray = sums[0]
        for each in sums[1:]:
            mean_square += each
        mean_square *= np.exp(-(self.line**2)) / self.centre.shape[1] ** 2
        return mean_square


def _row_products(one: FloatArray, other: FloatArray, out: FloatArray) -> FloatArray:
    """Sum of the products of each row, shape `(paths,)`; no row's digits depend on another's."""
    np.einsum("ij,ij->i", one, other, out=out)
    return out


def points(normals: FloatArray) -> FloatArray:
    """Where `over_normal` looks, `(5, paths)`, from ten normals of each path, `(paths, 10)`.

    Zero, and two numbers `u` and `v` with both signs. The density of `x = u**2` and `y = v**2` is
    in proportion to `sqrt(x * y) * (x - y)**2 * exp(-(x + y) / 2)`: that of the eigenvalues of
    `B @ B.T` with a triangle `B` of lengths of 5, 2 and 3 normals (Dumitriu and Edelman, "Matrix
    models for beta ensembles", 2002).
    """
    squares = normals**2
    upper = squares[:, :5].sum(axis=1)
    corner = squares[:, 5:7].sum(axis=1)
    lower = squares[:, 7:].sum(axis=1)
    below = corner + lower
    larger = 0.5 * (upper + below + np.sqrt((upper - below) ** 2 + 4 * upper * corner))
    far, near = np.sqrt(larger), np.sqrt(upper * lower / larger)
    at = np.empty((5, far.size))
    at[0], at[1], at[3] = 0.0, near, far
    np.negative(at[1:4:2], out=at[2:5:2])
    return at


def over_normal(values: FloatArray, at: FloatArray) -> FloatArray:
    """An estimate of `E[f(z)]` without bias, `(paths,)`, from `f` at `points`, `(5, paths)`.

    Without error for a polynomial `f` of degree five, and with hardly any for one that is nearly
    such. The polynomial through five points that are drawn as if they repelled each other gives the
    expectation of any function on average (Ermakov and Zolotukhin, "Polynomial approximations and
    the Monte Carlo method", 1960; for the normal, Genz and Monahan, "Stochastic integration rules
    for infinite regions", 1998).
    """
    centre = values[0]
    near, far = at[1] ** 2, at[3] ** 2
    # The even part of f is centre + z**2 * rise(z**2), with a line through two rises for rise.
    by_near = (0.5 * (values[1] + values[2]) - centre) / near
    by_far = (0.5 * (values[3] + values[4]) - centre) / far
    estimate: FloatArray = centre + by_near + (3 - near) * (by_far - by_near) / (far - near)
    return estimate
