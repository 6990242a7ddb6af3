"""What plugins need, as the package offers it: its public surface."""

from prover_framework.errors import (
    DataNotYet,
    EmptyRange,
    Problem,
    ProofError,
    RangeTooShort,
    SeriesIncomplete,
    TryLater,
)
from prover_framework.hookspecs import hookimpl
from prover_framework.inputs.block_headers import BlockFacts, block_headers
from prover_framework.inputs.hourly_base_fee import SeriesFacts, hourly_base_fees
from prover_framework.inputs.results import JobResult, ResultFacts, result_of
from prover_framework.model.attachments import StatedAttachment
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.charts import Axis, Band, Chart, Curve, Histogram, Mark, Span, Unit
from prover_framework.model.felt import MAX_FELT, felt_from_float, felt_hex, float_from_felt
from prover_framework.model.inputs import Chain, Checked, InputKind, Inputs, LoadedData, Need
from prover_framework.model.jobs import JobChange, JobState
from prover_framework.model.limits import Limits
from prover_framework.model.proofs import (
    Dependency,
    Dispatch,
    JobRequest,
    ProofType,
    RangeParameters,
    SealShows,
    SealType,
)
from prover_framework.model.receipts import (
    Artefact,
    GroupEnd,
    GroupReceipt,
    GroupReceipts,
    Provenance,
    Receipt,
    Seal,
    StatedInput,
    Statement,
)
from prover_framework.model.series import HOUR_SECONDS, HourlySeries, SeriesKind, TimeRange
from prover_framework.model.verdict import Verdict
from prover_framework.model.work import Work
from prover_framework.serialization.forms import JsonType
from prover_framework.serialization.types import Wei

__all__ = [
    "HOUR_SECONDS",
    "MAX_FELT",
    "Artefact",
    "Axis",
    "Band",
    "BlockColumns",
    "BlockFacts",
    "Chain",
    "Chart",
    "Checked",
    "Curve",
    "DataNotYet",
    "Dependency",
    "Dispatch",
    "EmptyRange",
    "GroupEnd",
    "GroupReceipt",
    "GroupReceipts",
    "Histogram",
    "HourlySeries",
    "InputKind",
    "Inputs",
    "JobChange",
    "JobRequest",
    "JobResult",
    "JobState",
    "JsonType",
    "Limits",
    "LoadedData",
    "Mark",
    "Need",
    "Problem",
    "ProofError",
    "ProofType",
    "Provenance",
    "RangeParameters",
    "RangeTooShort",
    "Receipt",
    "ResultFacts",
    "Seal",
    "SealShows",
    "SealType",
    "SeriesFacts",
    "SeriesIncomplete",
    "SeriesKind",
    "Span",
    "StatedAttachment",
    "StatedInput",
    "Statement",
    "TimeRange",
    "TryLater",
    "Unit",
    "Verdict",
    "Wei",
    "Work",
    "block_headers",
    "felt_from_float",
    "felt_hex",
    "float_from_felt",
    "hookimpl",
    "hourly_base_fees",
    "result_of",
]
