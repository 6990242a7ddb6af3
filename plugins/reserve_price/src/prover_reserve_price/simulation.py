"""The expected payoff of a capped call on the last week's mean fee, by conditional Monte Carlo.

Hour `i = 0 .. 719` of a path has the log price

    X[i] = P[i] + season(n - 1 + i) + trend(n - 1) + W[i]

with `P` the jump model started at the last residual and `W[i]` the sum of `i + 1` steps of a random
walk. The price of a path is the mean of `exp(X)` over its last 168 hours. Nothing below changes
that law; it only avoids drawing what can be computed:

1. Only the last 168 hours enter. Given which of the first 551 steps had a jump, `P[551]` is
   normal, so it takes one normal and 551 draws of a yes or no.
2. The two normals of a step merge into one of variance `sigma_sq + J * sigma_sq_j`.
3. `W[551]` multiplies all 168 prices by one lognormal factor. Given the rest of a path, the
   expected payoff is a difference of two Black-Scholes values: no draw at all, and the estimate is
   smooth.
4. Antithetic pairs: jumps shared, all normals with the opposite sign.
5. A control variate. The payoff of a path is now a function of the mean `A` of the 168 prices,
   whose first two moments are known exactly (`moments.py`). The quadratic in `A` that is nearest to
   the payoff for a lognormal of these moments takes the place of the payoff, and only the
   difference is left to the draws. Its coefficients follow from the law and not from the draws, so
   the estimate has no bias, and its error is that of a mean.
6. Where jumps or the variance are so large that paths which no sample holds make up the moments of
   `A`, the controls are the mean `G` of the log prices, `G**2` and their variance `Q` around it,
   whose expectations are known, too. What the draws have too much of them is taken out by
   regression.

A pair is one independent observation. The standard error is the jackknife's, which is honest also
where a few pairs decide about a coefficient. On the fees of Ethereum mainnet a pair is worth more
than 20,000 plain paths.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, isfinite, log, sqrt

import numpy as np
from attrs import frozen
from scipy.special import ndtr

from prover_reserve_price import randomness
from prover_reserve_price.errors import SimulationError
from prover_reserve_price.jump_model import JumpParameters
from prover_reserve_price.moments import WeekMoments, log_excess, week_moments
from prover_reserve_price.season import FloatArray

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

# Pairs that are simulated at once: the largest array, of 32 times 700 words, has 180 kB and
# stays in a processor's cache. Every pair owns its own counters, so this number changes no digit.
_PAIRS_AT_ONCE = 32

# Fewest and most paths. Below, the regression has too few observations for an honest error; above,
# nothing is gained (the error is already 0.002 %) and memory grows by 16 bytes a path.
MIN_PATHS = 64
MAX_PATHS = 4_000_000

# Words of one pair: 719 jumps, two in a word, then a normal for the state before the last week and
# two normals for each hour of it. Both parts are whole counters.
_JUMP_WORDS = SIMULATED_HOURS // 2
_NORMAL_WORDS = 340
_WORDS_PER_PAIR = _JUMP_WORDS + _NORMAL_WORDS

# Controls are log prices and squares of them. What varies less than this is their rounding.
_SMALLEST_VARIATION = 1e-10

# The quadratic is the control where the variance of the lognormal's logarithm lies between these. A
# price that varies less is a constant to the last digits; with one that varies more, the mean log
# price is the better control.
_SMALLEST_LOG_VARIANCE = 1e-8
_LARGEST_LOG_VARIANCE = 0.2

# A mean price that is this many times the strike, or this small a part, has no square in a float.
_LARGEST_MEAN = 1e100

# And where the jumps leave a price near a lognormal (see `log_excess`; it is 0.7 on mainnet). Rare
# jumps of a factor of four make it 15: few samples hold one, and those that do not, tell nothing.
_LARGEST_LOG_EXCESS = 2.0

# The lognormal that the quadratic is fitted to, as a rule of as many points.
_NORMAL_POINTS, _NORMAL_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_NORMAL_WEIGHTS /= _NORMAL_WEIGHTS.sum()


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
    """Discounted expected payoff; an odd number of paths is raised by one to make pairs.

    Raises:
        SimulationError: a wrong seed or number of paths, or prices too large for a float.
    """
    if not MIN_PATHS <= paths <= MAX_PATHS:
        raise SimulationError(
            f"{paths} paths asked for: choose a number from {MIN_PATHS} to {MAX_PATHS}"
        )
    key = randomness.key_from_seed(seed)
    pairs = (paths + 1) // 2
    simulate = _PairSimulator(law)
    observed = np.empty((simulate.rows, pairs))
    for start in range(0, pairs, _PAIRS_AT_ONCE):
        stop = min(start + _PAIRS_AT_ONCE, pairs)
        counter = start * (_WORDS_PER_PAIR // randomness.WORDS_PER_COUNTER)
        raw = randomness.words(key, counter, stop - start, _WORDS_PER_PAIR)
        observed[:, start:stop] = simulate(raw)

    price, error = _regress(observed[0], observed[1:])
    if not (isfinite(price) and isfinite(error)):
        raise SimulationError(
            "the simulated prices are too large for a floating point number: the jump parameters "
            f"{law.jumps} or the weekly volatility {law.weekly_volatility:g} do not describe fees"
        )
    return Estimate(DISCOUNT * price, DISCOUNT * error, 2 * pairs)


@frozen
class _Quadratic:
    """A quadratic of the week's mean price whose expectation is zero."""

    unit: float
    moments: WeekMoments
    linear: float
    square: float

    @classmethod
    def fit(
        cls, payoff: Callable[[FloatArray], FloatArray], unit: float, moments: WeekMoments
    ) -> _Quadratic | None:
        """Least squares for a lognormal with the moments of the price; none where they are extreme.

        The moments are those of the price in `unit`; the payoff takes a price in wei.
        """
        mean, square = moments.mean, moments.mean_square
        # Also false for what is not a number.
        if not (1 / _LARGEST_MEAN < mean < _LARGEST_MEAN and 0 < square < inf):
            return None
        spread = log(square) - 2 * log(mean)
        if not _SMALLEST_LOG_VARIANCE <= spread <= _LARGEST_LOG_VARIANCE:
            return None
        price = np.exp(log(mean) - spread / 2 + sqrt(spread) * _NORMAL_POINTS)
        # Orthogonal polynomials of the lognormal, of degree one and two.
        first = price - mean
        second = price**2 - square
        weighted = _NORMAL_WEIGHTS * first
        shared = float((weighted * second).sum() / (weighted * first).sum())
        second -= shared * first
        paid = payoff(unit * price)
        linear = float((weighted * paid).sum() / (weighted * first).sum())
        weighted = _NORMAL_WEIGHTS * second
        curved = float((weighted * paid).sum() / (weighted * second).sum())
        return cls(unit, moments, linear - shared * curved, curved)

    def __call__(self, price: FloatArray) -> FloatArray:
        scaled = price / self.unit
        excess: FloatArray = self.linear * (scaled - self.moments.mean)
        excess += self.square * (scaled**2 - self.moments.mean_square)
        return excess


