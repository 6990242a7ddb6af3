"""A proof type for services of tests that need some job: it counts the hours of a range."""

from attrs import frozen

from prover_framework.hookspecs import hookimpl
from prover_framework.model.inputs import Inputs
from prover_framework.model.proofs import API_VERSION, ProofType, RangeParameters

PROVER_API = API_VERSION

NAME = "stand_in"


@frozen
class StandInResult:
    """How many hours there are."""

    stand_in: int


@hookimpl
def proof_type() -> ProofType[RangeParameters, StandInResult]:
    """Register the proof type."""
    return ProofType(
        name=NAME,
        title="Stand-in",
        version="1",
        parameters=RangeParameters,
        result=StandInResult,
    )


@hookimpl
def compute(inputs: Inputs) -> StandInResult:
    """Count the hours."""
    (series,) = inputs.values()
    return StandInResult(len(series))
