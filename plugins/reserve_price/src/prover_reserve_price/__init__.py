"""Reserve price: the present value of a capped call on the 7-day mean base fee, 30 days ahead.

The numerical libraries are imported where a price is computed, so that a service that only takes
requests does not carry them in its memory.
"""

from attrs import frozen

from prover_framework import (
    DataNeeds,
    Inputs,
    ProofError,
    ProofType,
    RangeParameters,
    RangeTooShort,
    felt_from_float,
    felt_hex,
    hookimpl,
)

# Two weeks: fewer hours do not hold the weekly season twice.
MIN_HOURS = 336


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
        standard_error: Standard error of the price, in wei.
        paths: Number of simulated paths.
        generator: Name of the random number generator that the seed went into.
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
    generator: str
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
        version="1",
        parameters=RangeParameters,
        result=ReservePriceResult,
        required=True,
    )


@hookimpl
def inputs(parameters: RangeParameters) -> DataNeeds:
    """Ask for the range's base fees, if there are enough hours in it."""
    hours = len(parameters.range.require_hours())
    if hours < MIN_HOURS:
        raise RangeTooShort(
            f"the reserve price needs at least {MIN_HOURS} hours and the range has {hours}"
        )
    return DataNeeds(hourly_base_fee=parameters.range)


@hookimpl
def compute(inputs: Inputs, seed: bytes) -> ReservePriceResult:
    """Price the call on the range's hours."""
    from prover_reserve_price.errors import ReservePriceError
    from prover_reserve_price.pricing import reserve_price

    try:
        price = reserve_price(inputs.hourly_base_fee.means_wei(), seed)
    except ReservePriceError as error:
        raise ProofError(str(error)) from error
    calibration = price.calibration
    jumps = calibration.parameters
    return ReservePriceResult(
        reserve_price=price.price_wei,
        reserve_price_felt=felt_hex(felt_from_float(price.price_wei)),
        standard_error=price.standard_error_wei,
        paths=price.paths,
        generator=price.generator,
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
