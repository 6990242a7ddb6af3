"""Maximum likelihood for the jump model: a Newton method inside the bounds, and the check of it.

The likelihood has more than one stationary point: a model without jumps is often one, and it passes
a check of the gradient although its likelihood is far worse. The start of the reference is so far
from the fees that a search can end there, so the search here starts from the likeliest of some
hundred models of the hourly steps (`starts.py`). Others are tried only where that ends nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isnan

import numpy as np
from attrs import evolve, frozen
from scipy.linalg.lapack import dposv

from prover_reserve_price.errors import BetterCalibrationError, CalibrationError, FlatSeriesError
from prover_reserve_price.jump_model import (
    PARAMETER_NAMES,
    JumpLikelihood,
    JumpParameters,
)
from prover_reserve_price.season import FloatArray, mean_and_variance
from prover_reserve_price.starts import likeliest_start, starts_of_moments

# The reference's acceptance of a calibration: no component of the projected gradient of the
# negative log likelihood above this in absolute value.
GRADIENT_TOLERANCE = 0.05

# Given parameters may be this much less likely than those that a search finds. A gradient within
# its tolerance leaves less than a thousandth; another minimum is away by one or by hundreds.
LIKELIHOOD_TOLERANCE = 0.01

# The search goes on until the projected gradient is this small: on some two thousand hours it
# places every parameter to ten digits or more, so that machines agree about a price.
_TARGET_GRADIENT = 1e-8

# A Newton search needs about ten steps. One that is still going after this many is lost.
_MAX_ITERATIONS = 200

# The bounds of both variances are open at zero. This fraction of the residual's variance stands for
# zero: far below what hourly means of integers can show.
_VARIANCE_FLOOR = 1e-9

# A residual variance below this is rounding of the logarithm (about 1e-16 squared, times the square
# of its size), not movement of a fee.
_SMALLEST_VARIANCE = 1e-24

# Largest change of each scaled parameter in one step (see `_Box.scale`): a full Newton step far
# from the minimum would run into a bound and stay there.
_LONGEST_STEP = np.array([1.0, 0.5, 1.0, 0.5, 2.0, 0.25])

# Armijo's constant: the least part of the promised decrease that a step must keep.
_SUFFICIENT_DECREASE = 1e-4

# Where a step leaves no more than this part of the gradient, the Hessian has hardly changed, and
# the next step goes by it again.
_HESSIAN_KEPT = 1e-4

# A search that has halved its step this far finds no way down.
_SHORTEST_STEP = 1e-9

# Relative size of the rounding in a sum of a few thousand logarithms, with a margin.
_VALUE_ROUNDING = 1e-13

# Smallest eigenvalue of the scaled Hessian that is believed, relative to the largest, and smallest
# square of a pivot, which is never smaller.
_FLATTEST = 1e-10


@frozen
class Calibration:
    """Accepted jump parameters and what shows that they are a minimum."""

    parameters: JumpParameters
    negative_log_likelihood: float
    projected_gradient: tuple[float, ...]
    """In the order of `PARAMETER_NAMES`; every one at most `GRADIENT_TOLERANCE` in size."""
    iterations: int
    """Steps of the search; 0 where given parameters were only checked."""


def calibrate(residual: FloatArray) -> Calibration:
    """Find the jump parameters that make a residual series, shape `(n,)`, most likely.

    Raises:
        FlatSeriesError: the residual does not move.
        CalibrationError: no search ended at a minimum.
    """
    box = _Box.of(residual)
    likelihood = JumpLikelihood(residual)
    refusals: list[CalibrationError] = []
    iterations = 0
    for start in _starts(residual):
        search = _Search(likelihood, box, start)
        search.run(_MAX_ITERATIONS)
        iterations += search.iterations
        try:
            found = _accept(box, search.vector, search.value, search.gradient)
        except CalibrationError as refusal:
            refusals.append(refusal)
        else:
            return evolve(found, iterations=iterations)
    # The first is about the search that was the most promising.
    raise refusals[0]


def check_calibration(
    residual: FloatArray, parameters: JumpParameters, found: Calibration | None = None
) -> Calibration:
    """Accept given parameters, such as those of a receipt.

    The gradient alone would also accept a model without jumps, where lambda is zero and nothing
    pulls it up; so the parameters must besides be about as likely as what a search finds here, or
    has `found` before.

    Raises:
        FlatSeriesError: the residual does not move.
        CalibrationError: the parameters are outside the bounds, or not at a minimum.
        BetterCalibrationError: they are at a minimum, but there is a lower one.
    """
    box, vector = _Box.of(residual), parameters.to_vector()
    box.require(vector)
    given = _accept(box, vector, *JumpLikelihood(residual).gradient(vector))
    found = found or calibrate(residual)
    excess = given.negative_log_likelihood - found.negative_log_likelihood
    if excess > LIKELIHOOD_TOLERANCE:
        raise BetterCalibrationError(excess, LIKELIHOOD_TOLERANCE)
    return given


def _accept(box: _Box, vector: FloatArray, value: float, gradient: FloatArray) -> Calibration:
    """The reference's check: the projected gradient within its tolerance."""
    free, slopes = box.free(vector, gradient), gradient.tolist()
    projected = [slope if number in free else 0.0 for number, slope in enumerate(slopes)]
    # A component that is not a number is the worst of all, and refused.
    size = [inf if isnan(slope) else abs(slope) for slope in projected]
    worst = size.index(max(size))
    if size[worst] > GRADIENT_TOLERANCE:
        raise CalibrationError(PARAMETER_NAMES[worst], projected[worst], GRADIENT_TOLERANCE)
    return Calibration(JumpParameters.from_vector(vector), value, tuple(projected), iterations=0)


