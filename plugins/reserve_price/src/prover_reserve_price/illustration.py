"""What a reserve price looks like: a fan of paths, the payoffs, the season that was fitted.

The price itself is computed by conditional Monte Carlo, which draws no whole path
(`prover_reserve_price.simulation`). What is drawn here are plain paths of the same law, some
hundreds of them: enough to see, too few to settle anything.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import frozen

from prover_framework import (
    HOUR_SECONDS,
    Axis,
    Band,
    Chart,
    Curve,
    Histogram,
    HourlySeries,
    Mark,
    Span,
    Unit,
)
from prover_reserve_price import ReservePriceResult
from prover_reserve_price.randomness import key_from_seed
from prover_reserve_price.season import FloatArray, Season, Trend
from prover_reserve_price.simulation import (
    DISCOUNT,
    SIMULATED_HOURS,
    WALK_DRIFT,
    WALK_DT,
    WEEK_HOURS,
)

# Paths of the fan: percentiles of them are steady to the eye.
PATHS = 2000

# Hours of the past before the fan.
PAST_HOURS = 2 * WEEK_HOURS

BARS = 40

NOTE = f"{PATHS:,} plain paths of the fitted model; the price is computed in another way."


@frozen(eq=False)
class _Fitted:
    """The model as it was fitted to a series."""

    result: ReservePriceResult
    fees: FloatArray
    first_hour: int

    @property
    def season(self) -> Season:
        return Season(self.result.season)

    @property
    def trend(self) -> Trend:
        return Trend(self.result.trend_slope, self.result.trend_intercept)

    def paths(self, seed: bytes) -> FloatArray:
        """Draw base fees in wei, shape `(PATHS, SIMULATED_HOURS)`, from the last hour on."""
        draws = np.random.Generator(np.random.Philox(key=key_from_seed(seed)))
        jumps = self.result.calibration
        last = self.fees.size - 1
        level = self.season.at(last + np.arange(SIMULATED_HOURS)) + self.trend.at(last)
        fitted = float(self.season.at(np.array([last]))[0]) + self.trend.at(last)
        residual = np.full(PATHS, log(float(self.fees[-1])) - fitted)
        step = self.result.weekly_volatility * sqrt(WALK_DT)
        drift = WALK_DRIFT * WALK_DT - step**2 / 2
        walk = np.zeros(PATHS)
        logs = np.empty((PATHS, SIMULATED_HOURS))
        for hour in range(SIMULATED_HOURS):
            if hour:
                jumped = draws.random(PATHS) < jumps.jump_probability
                spread = np.sqrt(jumps.sigma_sq + jumped * jumps.sigma_sq_j)
                noise = spread * draws.standard_normal(PATHS)
                residual = jumps.phi * residual + jumps.a + jumped * jumps.mu_j + noise
            walk = walk + drift + step * draws.standard_normal(PATHS)
            logs[:, hour] = level[hour] + residual + walk
        paths: FloatArray = np.exp(logs)
        return paths


def reserve_price_charts(
    series: HourlySeries, result: ReservePriceResult, seed: bytes
) -> list[Chart]:
    """Return the charts of a reserve price.

    Args:
        series: The hours that it was fitted to.
        result: What it came to.
        seed: 32 bytes that the paths are drawn from.
    """
    fitted = _Fitted(result, np.array(series.means_wei()), series.first_hour)
    paths = fitted.paths(seed)
    return [_fan(fitted, paths), _payoffs(fitted, paths), _season(fitted)]


def _fan(fitted: _Fitted, paths: FloatArray) -> Chart:
    result = fitted.result
    last = fitted.first_hour + (fitted.fees.size - 1) * HOUR_SECONDS
    past = fitted.fees[-PAST_HOURS:]
    before = last - (past.size - 1 - np.arange(past.size)) * HOUR_SECONDS
    ahead = _numbers(last + np.arange(SIMULATED_HOURS) * HOUR_SECONDS)
    low, quarter, middle, three, high = map(
        _numbers, np.percentile(paths, [5, 25, 50, 75, 95], axis=0)
    )
    return Chart(
        name="paths",
        title="Simulated base fee over the next 30 days, with strike and cap",
        x=Axis(title="Hour", unit=Unit.TIME),
        y=Axis(title="Base fee", unit=Unit.WEI),
        curves=(
            Curve(name="Mean of the hour", x=_numbers(before), y=_numbers(past)),
            Curve(name="Median of the paths", x=ahead, y=middle),
        ),
        bands=(
            Band(name="9 of 10 paths", x=ahead, low=low, high=high),
            Band(name="Half of the paths", x=ahead, low=quarter, high=three),
        ),
        spans=(
            Span(
                name="Week that is priced",
                start=float(last + (SIMULATED_HOURS - WEEK_HOURS) * HOUR_SECONDS),
                end=float(last + SIMULATED_HOURS * HOUR_SECONDS),
            ),
        ),
        marks=(Mark(name="Strike", y=result.strike), Mark(name="Cap", y=result.cap)),
        note=NOTE,
    )


def _payoffs(fitted: _Fitted, paths: FloatArray) -> Chart:
    result = fitted.result
    price = paths[:, -WEEK_HOURS:].mean(axis=1)
    paid = DISCOUNT * (np.minimum(price, result.cap) - np.minimum(price, result.strike))
    highest = DISCOUNT * (result.cap - result.strike)
    counts, edges = np.histogram(paid, bins=BARS, range=(0.0, highest))
    error = result.standard_error
    return Chart(
        name="payoffs",
        title="Present value of the payoff on simulated paths, and the reserve price",
        x=Axis(title="Present value of the payoff", unit=Unit.WEI),
        y=Axis(title="Paths", unit=Unit.COUNT),
        histogram=Histogram(name="Paths", edges=_numbers(edges), counts=_numbers(counts)),
        spans=(
            Span(
                name="Two standard errors of the price",
                start=result.reserve_price - 2 * error,
                end=result.reserve_price + 2 * error,
            ),
        ),
        marks=(Mark(name="Reserve price", x=result.reserve_price),),
        note=f"{NOTE} The first bar holds the paths that end below the strike, the last the cap's.",
    )


def _season(fitted: _Fitted) -> Chart:
    hours = np.arange(WEEK_HOURS)
    # The first hour of a series is any hour of a week: Monday's first is where the chart begins.
    monday = (-(fitted.first_hour // HOUR_SECONDS + 72)) % WEEK_HOURS
    place = np.arange(fitted.fees.size)
    trend = fitted.result.trend_slope * place + fitted.result.trend_intercept
    left = np.log(fitted.fees) - trend
    hour_of_week = (place - monday) % WEEK_HOURS
    seen = np.array([left[hour_of_week == hour].mean() for hour in hours])
    return Chart(
        name="season",
        title="Daily and weekly season of the base fee, fitted and seen",
        x=Axis(title="Hours since Monday, 00:00 UTC", unit=Unit.HOURS),
        y=Axis(title="Above the trend", unit=Unit.FRACTION),
        curves=(
            Curve(
                name="Fitted season",
                x=_numbers(hours),
                y=_numbers(np.expm1(fitted.season.at(hours + monday))),
            ),
            Curve(
                name="Mean of each hour in the data",
                x=_numbers(hours),
                y=_numbers(np.expm1(seen)),
            ),
        ),
    )


def _numbers(array: npt.NDArray[Any]) -> tuple[float, ...]:
    return tuple(map(float, array))
