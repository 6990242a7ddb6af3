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
5. Control variates: the payoff of a pair is all but a function of the mean `G` of the 168 log
   prices and of their variance `Q` around it. The expectations of `G`, `G**2` and `Q` are known
   exactly, so what the draws have too much of them is taken out by regression.

A pair is one independent observation, and the standard error is that of the regression over pairs.
On the fees of Ethereum mainnet a pair is worth more than 4,000 plain paths.
"""

from __future__ import annotations

from math import exp, isfinite, log, sqrt

import numpy as np
from attrs import frozen
from scipy.special import ndtr

from prover_reserve_price import randomness
from prover_reserve_price.errors import SimulationError
from prover_reserve_price.jump_model import JumpParameters
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

# Pairs that are simulated at once: 256 pairs of 168 hours make arrays of 0.3 MB, which stay in a
# processor's cache. Every pair owns its own counters, so this number changes no digit.
_PAIRS_AT_ONCE = 256

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

# The payoff and the controls that are recorded for each pair.
_PAYOFF, _MEAN, _MEAN_SQUARED, _SPREAD = range(4)


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
    observed = np.empty((4, pairs))
    for start in range(0, pairs, _PAIRS_AT_ONCE):
        stop = min(start + _PAIRS_AT_ONCE, pairs)
        counter = start * (_WORDS_PER_PAIR // randomness.WORDS_PER_COUNTER)
        # numpy sums a single column in another order than one of many, which moves its last digit:
        # a pair that is left over gets company.
        drawn = max(2, stop - start)
        raw = randomness.words(key, counter, drawn, _WORDS_PER_PAIR)
        observed[:, start:stop] = simulate(raw)[:, : stop - start]

    price, error = _regress(observed[_PAYOFF], observed[_MEAN:])
    if not (isfinite(price) and isfinite(error)):
        raise SimulationError(
            "the simulated prices are too large for a floating point number: the jump parameters "
            f"{law.jumps} or the weekly volatility {law.weekly_volatility:g} do not describe fees"
        )
    return Estimate(DISCOUNT * price, DISCOUNT * error, 2 * pairs)


class _PairSimulator:
    """Draws antithetic pairs of paths; what all pairs share is computed once.

    All arrays of a chunk have the hours as rows and the pairs as columns, and no operation mixes
    columns, so that a pair has the same digits in whatever chunk of two or more it is drawn.
    """

    def __init__(self, law: PathLaw) -> None:
        jumps = law.jumps
        self._law = law
        walk_variance = law.weekly_volatility**2 * WALK_DT
        walk_drift = WALK_DRIFT * WALK_DT - walk_variance / 2
        self._walk_deviation = sqrt(walk_variance)
        self._factor_mean = exp(_EARLIER_HOURS * WALK_DRIFT * WALK_DT)
        self._factor_deviation = self._walk_deviation * sqrt(_EARLIER_HOURS)

        # P[551] is the last residual and 551 innovations, each faded by the hours since.
        earlier_steps = _EARLIER_HOURS - 1
        self._fading = jumps.phi ** np.arange(earlier_steps - 1, -1, -1.0)[:, None]
        self._fading_squared = self._fading**2
        self._start = jumps.phi**earlier_steps * law.last_residual + jumps.a * self._fading.sum()
        self._start_variance = jumps.sigma_sq * self._fading_squared.sum()

        # Log price of an hour without its residual and without noise.
        hours = np.arange(1, WEEK_HOURS + 1, dtype=np.float64)
        self._level = (law.week_level + walk_drift * hours)[:, None]
        self._deviation_of_step = (sqrt(jumps.sigma_sq), sqrt(jumps.sigma_sq + jumps.sigma_sq_j))
        self._expect_controls(walk_variance * hours)

    def _expect_controls(self, walk_variance: FloatArray) -> None:
        """Exact expectations of the controls, from the means and covariances of the log prices."""
        jumps = self._law.jumps
        lam = jumps.lambda_
        step_mean = jumps.a + lam * jumps.mu_j
        step_variance = jumps.sigma_sq + lam * jumps.sigma_sq_j + lam * (1 - lam) * jumps.mu_j**2
        steps = np.arange(_EARLIER_HOURS, SIMULATED_HOURS)
        # Sums of phi**k over the k hours that lie between a step and the hour it is seen at.
        faded = np.cumsum(jumps.phi ** np.arange(SIMULATED_HOURS))
        faded_squared = np.cumsum(jumps.phi ** (2.0 * np.arange(SIMULATED_HOURS)))
        residual_mean = jumps.phi**steps * self._law.last_residual + step_mean * faded[steps - 1]
        residual_variance = step_variance * faded_squared[steps - 1]

        mean = residual_mean + self._level[:, 0]
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
        """Pair averages: the payoff, and controls minus their expectations; `(4, pairs)`."""
        known, noise = self._log_prices(raw)

        # With X = known + noise for one path of a pair and known - noise for the other, the odd
        # terms of the pair's averages cancel.
        known_mean = known.mean(axis=0)
        noise_mean = noise.mean(axis=0)
        excess_mean = known_mean - self._expected_mean
        excess_squared = excess_mean**2 + noise_mean**2
        spread = ((known - known_mean) ** 2).mean(axis=0) + (noise**2).mean(axis=0) - noise_mean**2
        level = np.exp(known)
        swing = np.exp(noise)
        payoff = self._payoff((level * swing).mean(axis=0))
        payoff += self._payoff((level / swing).mean(axis=0))
        excess_squared -= self._expected_mean_squared
        spread -= self._expected_spread
        return np.stack([payoff / 2, excess_mean, excess_squared, spread])

    def _log_prices(self, raw: randomness.Words) -> tuple[FloatArray, FloatArray]:
        """Log prices of the last week without the factor `exp(W[551])`, two of `(168, pairs)`.

        The first array is what the two paths of a pair have in common, the second what one adds and
        the other subtracts.
        """
        jumps = self._law.jumps
        # The first draw is spare, so that the number of halves is even.
        drawn = randomness.events(raw[:, :_JUMP_WORDS], jumps.lambda_)
        jumped = np.ascontiguousarray(drawn.T)[1:]
        normal = np.ascontiguousarray(randomness.normals(raw[:, _JUMP_WORDS:]).T)
        earlier, jumped = np.split(jumped, [_EARLIER_HOURS - 1])

        known = np.where(jumped, jumps.a + jumps.mu_j, jumps.a)
        noise = np.where(jumped, self._deviation_of_step[1], self._deviation_of_step[0])
        noise *= normal[1 : 1 + WEEK_HOURS]
        known_state = self._start + jumps.mu_j * np.where(earlier, self._fading, 0.0).sum(axis=0)
        variance = self._start_variance + jumps.sigma_sq_j * np.where(
            earlier, self._fading_squared, 0.0
        ).sum(axis=0)
        noise_state = np.sqrt(variance) * normal[0]
        for hour in range(WEEK_HOURS):
            known_state *= jumps.phi
            known_state += known[hour]
            known[hour] = known_state
            noise_state *= jumps.phi
            noise_state += noise[hour]
            noise[hour] = noise_state

        walk = np.cumsum(normal[1 + WEEK_HOURS : 1 + 2 * WEEK_HOURS], axis=0)
        walk *= self._walk_deviation
        noise += walk
        known += self._level
        return known, noise

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

    Least squares of the payoff on a constant and the controls; the constant is the answer.
    """
    # A control that does not vary (the mean, where no hour has a jump of its own) would be taken
    # for the constant, and its rounding for information.
    controls = controls[np.ptp(controls, axis=1) > _SMALLEST_VARIATION]
    scaled = controls / np.abs(controls).max(axis=1, keepdims=True)
    columns = np.vstack([np.ones_like(payoff), scaled]).T
    unit = float(np.abs(payoff).max()) or 1.0
    left, size, right = np.linalg.svd(columns, full_matrices=False)
    # Two controls that say the same are one.
    used = size > 1e-10 * size[0]
    coordinates = (left.T @ (payoff / unit))[used]
    loading = right[used, 0] / size[used]
    leftover = payoff / unit - left[:, used] @ coordinates
    variance = float(leftover @ leftover) / (payoff.size - int(used.sum()))
    return unit * float(coordinates @ loading), unit * sqrt(variance * float(loading @ loading))