@frozen(eq=False)
class _Box:
    """Bounds of the parameters, and the size at which each of them makes a difference."""

    lower: FloatArray
    upper: FloatArray
    scale: FloatArray
    bounds: list[tuple[float, float]]
    """Lower and upper as numbers of Python: numpy takes longer for six of them."""

    @classmethod
    def of(cls, residual: FloatArray) -> _Box:
        _, variance = mean_and_variance(residual[1:])
        if not variance > _SMALLEST_VARIANCE:
            raise FlatSeriesError(
                "the fees follow their trend and season without any deviation (residual variance "
                f"{variance:g}): there is no movement to calibrate the jump model on. A constant "
                "or computed series has no reserve price; check where the fees come from"
            )
        deviation = variance**0.5
        floor = _VARIANCE_FLOOR * variance
        lower = [-inf, 0.0, 0.0, floor, floor, 0.0]
        upper = [inf, 1.0, inf, inf, inf, 1.0]
        return cls(
            np.array(lower),
            np.array(upper),
            np.array([deviation, 1.0, deviation, variance, variance, 1.0]),
            list(zip(lower, upper, strict=True)),
        )

    def require(self, vector: FloatArray) -> None:
        """Refuse parameters outside the bounds, where there is no likelihood."""
        outside = np.flatnonzero(~((vector >= self.lower) & (vector <= self.upper)))
        if outside.size:
            raise CalibrationError(
                f"{PARAMETER_NAMES[outside[0]]} (which is outside its bounds)",
                float("nan"),
                GRADIENT_TOLERANCE,
            )

    def clip(self, vector: FloatArray) -> FloatArray:
        return np.minimum(np.maximum(vector, self.lower), self.upper)

    def free(self, vector: FloatArray, gradient: FloatArray) -> list[int]:
        """Which parameters are not at a bound that they could only leave uphill."""
        each = zip(vector.tolist(), gradient.tolist(), self.bounds, strict=True)
        return [
            number
            for number, (value, slope, (lower, upper)) in enumerate(each)
            if not ((value <= lower and slope > 0) or (value >= upper and slope < 0))
        ]


def _steepness(gradient: FloatArray, free: list[int]) -> float:
    """Largest component of the projected gradient in absolute value; 0 where all are held."""
    slopes = gradient.tolist()
    return max([abs(slopes[number]) for number in free], default=0.0)


