"""Reserve price: the present value of a capped call on the 7-day mean base fee, 30 days ahead.

The numerical libraries are imported where a price is computed, so that a service that only takes
requests does not carry them in its memory.
"""

from collections.abc import Iterator
from math import isclose
from typing import TYPE_CHECKING

from attrs import frozen

from prover_framework import (
    Chart,
    HourlySeries,
    Inputs,
    Need,
    ProofError,
    ProofType,
    RangeParameters,
    RangeTooShort,
    Verdict,
    felt_from_float,
    felt_hex,
    hookimpl,
    hourly_base_fees,
)

# The version of the hooks that this is written for.
PROVER_API = 1

if TYPE_CHECKING:
    from prover_reserve_price.pricing import ReservePrice

# Two weeks: fewer hours do not hold the weekly season twice, and then it is not a season.
MIN_HOURS = 336

# The standard error that is aimed at, as a fraction of the price.
MAX_RELATIVE_ERROR = 0.005

# Numbers of paths to try until the standard error is small enough. The first gives 0.01 % on
# Ethereum mainnet; the last takes a second, and what is not accurate then is a price near zero.
PATHS = (16, 64, 256, 1024, 4096, 16384, 65536)

# Names the generator and the rules of `prover_reserve_price.randomness`.
GENERATOR = "philox4x64-10/ndtri-1"

# How far two machines may be apart in what follows from the same calibration.
TOLERANCE = 1e-9

# How far apart they may be in the gradient there: its terms are large and cancel, so that it is
# known by its absolute error alone. A calibration is accepted up to 0.05.
GRADIENT_TOLERANCE = 1e-6

# How far apart the prices may be to which the searches of two machines lead. Both end where the
# gradient is below 1e-8 (10,000 times what is accepted here); prices were seen to differ by 1e-14,
# and the eighth digit of a calibration by another processor. What is left to choose for somebody
# who picks a calibration on purpose is this fraction of the price.
SEARCH_TOLERANCE = 1e-7
SEARCH_GRADIENT = 1e-4


@frozen(kw_only=True)
class CalibrationResult:
    """The calibrated jump model of the hourly log fee.

    Args:
        a: Drift of the residual for an hour.
        phi: Share of the residual that remains after an hour.
        mu_j: Mean of a jump.
        sigma_sq: Variance of an hour without a jump.
        sigma_sq_j: Variance that a jump adds.
        jump_probability: Probability of a jump in an hour (lambda).
        negative_log_likelihood: What was minimised.
        projected_gradient: The gradient at the minimum in the order of the parameters above; at
            a bound only what points inward. Each is at most 0.05 in absolute value.
    """

    a: float
    phi: float
    mu_j: float
    sigma_sq: float
    sigma_sq_j: float
    jump_probability: float
    negative_log_likelihood: float
    projected_gradient: tuple[float, ...]


@frozen(kw_only=True)
class ReservePriceResult:
    """The reserve price with what it was made from.

    Args:
        reserve_price: The price, in wei.
        reserve_price_felt: The floor of that double times 2^128, as the chain writes it.
        standard_error: Standard error of the price, in wei: the deviation of the paths over the
            root of their number, so that the error of the price, in standard errors, follows
            Student's t with one degree of freedom less than there are paths.
        paths: Number of simulated paths, each independent of the others.
        hours: Number of hours of the series.
        strike: Mean base fee of the last 7 days, in wei.
        cap: Price above which the payoff grows no further, in wei.
        trend_slope: Slope of the log fee for an hour.
        trend_intercept: Log fee of the trend at the first hour.
        season: The 12 coefficients of the season, in the order of the method.
        weekly_volatility: Standard deviation of the log 7-day mean over a week.
        calibration: The calibrated jump model.
    """

    reserve_price: float
    reserve_price_felt: str
    standard_error: float
    paths: int
    hours: int
    strike: float
    cap: float
    trend_slope: float
    trend_intercept: float
    season: tuple[float, ...]
    weekly_volatility: float
    calibration: CalibrationResult


@hookimpl
def proof_type() -> ProofType[RangeParameters, ReservePriceResult]:
    """Register the reserve price."""
    return ProofType(
        name="reserve_price",
        title="Reserve Price",
        version="3",
        parameters=RangeParameters,
        result=ReservePriceResult,
        required=True,
        generator=GENERATOR,
    )


@hookimpl
def inputs(parameters: RangeParameters) -> dict[str, Need]:
    """Ask for the range's base fees, if there are enough hours in it."""
    hours = len(parameters.range.require_hours())
    if hours < MIN_HOURS:
        raise RangeTooShort(
            f"the reserve price needs at least {MIN_HOURS} hours and the range has {hours}"
        )
    return {"hourly_base_fee": hourly_base_fees(parameters.range)}


@hookimpl
def compute(inputs: Inputs, seed: bytes) -> ReservePriceResult:
    """Price the call on the range's hours."""
    return _result(_price(inputs["hourly_base_fee"], seed))