class _PairSimulator:
    """Draws antithetic pairs of paths; what all pairs share is computed once.

    All arrays of a chunk have the pairs as rows and the hours as columns, and no operation mixes
    rows, so that a pair has the same digits in whatever chunk it is drawn.
    """

    def __init__(self, law: PathLaw) -> None:
        jumps = law.jumps
        self._law = law
        walk_variance = law.weekly_volatility**2 * WALK_DT
        walk_drift = WALK_DRIFT * WALK_DT - walk_variance / 2
        self._walk_deviation = sqrt(walk_variance)
        self._factor_mean = exp(_EARLIER_HOURS * WALK_DRIFT * WALK_DT)
        self._factor_deviation = self._walk_deviation * sqrt(_EARLIER_HOURS)
        self._powers = jumps.phi ** np.arange(float(SIMULATED_HOURS))

        # P[551] is the last residual and 551 innovations, each faded by the hours since.
        earlier_steps = _EARLIER_HOURS - 1
        self._fading = self._powers[:earlier_steps][::-1]
        start = self._powers[earlier_steps] * law.last_residual + jumps.a * self._fading.sum()
        start_variance = jumps.sigma_sq * (self._fading**2).sum()
        self._start, self._start_variance = float(start), float(start_variance)

        # Log price of an hour without its residual and without noise.
        hours = np.arange(1.0, WEEK_HOURS + 1)
        self._level = law.week_level + walk_drift * hours
        self._deviation_of_step = (sqrt(jumps.sigma_sq), sqrt(jumps.sigma_sq + jumps.sigma_sq_j))
        self._quadratic = self._fit_quadratic(walk_variance)
        if self._quadratic is None:
            self._expect_controls(walk_variance * hours)
        self.rows = 4 if self._quadratic is None else 1

    def _fit_quadratic(self, walk_variance: float) -> _Quadratic | None:
        law = self._law
        with np.errstate(over="ignore", invalid="ignore"):
            if not log_excess(law.jumps, self._powers) <= _LARGEST_LOG_EXCESS:
                return None
            level = self._level - log(law.strike_wei)
            moments = week_moments(law.jumps, law.last_residual, self._powers, level, walk_variance)
        return _Quadratic.fit(self._payoff, law.strike_wei, moments)

    def _expect_controls(self, walk_variance: FloatArray) -> None:
        """Exact expectations of the controls, from the means and covariances of the log prices."""
        jumps = self._law.jumps
        lam = jumps.lambda_
        step_mean = jumps.a + lam * jumps.mu_j
        step_variance = jumps.sigma_sq + lam * jumps.sigma_sq_j + lam * (1 - lam) * jumps.mu_j**2
        # Sums of phi**k over the k hours that lie between a step and the hour it is seen at.
        faded = np.cumsum(self._powers)
        faded_squared = np.cumsum(self._powers**2)
        week = slice(_EARLIER_HOURS - 1, SIMULATED_HOURS - 1)
        residual_mean = self._powers[_EARLIER_HOURS:] * self._law.last_residual
        residual_mean += step_mean * faded[week]
        residual_variance = step_variance * faded_squared[week]

        mean = residual_mean + self._level
        variance = residual_variance + walk_variance
        # An hour's covariance with itself and twice that with each later hour of the week. The
        # residual's fades by phi each hour, the walk's stays.
        later = np.arange(WEEK_HOURS - 1, -1, -1)
        covariance_sum = (residual_variance * (2 * faded[later] - 1)).sum() + (
            walk_variance * (2 * later + 1)
        ).sum()
        self._expected_mean = float(mean.mean())
        self._expected_mean_squared = float(covariance_sum) / WEEK_HOURS**2
        self._expected_spread = float(
            (variance + (mean - self._expected_mean) ** 2).mean() - self._expected_mean_squared
        )

    def __call__(self, raw: randomness.Words) -> FloatArray:
        """Pair averages: the payoff, then controls minus their expectations; `(rows, pairs)`."""
        known, noise = self._log_prices(raw)
        level = np.exp(known)
        swing = np.exp(noise)
        prices = np.stack([(level * swing).mean(axis=1), (level / swing).mean(axis=1)])
        payoff = self._payoff(prices)
        if self._quadratic is not None:
            payoff -= self._quadratic(prices)
            difference: FloatArray = payoff.mean(axis=0, keepdims=True)
            return difference
        return np.stack([payoff.mean(axis=0), *self._log_controls(known, noise)])

    def _log_controls(self, known: FloatArray, noise: FloatArray) -> tuple[FloatArray, ...]:
        """Mean, squared mean and spread of the log prices, each minus its expectation."""
        # With X = known + noise for one path of a pair and known - noise for the other, the odd
        # terms of the pair's averages cancel.
        known_mean = known.mean(axis=1)
        noise_mean = noise.mean(axis=1)
        spread = ((known - known_mean[:, None]) ** 2).mean(axis=1)
        spread += (noise**2).mean(axis=1) - noise_mean**2
        excess = known_mean - self._expected_mean
        return (
            excess,
            excess**2 + noise_mean**2 - self._expected_mean_squared,
            spread - self._expected_spread,
        )

    def _log_prices(self, raw: randomness.Words) -> tuple[FloatArray, FloatArray]:
        """Log prices of the last week without the factor `exp(W[551])`, two of `(pairs, 168)`.

        The first array is what the two paths of a pair have in common, the second what one adds and
        the other subtracts.
        """
        jumps = self._law.jumps
        # The first draw is spare, so that the number of halves is even.
        jumped = randomness.events(raw[:, :_JUMP_WORDS], jumps.lambda_)
        earlier, jumped = jumped[:, 1:_EARLIER_HOURS], jumped[:, _EARLIER_HOURS:]
        normal = randomness.normals(raw[:, _JUMP_WORDS:])

        # The steps of the week, each hour's residual to be made of them in place.
        steps = np.empty((2, raw.shape[0], WEEK_HOURS))
        known, noise = steps
        known[:] = np.where(jumped, jumps.a + jumps.mu_j, jumps.a)
        noise[:] = np.where(jumped, self._deviation_of_step[1], self._deviation_of_step[0])
        noise *= normal[:, 1 : 1 + WEEK_HOURS]
        faded = earlier * self._fading
        state = self._start + jumps.mu_j * faded.sum(axis=1)
        faded *= faded
        variance = self._start_variance + jumps.sigma_sq_j * faded.sum(axis=1)
        known[:, 0] += jumps.phi * state
        noise[:, 0] += jumps.phi * np.sqrt(variance) * normal[:, 0]
        self._accumulate(steps)

        walk = np.cumsum(normal[:, 1 + WEEK_HOURS : 1 + 2 * WEEK_HOURS], axis=1)
        walk *= self._walk_deviation
        noise += walk
        known += self._level
        return known, noise

    def _accumulate(self, steps: FloatArray) -> None:
        """Make `P[i] = phi * P[i-1] + step[i]` of the steps of the last axis, in place.

        After each round every hour holds the faded sum of twice as many steps.
        """
        reach = 1
        while reach < WEEK_HOURS and self._powers[reach] > 0:
            steps[..., reach:] += self._powers[reach] * steps[..., :-reach]
            reach *= 2

    def _payoff(self, week_mean: FloatArray) -> FloatArray:
        """Expected `min(cap, S) - min(strike, S)` with `S` the week's mean times `exp(W[551])`."""
        forward = week_mean * self._factor_mean
        return self._limited(forward, self._law.cap_wei) - self._limited(
            forward, self._law.strike_wei
        )

    def _limited(self, forward: FloatArray, limit: float) -> FloatArray:
        """Expected `min(limit, S)`: `S` minus a call, in the form that does not cancel."""
        deviation = self._factor_deviation
        distance = (np.log(forward) - log(limit)) / deviation
        below: FloatArray = forward * ndtr(-distance - deviation / 2)
        above: FloatArray = limit * ndtr(distance - deviation / 2)
        return below + above


