"""From hourly base fees to the reserve price: the one function that the proof type calls.

The reserve price is the present value of a capped at-the-money call on the 7-day mean of the base
fee, 720 hours after the last hour of the data.
"""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import numpy.typing as npt
from attrs import frozen

from prover_reserve_price import MIN_HOURS
from prover_reserve_price.calibration import Calibration, calibrate, check_calibration
from prover_reserve_price.errors import FlatSeriesError, InvalidFeeError, SeriesTooShortError
from prover_reserve_price.jump_model import JumpParameters
from prover_reserve_price.season import FloatArray, Season, Trend, decompose, mean_and_variance
from prover_reserve_price.simulation import (
    SIMULATED_HOURS,
    WEEK_HOURS,
    PathLaw,
    estimate_price,
)

# The payoff ends where the price is this many times the strike.
CAP_FACTOR = 1.3

# Standard error of 0.01 % of the price on Ethereum mainnet, a fiftieth of what is asked for, and
# known to a fifth itself.
DEFAULT_PATHS = 16


@frozen
class ReservePrice:
    """A reserve price with everything that it was made from."""

    price_wei: float
    standard_error_wei: float
    """Standard deviation of the simulation's error in `price_wei`."""
    paths: int
    """Simulated paths, each independent of the others."""
    hours: int
    """Length of the series."""
    strike_wei: float
    """Mean fee of the last 168 hours."""
    cap_wei: float
    """Price above which the payoff grows no further."""
    weekly_volatility: float
    """Standard deviation of the hourly change of the log 7-day mean, times `sqrt(168)`."""
    trend: Trend
    season: Season
    last_residual: float
    """Log fee of the last hour minus its trend and season: where every path starts."""
    calibration: Calibration


def reserve_price(
    base_fees_wei: npt.ArrayLike,
    seed: bytes,
    *,
    paths: int = DEFAULT_PATHS,
    parameters: JumpParameters | None = None,
    found: Calibration | None = None,
) -> ReservePrice:
    """Price the capped call on a series of hourly mean base fees in wei, oldest first.

    `seed` is a SHA-256 digest; the same fees, seed and paths give the same digits. Whoever verifies
    a price passes the `parameters` of its calibration: they are checked by gradient and likelihood
    and used as they are, so that the last digits of somebody else's search do not matter. What a
    search has `found` for the same fees already need not be searched again.

    Raises:
        SeriesTooShortError: fewer than 336 hours.
        InvalidFeeError: a fee that is not positive and finite, or not one fee for each hour.
        FlatSeriesError: the fees, or their weekly means, do not move.
        CalibrationError: the jump parameters are not at a minimum.
        BetterCalibrationError: the given parameters are at one, but not at the lowest.
        SimulationError: a wrong seed or number of paths, or prices too large for a float.
    """
    fees = _checked(base_fees_wei)
    strike, volatility = _strike_and_volatility(fees)
    parts = decompose(np.log(fees))
    residual = parts.residual
    if parameters is None:
        calibration = calibrate(residual)
    else:
        calibration = check_calibration(residual, parameters, found)

    last_hour = fees.size - 1
    week = last_hour + np.arange(SIMULATED_HOURS - WEEK_HOURS, SIMULATED_HOURS)
    law = PathLaw(
        jumps=calibration.parameters,
        last_residual=float(residual[-1]),
        week_level=parts.season.at(week) + parts.trend.at(last_hour),
        weekly_volatility=volatility,
        strike_wei=strike,
        cap_wei=CAP_FACTOR * strike,
    )
    estimate = estimate_price(law, seed, paths)
    return ReservePrice(
        price_wei=estimate.price_wei,
        standard_error_wei=estimate.standard_error_wei,
        paths=estimate.paths,
        hours=fees.size,
        strike_wei=strike,
        cap_wei=law.cap_wei,
        weekly_volatility=volatility,
        trend=parts.trend,
        season=parts.season,
        last_residual=law.last_residual,
        calibration=calibration,
    )


def _checked(base_fees_wei: npt.ArrayLike) -> FloatArray:
    fees = np.asarray(base_fees_wei, dtype=np.float64)
    if fees.ndim != 1:
        raise InvalidFeeError(
            f"the fees have {fees.ndim} dimensions, expected one value for each hour"
        )
    if fees.size < MIN_HOURS:
        raise SeriesTooShortError(fees.size, MIN_HOURS)
    # Not true for what is not a number.
    if not (fees.min() > 0 and fees.max() < inf):
        wrong = np.flatnonzero(~((fees > 0) & np.isfinite(fees)))
        raise InvalidFeeError(
            f"the base fee of hour {wrong[0]} of the series (the first is 0) is {fees[wrong[0]]} "
            f"wei, which has no logarithm; {wrong.size} of {fees.size} hours are like that. "
            "The reserve price needs a positive fee in every hour: check the source of the fees"
        )
    return fees


def _strike_and_volatility(fees: FloatArray) -> tuple[float, float]:
    """Last 7-day mean in wei, and the weekly volatility of the logarithm of the 7-day mean."""
    # Sums of what is above the first fee: a constant series has none, to the last digit.
    above = fees - fees[0]
    week_sum = above.cumsum()
    week_sum[WEEK_HOURS:] -= week_sum[:-WEEK_HOURS].copy()
    # The first hours have no full week behind them; theirs is the mean of what there is.
    hours = np.minimum(np.arange(1.0, fees.size + 1), WEEK_HOURS)
    week_mean = week_sum / hours + fees[0]
    strike = float(np.add.reduce(fees[-WEEK_HOURS:])) / WEEK_HOURS
    log_mean = np.log(week_mean)
    changes = log_mean[1:] - log_mean[:-1]
    _, variance = mean_and_variance(changes)
    volatility = sqrt(variance * changes.size / (changes.size - 1) * WEEK_HOURS)
    # Rounding alone makes changes of 1e-16; any fee that moves makes far larger ones.
    if not volatility > 1e-13:
        raise FlatSeriesError(
            f"the 7-day mean of the base fee is {strike:.6g} wei in all {fees.size} hours: "
            "its volatility is zero, so there is no option to price. A constant series is not "
            "a market's; check where the fees come from"
        )
    return strike, volatility
