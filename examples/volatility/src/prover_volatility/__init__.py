"""Volatility: the realised volatility of the hourly base fee over a range."""

from decimal import Context, Decimal
from itertools import pairwise
from typing import ClassVar

from attrs import field, frozen
from attrs.validators import and_, ge, le

from prover_framework import (
    HOUR_SECONDS,
    Chart,
    HourlySeries,
    Inputs,
    Need,
    ProofError,
    ProofType,
    RangeParameters,
    RangeTooShort,
    felt_from_float,
    felt_hex,
    hookimpl,
    hourly_base_fees,
)
from prover_volatility.illustration import volatility_charts

# The version of the hooks that this is written for.
PROVER_API = 1

# 365 days. This market never closes, so that all hours of a year count.
YEAR_HOURS = 8760

# Decimal digits of what is computed in between: twice as many as a double has, and some more for
# sums, so that only the last rounding shows.
DIGITS = 40


class FeeNotPositive(ProofError):
    """The base fee of an hour that counts is zero."""

    code: ClassVar[str] = "fee_not_positive"


@frozen(kw_only=True)
class VolatilityParameters(RangeParameters):
    """Parameters of a volatility.

    Args:
        interval_hours: Hours from one fee that counts to the next.
    """

    interval_hours: int = field(default=1, validator=and_(ge(1), le(YEAR_HOURS)))


@frozen(kw_only=True)
class VolatilityResult:
    """The volatility, and what it was made from.

    Args:
        volatility: Volatility of a year as a fraction: 0.8 is 80 per cent.
        volatility_felt: The floor of that double times 2^128, as the chain writes it.
        hourly_volatility: Volatility of an hour.
        realised_variance: Sum of the squared logarithmic returns.
        returns: How many returns there were.
        interval_hours: Hours that each of them spans.
    """

    volatility: float
    volatility_felt: str
    hourly_volatility: float
    realised_variance: float
    returns: int
    interval_hours: int


def volatility(series: HourlySeries, interval_hours: int) -> VolatilityResult:
    """Return the realised volatility of a series.

    With fees ``x`` every ``k`` hours from the first hour on, the returns are ``ln(x[j] / x[j-1])``
    and the realised variance is the sum of their squares, as in Andersen, Bollerslev, Diebold and
    Labys, "Modeling and Forecasting Realized Volatility", Econometrica 71 (2003), 579-625. The
    volatility of an hour is the root of that variance over the hours that it spans, and that of a
    year is this times the root of `YEAR_HOURS`. Hours after the last whole interval do not count.

    Decimal arithmetic rounds correctly, logarithms and roots too, so that all machines agree.

    Raises:
        RangeTooShort: There is no whole interval.
        FeeNotPositive: A fee that counts is zero.
    """
    require_hours(len(series), interval_hours)
    fees = series.felts()[::interval_hours]
    if 0 in fees:
        hour = series.first_hour + fees.index(0) * interval_hours * HOUR_SECONDS
        raise FeeNotPositive(f"the base fee is zero in the hour {hour}: it has no logarithm")
    exact = Context(prec=DIGITS)
    variance = Decimal(0)
    for earlier, later in pairwise(map(Decimal, fees)):
        change = exact.ln(exact.divide(later, earlier))
        variance = exact.fma(change, change, variance)
    returns = len(fees) - 1
    hourly = exact.divide(variance, Decimal(returns * interval_hours))
    yearly = float(exact.sqrt(exact.multiply(hourly, Decimal(YEAR_HOURS))))
    return VolatilityResult(
        volatility=yearly,
        volatility_felt=felt_hex(felt_from_float(yearly)),
        hourly_volatility=float(exact.sqrt(hourly)),
        realised_variance=float(variance),
        returns=returns,
        interval_hours=interval_hours,
    )


def require_hours(hours: int, interval_hours: int) -> None:
    """Raise `RangeTooShort` unless there is at least one return."""
    if hours <= interval_hours:
        raise RangeTooShort(
            f"volatility with an interval_hours of {interval_hours} needs at least "
            f"{interval_hours + 1} hours and the range has {hours}"
        )


@hookimpl
def proof_type() -> ProofType[VolatilityParameters, VolatilityResult]:
    """Register the volatility, which no job group has to ask for."""
    return ProofType(
        name="volatility",
        title="Volatility",
        version="1",
        parameters=VolatilityParameters,
        result=VolatilityResult,
    )


@hookimpl
def inputs(parameters: VolatilityParameters) -> dict[str, Need]:
    """Ask for the range's base fees, if there are enough hours in it."""
    require_hours(len(parameters.range.require_hours()), parameters.interval_hours)
    return {"hourly_base_fee": hourly_base_fees(parameters.range)}


@hookimpl
def compute(parameters: VolatilityParameters, inputs: Inputs) -> VolatilityResult:
    """Compute the volatility of the range's hours."""
    return volatility(inputs["hourly_base_fee"], parameters.interval_hours)


@hookimpl
def charts(inputs: Inputs, result: VolatilityResult) -> list[Chart]:
    """Show the course of the volatility over the range, and the returns."""
    series = inputs["hourly_base_fee"]
    return volatility_charts(series, result.interval_hours, YEAR_HOURS, result.volatility)
