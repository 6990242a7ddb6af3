"""TWAP: the arithmetic mean of the hourly base fee over a range, in wei."""

from attrs import frozen

from prover_framework import (
    Chart,
    HourlySeries,
    Inputs,
    ProofType,
    RangeParameters,
    felt_from_float,
    felt_hex,
    hookimpl,
)
from prover_twap.illustration import base_fee_chart

# The version of the hooks that this is written for.
PROVER_API = 1


@frozen(kw_only=True)
class TwapResult:
    """The mean base fee of the hours of a range.

    Args:
        twap: Mean of the hourly means, in wei: the exact value rounded to a double once.
        twap_felt: The floor of that double times 2^128, as the chain writes it.
        hourly_felts_sum: Exact sum of the hours' felts; with ``hours`` it is the exact value.
        hours: Number of hours.
        block_weighted_mean: Mean base fee of the same blocks, each counted once, in wei. A
            cross-check: it is near the TWAP unless hours differ much in their blocks.
    """

    twap: float
    twap_felt: str
    hourly_felts_sum: str
    hours: int
    block_weighted_mean: float


def twap(series: HourlySeries) -> TwapResult:
    """Return the mean of a complete hourly series of at least one hour."""
    total = sum(series.felts())
    hours = len(series)
    # Integers divide with a single rounding, so the order of the hours does not matter.
    mean = total / (hours << 128)
    return TwapResult(
        twap=mean,
        twap_felt=felt_hex(felt_from_float(mean)),
        hourly_felts_sum=hex(total),
        hours=hours,
        block_weighted_mean=sum(series.sums_wei) / sum(series.counts),
    )


@hookimpl
def proof_type() -> ProofType[RangeParameters, TwapResult]:
    """Register TWAP."""
    return ProofType(
        name="twap",
        title="TWAP",
        version="1",
        parameters=RangeParameters,
        result=TwapResult,
        required=True,
    )


@hookimpl
def compute(inputs: Inputs) -> TwapResult:
    """Compute the TWAP of the range's hours."""
    return twap(inputs["hourly_base_fee"])


@hookimpl
def charts(inputs: Inputs, result: TwapResult) -> list[Chart]:
    """Show the hours and their mean."""
    return [base_fee_chart(inputs["hourly_base_fee"], result.twap)]
