"""Max return: the largest return of the windowed mean base fee over a range."""

from itertools import accumulate

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
from prover_max_return.illustration import moving_mean_chart, returns_chart

# The version of the hooks that this is written for.
PROVER_API = 1

# 30 days, the length of an option round.
WINDOW_HOURS = 720

# Ten years. A longer window than the chain's life is a mistake.
MAX_WINDOW_HOURS = 87_660


@frozen(kw_only=True)
class MaxReturnParameters(RangeParameters):
    """Parameters of a max return.

    Args:
        window_hours: Hours of the moving mean, and between the two means that are compared.
    """

    window_hours: int = field(default=WINDOW_HOURS, validator=and_(ge(1), le(MAX_WINDOW_HOURS)))


@frozen(kw_only=True)
class MaxReturnResult:
    """The largest return and when it occurred.

    Args:
        max_return: The return as a fraction: 0.5 is plus fifty per cent. It can be negative.
        max_return_felt: The floor of that double times 2^128, as the chain writes it; none when
            it is negative.
        window_hours: Hours of the moving mean.
        occurred_hour: Unix timestamp of the beginning of the last hour of the later window, the
            first such hour on a tie.
        window_felts_sum: Exact sum of the hourly felts of the later window.
        earlier_window_felts_sum: Exact sum of those of the earlier one; the exact return is the
            quotient of the two sums, less one.
        returns: How many returns there were to choose from.
    """

    max_return: float
    max_return_felt: str | None
    window_hours: int
    occurred_hour: int
    window_felts_sum: str
    earlier_window_felts_sum: str
    returns: int


def max_return(series: HourlySeries, window_hours: int) -> MaxReturnResult:
    """Return the maximum of ``m[i] / m[i - w] - 1``, ``m`` the mean of the last ``w`` hours.

    Raises:
        RangeTooShort: The series has fewer than twice the window's hours.
        ProofError: All base fees of some window are zero, so that it has no return.
    """
    require_hours(len(series), window_hours)
    totals = [0, *accumulate(series.felts())]
    # Sums stand for means: the window's length cancels out.
    windows = [late - early for early, late in zip(totals, totals[window_hours:], strict=False)]
    best_position, best_later, best_earlier = 0, -1, 1
    pairs = list(zip(windows, windows[window_hours:], strict=False))
    for position, (earlier, later) in enumerate(pairs):
        if earlier == 0:
            raise ProofError(
                f"the base fee is zero in all {window_hours} hours from "
                f"{series.first_hour + position * HOUR_SECONDS} on, so there is no return on it"
            )
        # later / earlier > best_later / best_earlier, without rounding.
        if later * best_earlier > best_later * earlier:
            best_position, best_later, best_earlier = position, later, earlier
    value = (best_later - best_earlier) / best_earlier
    return MaxReturnResult(
        max_return=value,
        max_return_felt=felt_hex(felt_from_float(value)) if value >= 0 else None,
        window_hours=window_hours,
        occurred_hour=series.first_hour + (best_position + 2 * window_hours - 1) * HOUR_SECONDS,
        window_felts_sum=hex(best_later),
        earlier_window_felts_sum=hex(best_earlier),
        returns=len(pairs),
    )


def require_hours(hours: int, window_hours: int) -> None:
    """Raise `RangeTooShort` unless there is at least one return."""
    if hours < 2 * window_hours:
        raise RangeTooShort(
            f"max return over a window of {window_hours} hours needs at least {2 * window_hours} "
            f"hours and the range has {hours}"
        )


@hookimpl
def proof_type() -> ProofType[MaxReturnParameters, MaxReturnResult]:
    """Register max return."""
    return ProofType(
        name="max_return",
        title="Max Return",
        version="1",
        parameters=MaxReturnParameters,
        result=MaxReturnResult,
        required=True,
    )


@hookimpl
def inputs(parameters: MaxReturnParameters) -> dict[str, Need]:
    """Ask for the range's base fees, if there are enough hours in it."""
    require_hours(len(parameters.range.require_hours()), parameters.window_hours)
    return {"hourly_base_fee": hourly_base_fees(parameters.range)}


@hookimpl
def compute(parameters: MaxReturnParameters, inputs: Inputs) -> MaxReturnResult:
    """Compute the max return of the range's hours."""
    return max_return(inputs["hourly_base_fee"], parameters.window_hours)


@hookimpl
def charts(inputs: Inputs, result: MaxReturnResult) -> list[Chart]:
    """Show the moving mean with the two windows, and all returns."""
    series, window = inputs["hourly_base_fee"], result.window_hours
    return [
        draw(series, window, result.occurred_hour, result.max_return)
        for draw in (moving_mean_chart, returns_chart)
    ]
