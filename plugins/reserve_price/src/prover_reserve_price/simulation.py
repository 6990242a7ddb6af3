"""The expected payoff of a capped call on the last week's mean fee, by conditional Monte Carlo.

Hour `i = 0 .. 719` of a path has the log price

    X[i] = P[i] + season(n - 1 + i) + trend(n - 1) + W[i]

with `P` the jump model started at the last residual and `W[i]` the sum of `i + 1` steps of a random
walk. The price of a path is the mean of `exp(X)` over its last 168 hours. Nothing below changes
that law; it only avoids drawing what can be computed:

1. Only the last 168 hours enter. Given which hours have a jump, all that is left of a path is
   normal, so a path takes 719 draws of a yes or no, a normal for the step of each hour of the week
   (that of the first holds all steps before it, too) and one for each step of the walk.
2. `W[551]` multiplies all 168 prices by one lognormal factor. Given the rest of a path, the
   expected payoff is a difference of two Black-Scholes values of the mean `A` of the 168 prices
   without that factor: no draw at all, and the estimate is smooth.
3. Of the week's normals, one direction moves `A` the most (`weeks.py`). Along it `A` is all but
   lognormal, so that the expected payoff is again a difference of two Black-Scholes values. What
   the payoff differs from that of the lognormal is averaged from five points, without bias.
4. A control variate (`controls.py`). `E[A]` and `E[A**2]` are known exactly (`moments.py`), and so
   are both given a path without that direction. The quadratic in `A` that is nearest to the payoff
   for a lognormal of these moments is taken from the payoff of each path. Where jumps or the
   variance are so large that paths which no sample holds make up the moments of `A`, a quadratic in
   the log prices takes its place. Unless the law is calm, paths are never few.

The coefficients of the control follow from the law and not from the draws. So paths are independent
of each other, the price is their mean, which has no bias at any number of paths, and its error is
the error of a mean. On the fees of Ethereum mainnet a path is worth ten million plain ones.
"""

from __future__ import annotations

from math import exp, isfinite, log, sqrt

import numpy as np
from attrs import frozen
from scipy.special import ndtr

from prover_reserve_price import randomness
from prover_reserve_price.controls import Control, LogControl, MeanControl
from prover_reserve_price.errors import SimulationError
from prover_reserve_price.jump_model import JumpParameters
from prover_reserve_price.moments import log_excess, log_moments, week_moments
from prover_reserve_price.season import FloatArray, mean_and_variance
from prover_reserve_price.weeks import Weeks, over_normal, points

# Hours that a path is simulated, from the last hour of the data on: a round of 30 days.
SIMULATED_HOURS = 720

# The option is on the mean fee of the last week of a path.
WEEK_HOURS = 168

# The hours before that week. The walk up to its end is the factor that is integrated analytically.
_EARLIER_HOURS = SIMULATED_HOURS - WEEK_HOURS

# Drift of the random walk: 5 % a year, in weeks, as the reference has it.
WALK_DRIFT = 0.05 / 52

# Time of one hourly step. The reference's constant: it is a day's hours where the drift and the
# volatility are a week's. It is kept because the price is defined by it.
WALK_DT = 1 / 24

# Present value of one wei at the end of a path. The reference's constant, again a year's 5 %.
DISCOUNT = exp(-0.05)

# Paths that are simulated at once: the largest array, of 32 times 708 words, has 180 kB and
# stays in a processor's cache. Every path owns its own counters, so this number changes no digit.
_PATHS_AT_ONCE = 32

# Fewest and most paths. Below, the error would hardly be known itself; above, nothing is gained
# (the error is already a millionth) and memory grows by 8 bytes a path.
MIN_PATHS = 16
MAX_PATHS = 4_000_000

# Fewest paths of a law that is not calm: what is rare, such as a large jump, has to be seen some
# times before an error is to be believed.
MIN_PATHS_UNLESS_CALM = 1024

