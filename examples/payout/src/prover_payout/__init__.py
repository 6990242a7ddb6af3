"""Payout: what a capped call on the mean base fee pays, from the results of two other proofs."""

from fractions import Fraction
from typing import Any

from attrs import field, frozen
from attrs.validators import ge, le

from prover_framework import (
    Dependency,
    Inputs,
    JobResult,
    Need,
    ProofError,
    ProofType,
    Wei,
    hookimpl,
    result_of,
)

# The version of the hooks that this is written for.
PROVER_API = 1

SETTLED = "twap"
STRIKE = "reserve_price"

# Parts of a whole: a cap of 3000 is 30 per cent above the strike.
WHOLE = 10_000

ONE_FELT = 1 << 128


class PriceMissing(ProofError):
    """A result that the payout rests on has no such number."""

    code = "payout.price_missing"


@frozen(kw_only=True)
class PayoutParameters:
    """Parameters of a payout.

    Args:
        cap_bps: How far above the strike the payout grows, in parts of 10,000 of the strike.
        settled: Label of the TWAP that settles the round; empty for the one without a label.
    """

    cap_bps: int = field(default=3000, validator=[ge(1), le(1_000_000)])
    settled: str = ""


@frozen(kw_only=True)
class PayoutResult:
    """What the call pays.

    Args:
        payout: For one unit of gas, in whole wei, rounded down.
        settled_at: The mean base fee that settles it, in wei.
        strike: The strike, in wei.
    """

    payout: Wei
    settled_at: float
    strike: float


def payout_wei(settled_felt: int, strike_felt: int, cap_bps: int) -> int:
    """Return ``min(settled, strike * (1 + cap)) - strike``, at least 0, in whole wei.

    Args:
        settled_felt: The mean base fee as a felt: wei times 2^128.
        strike_felt: The strike, likewise.
        cap_bps: The cap in parts of 10,000.
    """
    highest = strike_felt * Fraction(WHOLE + cap_bps, WHOLE)
    return max(0, int((min(Fraction(settled_felt), highest) - strike_felt) / ONE_FELT))


@hookimpl
def proof_type() -> ProofType[PayoutParameters, PayoutResult]:
    """Register the payout, which rests on two proofs of its group."""
    return ProofType(
        name="payout",
        title="Payout",
        version="1",
        parameters=PayoutParameters,
        result=PayoutResult,
        depends_on=(Dependency(SETTLED, label_from="settled"), Dependency(STRIKE)),
    )


@hookimpl
def inputs(parameters: PayoutParameters) -> dict[str, Need]:
    """Ask for the two results, and for no data of the chain."""
    settled = f"{SETTLED}@{parameters.settled}" if parameters.settled else SETTLED
    return {"settled": result_of(settled), "strike": result_of(STRIKE)}


@hookimpl
def compute(parameters: PayoutParameters, inputs: Inputs) -> PayoutResult:
    """Compute the payout from the exact numbers of the two statements."""
    settled, strike = _felt(inputs["settled"]), _felt(inputs["strike"])
    return PayoutResult(
        payout=payout_wei(settled, strike, parameters.cap_bps),
        settled_at=settled / ONE_FELT,
        strike=strike / ONE_FELT,
    )


def _felt(result: JobResult) -> int:
    """Return the number of a result as a felt, as its statement has it."""
    stated: dict[str, Any] = result.statement.result
    text = stated.get(f"{result.statement.proof_type}_felt")
    if not isinstance(text, str):
        raise PriceMissing(f"{result.job_id} states no felt of its number")
    return int(text, 16)