def _starts(residual: FloatArray) -> Iterator[FloatArray]:
    """The most promising first; the reference's own last."""
    yield likeliest_start(residual)
    yield from starts_of_moments(residual)
    _, variance = mean_and_variance(residual[1:])
    yield np.array([-0.03928, 0.0002873, 0.04617, variance, variance, 0.2])


class _Search:
    """Projected Newton: goes downhill from a start, and can be continued.

    Parameters at a bound that the gradient points out of are held; the others move along the Newton
    direction in scaled coordinates, with the eigenvalues of the Hessian made positive where the
    likelihood is not convex, and the step is halved until it decreases the value.
    """

    def __init__(self, likelihood: JumpLikelihood, box: _Box, start: FloatArray) -> None:
        self._likelihood = likelihood
        self._box = box
        self.iterations = 0
        self._stuck = False
        vector = box.clip(start)
        self._move_to(vector, *likelihood.gradient(vector))
        self._hessian: FloatArray | None = None
        self._keeps_hessian = False

    def run(self, iterations: int) -> None:
        """Take at most that many steps; stop at a minimum or where no step leads down."""
        for _ in range(iterations):
            if self._stuck or self._steepness <= _TARGET_GRADIENT:
                return
            self._step()
            self.iterations += 1

    def _move_to(self, vector: FloatArray, value: float, gradient: FloatArray) -> None:
        self.vector, self.value, self.gradient = vector, value, gradient
        self._free = self._box.free(vector, gradient)
        self._steepness = _steepness(gradient, self._free)

    def _step(self) -> None:
        direction = self._direction()
        before = self._steepness
        length = 1.0
        while length > _SHORTEST_STEP:
            candidate = self._box.clip(self.vector + length * direction)
            value, gradient = self._likelihood.gradient(candidate)
            promised = float(self.gradient @ (candidate - self.vector))
            if value <= self.value + _SUFFICIENT_DECREASE * promised or (
                # At the minimum the value stands still in its last digits, the gradient does not.
                value - self.value <= _VALUE_ROUNDING * (1 + abs(self.value))
                and _steepness(gradient, self._box.free(candidate, gradient)) < before
            ):
                # Where neither the value nor the gradient falls, what is left is rounding.
                standing = self.value - value <= _VALUE_ROUNDING * (1 + abs(self.value))
                self._move_to(candidate, value, gradient)
                self._stuck = standing and self._steepness > 0.5 * before
                self._keeps_hessian = self._steepness <= _HESSIAN_KEPT * before
                return
            length *= 0.5
        self._stuck = True

    def _direction(self) -> FloatArray:
        scale = self._box.scale
        if self._hessian is None or not self._keeps_hessian:
            self._hessian = self._likelihood.hessian(self.vector) * (scale[:, None] * scale)
        free, hessian, slope, longest = (
            self._free, self._hessian, self.gradient * scale, _LONGEST_STEP
        )  # fmt: skip
        if len(free) < slope.size:
            hessian, slope, longest = hessian[free][:, free], slope[free], longest[free]
        scaled = _descent(hessian, slope)
        scaled *= -1 / max(1.0, np.abs(scaled / longest).max())
        if len(free) < scale.size:
            moved = np.zeros_like(scale)
            moved[free] = scaled
            scaled = moved
        scaled *= scale
        return scaled


def _descent(hessian: FloatArray, slope: FloatArray) -> FloatArray:
    """Uphill by Newton, or, where the Hessian is not positive, by its eigenvalues made positive."""
    factor, newton, not_positive = dposv(hessian, slope)
    if not not_positive:
        pivots = factor.diagonal().tolist()
        if min(pivots) ** 2 > _FLATTEST * max(1.0, max(pivots) ** 2):
            found: FloatArray = newton
            return found
    eigenvalue, axis = np.linalg.eigh(hessian)
    eigenvalue = np.abs(eigenvalue)
    # A flat direction (a parameter that nothing identifies) must not make an endless step.
    eigenvalue = np.maximum(eigenvalue, _FLATTEST * max(1.0, float(eigenvalue.max())))
    uphill: FloatArray = axis @ ((slope @ axis) / eigenvalue)
    return uphill