# A law is calm, and few paths of it show all there is, where jumps leave a price near a lognormal
# (`log_excess`; it is 0.7 on mainnet) and the walk before the last week has at least this deviation
# (0.75 on mainnet), which smooths the edges of the payoff. Of random laws, 16 paths of those that
# are calm were within 2.131 of their errors 91 to 97 times in 100, and others only 58 times.
_CALM_LOG_EXCESS = 1.5
_CALM_DEVIATION = 0.3

# Words of one path: 719 jumps, two in a word, then for each hour of the week a normal of its step
# and one of the walk's, and ten for the points. Both parts are whole counters.
_JUMP_WORDS = SIMULATED_HOURS // 2
_NORMAL_WORDS = 348
_WORDS_PER_PATH = _JUMP_WORDS + _NORMAL_WORDS
_STEP_NORMALS = slice(0, WEEK_HOURS)
_WALK_NORMALS = slice(WEEK_HOURS, 2 * WEEK_HOURS)
_POINT_NORMALS = slice(2 * WEEK_HOURS, 2 * WEEK_HOURS + 10)

# A power of phi whose inverse, times whatever a step of a log price is, is far from the largest
# float.
_SMALLEST_POWER = 1e-200

# The moments of the mean price are of use up to here. Rare jumps of a factor of four make it 15:
# few samples hold one, and those that do not, tell nothing.
_LARGEST_LOG_EXCESS = 5.0


@frozen(eq=False)
class PathLaw:
    """What determines the law of a path and its payoff."""

    jumps: JumpParameters
    last_residual: float
    """`P[0]`, the residual log fee of the last hour of the data."""
    week_level: FloatArray
    """Season plus trend of the log price in the last 168 hours of a path, shape `(168,)`."""
    weekly_volatility: float
    """Standard deviation of the random walk over a week by the reference's definition of time."""
    strike_wei: float
    cap_wei: float


@frozen
class Estimate:
    """A Monte Carlo estimate in wei and the standard deviation of its error."""

    price_wei: float
    standard_error_wei: float
    paths: int