def _regress(payoff: FloatArray, controls: FloatArray) -> tuple[float, float]:
    """Mean of the payoff where every control has its expectation, which is zero, and its error.

    Least squares of the payoff on a constant and the controls; the constant is the answer. The
    error is the jackknife's: each observation's residual is what it would be, were it left out.
    """
    if not controls.size:
        unit = float(np.abs(payoff).max()) or 1.0
        return float(payoff.mean()), unit * float((payoff / unit).std(ddof=1)) / sqrt(payoff.size)
    # A control that does not vary (the mean, where no hour has a jump of its own) would be taken
    # for the constant, and its rounding for information.
    controls = controls[np.ptp(controls, axis=1) > _SMALLEST_VARIATION]
    scaled = controls / np.abs(controls).max(axis=1, keepdims=True)
    columns = np.vstack([np.ones_like(payoff), scaled]).T
    unit = float(np.abs(payoff).max()) or 1.0
    left, size, right = np.linalg.svd(columns, full_matrices=False)
    # Two controls that say the same are one.
    used = size > 1e-10 * size[0]
    left = left[:, used]
    coordinates = left.T @ (payoff / unit)
    loading = right[used, 0] / size[used]
    # The part of an observation that the fit without it would not follow. One alone in its
    # direction has none, and no say about the error.
    own = np.maximum(1 - (left**2).sum(axis=1), _SMALLEST_VARIATION)
    leftover = (payoff / unit - left @ coordinates) / own
    error = np.sqrt((((left @ loading) * leftover) ** 2).sum())
    return unit * float(coordinates @ loading), unit * float(error)