@hookimpl
def verify(inputs: Inputs, seed: bytes, claimed: ReservePriceResult) -> Verdict:
    """Check the claimed calibration, and compute again what follows from it.

    The last digits of a calibration depend on the processor's instructions, so another machine's
    search need not end at the same digits; seed and draws are the same everywhere. What a search
    here comes to leaves whoever claims another calibration no room: its gradient has to vanish,
    its likelihood to be the same, and its price as good as the same.
    """
    series, calibration = inputs["hourly_base_fee"], claimed.calibration
    try:
        own = _price(series, seed)
        price = _price(
            series,
            seed,
            own,
            (
                calibration.a,
                calibration.phi,
                calibration.mu_j,
                calibration.sigma_sq,
                calibration.sigma_sq_j,
                calibration.jump_probability,
            ),
        )
    except ProofError as error:
        return Verdict(accepted=False, reason=str(error))
    again = _result(price)
    for name in ("paths", "hours"):
        if getattr(again, name) != getattr(claimed, name):
            return _differs(name, getattr(claimed, name), getattr(again, name))
    if claimed.reserve_price_felt != felt_hex(felt_from_float(claimed.reserve_price)):
        return Verdict(accepted=False, reason="reserve_price_felt is not that of reserve_price")
    for name, theirs, ours in _numbers(claimed, again):
        if not isclose(theirs, ours, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return _differs(name, theirs, ours)
    gradient = again.calibration.projected_gradient
    if len(calibration.projected_gradient) != len(gradient) or not all(
        isclose(theirs, ours, rel_tol=TOLERANCE, abs_tol=GRADIENT_TOLERANCE)
        for theirs, ours in zip(calibration.projected_gradient, gradient, strict=True)
    ):
        return _differs("projected_gradient", calibration.projected_gradient, gradient)
    return _compare_searches(price, own)


def _compare_searches(claimed: "ReservePrice", own: "ReservePrice") -> Verdict:
    """Compare the price of a claimed calibration with that of the verifier's own search."""
    steep, our_steep = (
        max(map(abs, price.calibration.projected_gradient)) for price in (claimed, own)
    )
    if steep > max(SEARCH_GRADIENT, 10 * our_steep):
        return Verdict(
            accepted=False,
            reason=f"the calibration's projected_gradient is up to {steep:.3g}, and a search here "
            f"comes to {our_steep:.3g}: it was not searched to its end",
        )
    if not isclose(claimed.price_wei, own.price_wei, rel_tol=SEARCH_TOLERANCE):
        return Verdict(
            accepted=False,
            reason=f"reserve_price is claimed as {claimed.price_wei} by its calibration, and by "
            f"that of a search here it is {own.price_wei}",
        )
    return Verdict(
        accepted=True,
        reason="the calibration is a minimum and prices as one that was searched here, to "
        f"{SEARCH_TOLERANCE:g}; all that follows from it was computed again with the same result, "
        f"to {TOLERANCE:g}",
    )


def _numbers(
    claimed: ReservePriceResult, again: ReservePriceResult
) -> Iterator[tuple[str, float, float]]:
    for name in (
        "reserve_price",
        "standard_error",
        "strike",
        "cap",
        "trend_slope",
        "trend_intercept",
        "weekly_volatility",
    ):
        yield name, getattr(claimed, name), getattr(again, name)
    if len(claimed.season) != len(again.season):
        yield "number of season coefficients", len(claimed.season), len(again.season)
    for number, (theirs, ours) in enumerate(zip(claimed.season, again.season, strict=False)):
        yield f"season[{number}]", theirs, ours
    yield (
        "negative_log_likelihood",
        claimed.calibration.negative_log_likelihood,
        again.calibration.negative_log_likelihood,
    )


def _differs(name: str, claimed: object, again: object) -> Verdict:
    return Verdict(accepted=False, reason=f"{name} is claimed as {claimed} and comes to {again}")


def _price(
    series: HourlySeries,
    seed: bytes,
    own: "ReservePrice | None" = None,
    jumps: tuple[float, ...] | None = None,
) -> "ReservePrice":
    """Price a series with as many paths as the standard error needs.

    Args:
        series: The hourly fees.
        seed: 32 bytes that all randomness is derived from.
        own: A price of the same series by a search of one's own.
        jumps: A calibration to be checked against that search, and used instead of it.

    Raises:
        ProofError: These fees have no reserve price, or the calibration is none.
    """
    from prover_reserve_price.jump_model import JumpParameters
    from prover_reserve_price.pricing import reserve_price

    fees = series.means_wei()
    found = None if own is None else own.calibration
    parameters = None if jumps is None else JumpParameters(*jumps)
    price = reserve_price(fees, seed, paths=PATHS[0], parameters=parameters, found=found)
    for paths in PATHS[1:]:
        if price.standard_error_wei <= MAX_RELATIVE_ERROR * price.price_wei:
            break
        if paths <= price.paths:
            continue
        price = reserve_price(
            fees,
            seed,
            paths=paths,
            parameters=price.calibration.parameters,
            found=found or price.calibration,
        )
    return price


def _result(price: "ReservePrice") -> ReservePriceResult:
    calibration = price.calibration
    jumps = calibration.parameters
    return ReservePriceResult(
        reserve_price=price.price_wei,
        reserve_price_felt=felt_hex(felt_from_float(price.price_wei)),
        standard_error=price.standard_error_wei,
        paths=price.paths,
        hours=price.hours,
        strike=price.strike_wei,
        cap=price.cap_wei,
        trend_slope=price.trend.slope,
        trend_intercept=price.trend.intercept,
        season=tuple(price.season.coefficients),
        weekly_volatility=price.weekly_volatility,
        calibration=CalibrationResult(
            a=jumps.a,
            phi=jumps.phi,
            mu_j=jumps.mu_j,
            sigma_sq=jumps.sigma_sq,
            sigma_sq_j=jumps.sigma_sq_j,
            jump_probability=jumps.lambda_,
            negative_log_likelihood=calibration.negative_log_likelihood,
            projected_gradient=tuple(calibration.projected_gradient),
        ),
    )


@hookimpl
def charts(inputs: Inputs, seed: bytes, result: ReservePriceResult) -> "list[Chart]":
    """Show a fan of paths, the payoffs, and the fitted season."""
    from prover_reserve_price.illustration import reserve_price_charts

    return reserve_price_charts(inputs["hourly_base_fee"], result, seed)