def estimate_price(law: PathLaw, seed: bytes, paths: int) -> Estimate:
    """Discounted expected payoff, of more paths than asked for where so few show too little.

    Raises:
        SimulationError: a wrong seed or number of paths, or prices too large for a float.
    """
    if not MIN_PATHS <= paths <= MAX_PATHS:
        raise SimulationError(
            f"{paths} paths asked for: choose a number from {MIN_PATHS} to {MAX_PATHS}"
        )
    key = randomness.key_from_seed(seed)
    simulate = _PathSimulator(law)
    paths = max(paths, simulate.fewest)
    payoff = np.empty(paths)
    for start in range(0, paths, _PATHS_AT_ONCE):
        stop = min(start + _PATHS_AT_ONCE, paths)
        counter = start * (_WORDS_PER_PATH // randomness.WORDS_PER_COUNTER)
        raw = randomness.words(key, counter, stop - start, _WORDS_PER_PATH)
        payoff[start:stop] = simulate(raw)

    # In strikes, so that no square is too large for a float.
    price, variance = mean_and_variance(payoff / law.strike_wei)
    price, error = price * law.strike_wei, law.strike_wei * sqrt(variance / (paths - 1))
    if not (isfinite(price) and isfinite(error)):
        raise SimulationError(
            "the simulated prices are too large for a floating point number: the jump parameters "
            f"{law.jumps} or the weekly volatility {law.weekly_volatility:g} do not describe fees"
        )
    return Estimate(DISCOUNT * price, DISCOUNT * error, paths)


class _PathSimulator:
    """Draws paths; what all of them share is computed once.

    All arrays of a chunk have the paths as rows and the hours as columns, and no operation mixes
    rows, so that a path has the same digits in whatever chunk it is drawn.
    """

    def __init__(self, law: PathLaw) -> None:
        jumps = law.jumps
        self._law = law
        walk_variance = law.weekly_volatility**2 * WALK_DT
        walk_drift = WALK_DRIFT * WALK_DT - walk_variance / 2
        self._walk_deviation = sqrt(walk_variance)
        self._factor_mean = exp(_EARLIER_HOURS * WALK_DRIFT * WALK_DT)
        self._factor_variance = walk_variance * _EARLIER_HOURS
        self._powers = jumps.phi ** np.arange(float(SIMULATED_HOURS))

        # Sums that fade are made of plain ones, of numbers that grow; not so where they would grow
        # beyond a float.
        self._shrinking = self._powers[:WEEK_HOURS]
        self._growing = None
        if self._shrinking[-1] > _SMALLEST_POWER:
            self._growing = 1 / self._shrinking

        # P[551] is the last residual and 551 innovations, each faded by the hours since.
        earlier_steps = _EARLIER_HOURS - 1
        self._fading = np.ascontiguousarray(self._powers[:earlier_steps][::-1])
        start = self._powers[earlier_steps] * law.last_residual + jumps.a * self._fading.sum()
        self._fading_squared = self._fading**2
        start_variance = jumps.sigma_sq * self._fading_squared.sum()
        self._start, self._start_variance = float(start), float(start_variance)

        # Log price of an hour without its residual and without noise.
        hours = np.arange(1.0, WEEK_HOURS + 1)
        self._level = law.week_level + walk_drift * hours
        self._deviation_of_step = (sqrt(jumps.sigma_sq), sqrt(jumps.sigma_sq + jumps.sigma_sq_j))
        self._limits = np.array([law.cap_wei, law.strike_wei])
        self._log_limits = np.log(self._limits)
        with np.errstate(over="ignore", invalid="ignore"):
            excess = log_excess(jumps, self._powers)
            self._control = self._fit_control(walk_variance, excess)
        calm = excess <= _CALM_LOG_EXCESS and sqrt(self._factor_variance) >= _CALM_DEVIATION
        calm = calm and isinstance(self._control, MeanControl)
        self.fewest = MIN_PATHS if calm else MIN_PATHS_UNLESS_CALM

        # How much an hour adds to the mean price, roughly: any other weights would be as right, and
        # leave more to the draws. From them, what a step of the residual and of the walk moves.
        known = self._level + self._powers[_EARLIER_HOURS:] * law.last_residual
        weight = np.exp(known - known.max())[::-1]
        weight /= weight.sum()
        self._walk_pull = self._walk_deviation * np.cumsum(weight)[::-1]
        self._walk_slope = self._walk_deviation * np.cumsum(self._walk_pull)
        self._walk_square = float((self._walk_pull**2).sum())
        self._accumulate(weight)
        self._pull = weight[::-1]

    def _fit_control(self, walk_variance: float, excess: float) -> Control:
        law = self._law
        if excess <= _LARGEST_LOG_EXCESS:
            level = self._level - log(law.strike_wei)
            moments = week_moments(law.jumps, law.last_residual, self._powers, level, walk_variance)
            control = MeanControl.fit(self._payoff, law.strike_wei, moments)
            if control is not None:
                return control
        logs = log_moments(law.jumps, law.last_residual, self._powers, self._level, walk_variance)
        return LogControl.fit(self._payoff, logs)

    def __call__(self, raw: randomness.Words) -> FloatArray:
        """Payoff of each path without the control, shape `(paths,)`."""
        weeks, at = self._weeks(raw)
        payoff = self._expected_payoff(weeks, at)
        payoff -= self._control.over_normal(weeks)
        return payoff

    def _weeks(self, raw: randomness.Words) -> tuple[Weeks, FloatArray]:
        """Last weeks without the factor `exp(W[551])`, and the points to look at them."""
        jumps = self._law.jumps
        # The first draw is spare, so that the number of halves is even.
        jumped = randomness.events(raw[:, :_JUMP_WORDS], jumps.lambda_)
        earlier, jumped = jumped[:, 1:_EARLIER_HOURS], jumped[:, _EARLIER_HOURS:]
        normal = randomness.normals(raw[:, _JUMP_WORDS:])

        by_step, by_walk = normal[:, _STEP_NORMALS], normal[:, _WALK_NORMALS]

        # Sums of each row by `einsum`, which takes no room and treats every row alike.
        earlier_jumps = earlier.astype(np.float64)
        faded = np.einsum("ij,j->i", earlier_jumps, self._fading)
        faded_squared = np.einsum("ij,j->i", earlier_jumps, self._fading_squared)
        state = self._start + jumps.mu_j * faded
        variance = self._start_variance + jumps.sigma_sq_j * faded_squared
        deviation = np.where(jumped, self._deviation_of_step[1], self._deviation_of_step[0])
        deviation[:, 0] = np.sqrt(deviation[:, 0] ** 2 + jumps.phi**2 * variance)

        # The direction is a vector in the space of all normals of a path. They keep what is across.
        direction = deviation * self._pull
        square = np.einsum("ij,ij->i", direction, direction) + self._walk_square
        along = np.einsum("ij,ij->i", by_step, direction)
        along += np.einsum("ij,j->i", by_walk, self._walk_pull)
        along /= square
        by_step -= direction * along[:, None]
        by_walk -= self._walk_pull * along[:, None]

        # The steps of the week, each hour's residual to be made of them in place.
        steps = np.empty((2, raw.shape[0], WEEK_HOURS))
        centre, slope = steps
        np.multiply(deviation, direction, out=slope)
        np.multiply(deviation, by_step, out=centre)
        centre += np.where(jumped, jumps.a + jumps.mu_j, jumps.a)
        centre[:, 0] += jumps.phi * state
        self._accumulate(steps)
        walk = np.cumsum(by_walk, axis=1, out=by_walk)
        walk *= self._walk_deviation
        centre += walk
        centre += self._level
        slope += self._walk_slope
        slope /= np.sqrt(square)[:, None]
        return Weeks.of(centre, slope), points(normal[:, _POINT_NORMALS])

    def _accumulate(self, steps: FloatArray) -> None:
        """Make `P[i] = phi * P[i-1] + step[i]` of the steps of the last axis, in place."""
        if self._growing is not None:
            steps *= self._growing
            np.cumsum(steps, axis=-1, out=steps)
            steps *= self._shrinking
            return
        # After each round every hour holds the faded sum of twice as many steps.
        reach = 1
        while reach < WEEK_HOURS and self._powers[reach] > 0:
            steps[..., reach:] += self._powers[reach] * steps[..., :-reach]
            reach *= 2

    def _expected_payoff(self, weeks: Weeks, at: FloatArray) -> FloatArray:
        """An estimate without bias of the expected payoff, given all of a week but its normal."""
        # Mean prices at the points, those of the lognormal there, and the lognormal's expectation.
        means = np.empty((11, weeks.line.size))
        means[:5] = weeks.at(at)
        np.multiply(weeks.line, at, out=means[5:10])
        log_variance = np.zeros_like(means)
        np.multiply(weeks.line, weeks.line, out=log_variance[10])
        np.multiply(0.5, log_variance[10], out=means[10])
        means[5:] += weeks.level
        np.exp(means[5:], out=means[5:])
        paid = self._payoff(means, log_variance)
        payoff = over_normal(paid[:5] - paid[5:10], at)
        payoff += paid[10]
        return payoff

    def _payoff(self, week_mean: FloatArray, log_variance: FloatArray | float = 0.0) -> FloatArray:
        """Expected `min(cap, S) - min(strike, S)`.

        `S` is the price, which is `exp(W[551])` times the mean price of the week without it. That
        is given, or a lognormal of the given mean and variance of its logarithm.
        """
        forward = week_mean * self._factor_mean
        deviation = np.sqrt(self._factor_variance + log_variance)
        # Both limits at once, as rows. `min(limit, S)` is `S` minus a call, in the form that does
        # not cancel.
        rows = (2,) + (1,) * forward.ndim
        distance = np.log(forward) - self._log_limits.reshape(rows)
        distance /= deviation
        half = 0.5 * deviation
        limited = ndtr(-distance - half)
        limited *= forward
        distance -= half
        above = ndtr(distance, out=distance)
        above *= self._limits.reshape(rows)
        limited += above
        payoff: FloatArray = limited[0] - limited[1]
        return payoff
