"""A proving service as a plugin framework. What plugins need is here."""

from prover_framework.errors import (
    EmptyRange,
    Problem,
    ProofError,
    RangeTooShort,
    SeriesIncomplete,
)
from prover_framework.felt import felt_from_float, felt_hex
from prover_framework.hookspecs import hookimpl
from prover_framework.model import (
    API_VERSION,
    HOUR_SECONDS,
    DataNeeds,
    Dispatch,
    HourlySeries,
    Inputs,
    JobRequest,
    Limits,
    ProofType,
    RangeParameters,
    SeriesKind,
    TimeRange,
    Verdict,
)

__all__ = [
    "API_VERSION",
    "HOUR_SECONDS",
    "DataNeeds",
    "Dispatch",
    "EmptyRange",
    "HourlySeries",
    "Inputs",
    "JobRequest",
    "Limits",
    "Problem",
    "ProofError",
    "ProofType",
    "RangeParameters",
    "RangeTooShort",
    "SeriesIncomplete",
    "SeriesKind",
    "TimeRange",
    "Verdict",
    "felt_from_float",
    "felt_hex",
    "hookimpl",
]
