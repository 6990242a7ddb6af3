"""A proving service as a plugin framework. What plugins need is here."""

from prover_framework.errors import (
    EmptyRange,
    Problem,
    ProofError,
    RangeTooShort,
    SeriesIncomplete,
)
from prover_framework.felt import MAX_FELT, felt_from_float, felt_hex, float_from_felt
from prover_framework.hookspecs import hookimpl
from prover_framework.jobs import JobChange, JobState
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
from prover_framework.receipts.model import (
    Artefact,
    GroupReceipts,
    Provenance,
    Receipt,
    Seal,
    SeriesFacts,
    Statement,
)

__all__ = [
    "API_VERSION",
    "HOUR_SECONDS",
    "MAX_FELT",
    "Artefact",
    "DataNeeds",
    "Dispatch",
    "EmptyRange",
    "GroupReceipts",
    "HourlySeries",
    "Inputs",
    "JobChange",
    "JobRequest",
    "JobState",
    "Limits",
    "Problem",
    "ProofError",
    "ProofType",
    "Provenance",
    "RangeParameters",
    "RangeTooShort",
    "Receipt",
    "Seal",
    "SeriesFacts",
    "SeriesIncomplete",
    "SeriesKind",
    "Statement",
    "TimeRange",
    "Verdict",
    "felt_from_float",
    "felt_hex",
    "float_from_felt",
    "hookimpl",
]
