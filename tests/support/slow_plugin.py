"""The source of a plugin whose proof takes as long as it is asked to take."""

# Where it is told a directory, a note lies there for as long as a computation goes on.
SLOW_PLUGIN = """
import time, uuid
from pathlib import Path

from attrs import frozen

from prover_framework import ProofType, RangeParameters, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters(RangeParameters):
    seconds: float
    notes: str = ""


@frozen(kw_only=True)
class Result:
    slow: float


@hookimpl
def proof_type():
    return ProofType(name="slow", title="Slow", version="1", parameters=Parameters, result=Result)


@hookimpl
def compute(parameters, inputs, seed):
    note = Path(parameters.notes) / uuid.uuid4().hex if parameters.notes else None
    if note:
        note.touch()
    time.sleep(parameters.seconds)
    if note:
        note.unlink()
    return Result(slow=float(len(inputs["hourly_base_fee"])))
"""
