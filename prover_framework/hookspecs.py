"""Everything a plugin can do. A hook is called on the plugin of the proof type in question only.

A proof type needs `proof_type` and `compute`, a kind of seal all three of its hooks, a kind of
input data `input_kind` alone; the others have the defaults stated here. `compose`, `job_changed`
and `group_ended` are called on every plugin that has them, each isolated from the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from prover_framework.errors import Problem
from prover_framework.model.charts import Chart
from prover_framework.model.inputs import InputKind, Inputs, Need
from prover_framework.model.jobs import JobChange
from prover_framework.model.proofs import Dispatch, JobRequest, ProofType, SealType
from prover_framework.model.receipts import AnyReceipt, Artefact, GroupEnd, GroupReceipts
from prover_framework.model.verdict import Verdict
from prover_framework.model.work import Work

PROJECT = "prover_framework"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def proof_type() -> ProofType[Any, Any] | None:
    """Register the proof type that this plugin provides."""


@hookspec(firstresult=True)
def validate(parameters: Any) -> list[Problem] | None:
    """Return what is wrong with the parameters' form, beyond types. Default: nothing."""


@hookspec(firstresult=True)
def inputs(parameters: Any) -> Mapping[str, Need] | None:
    """Name the data that the computation needs, or raise ProofError. Default: the range's fees."""


@hookspec(firstresult=True)
def dispatch(job: JobRequest) -> Dispatch | None:
    """Choose a queue and a delay for a job. Default: the default queue, at once."""


@hookspec(firstresult=True)
def compute(parameters: Any, inputs: Inputs, seed: bytes, settings: Any, work: Work) -> Any:
    """Compute the result. Pure: the same digits for the same arguments, in any process."""


@hookspec(firstresult=True)
def verify(
    parameters: Any, inputs: Inputs, seed: bytes, claimed: Any, settings: Any, work: Work
) -> Verdict | None:
    """Judge a claimed result. Default: compute again and compare for equality."""


@hookspec(firstresult=True)
def charts(
    parameters: Any, inputs: Inputs, seed: bytes, result: Any, settings: Any
) -> Sequence[Chart] | None:
    """Describe charts that illustrate a result; the core draws. Default: the inputs' series."""


@hookspec(firstresult=True)
def input_kind() -> InputKind[Any, Any, Any, Any] | None:
    """Register the kind of input data that this plugin loads, states and checks."""


@hookspec
def compose(group: GroupReceipts) -> Sequence[Artefact] | None:
    """Make further artefacts from a group's receipts, or raise ProofError. Default: none."""


@hookspec(firstresult=True)
def seal_type() -> SealType | None:
    """Register the kind of seal that this plugin makes and checks."""


@hookspec(firstresult=True)
def make_seal(
    receipt: AnyReceipt, digest: bytes, inputs: Inputs | None, work: Work
) -> dict[str, Any] | None:
    """Make a seal on a stored receipt (a group's has no inputs). Default: none of this kind."""


@hookspec(firstresult=True)
def check_seal(
    receipt: AnyReceipt, digest: bytes, seal: dict[str, Any], inputs: Inputs | None, work: Work
) -> Verdict | None:
    """Judge a seal: whether it stands for this receipt and the verifier's data, if he has any."""


@hookspec
def job_changed(change: JobChange) -> None:
    """Observe that a job, of any proof type, has changed its state."""


@hookspec
def group_ended(group: GroupEnd) -> None:
    """Observe that all jobs of a group have ended, at least once. What it raises has it retried."""
