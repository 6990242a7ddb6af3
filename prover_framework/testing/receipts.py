"""Receipts for tests: of the right form, about given data, and computed by nobody."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from prover_framework.model.jobs import JobState
from prover_framework.model.receipts import (
    AnyReceipt,
    GroupProvenance,
    GroupReceipt,
    GroupReceipts,
    GroupStatement,
    Member,
    Provenance,
    Receipt,
    Statement,
)
from prover_framework.model.series import HOUR_SECONDS, HourlySeries, TimeRange
from prover_framework.plugins.calls import KindHooks
from prover_framework.plugins.loading import load
from prover_framework.proofs.inputs import LoadedInput
from prover_framework.proofs.seed import SEED_DERIVATION
from prover_framework.receipts.documents import digest
from prover_framework.serialization.converter import unstructure
from prover_framework.testing.series import series_of

# What would have computed it.
NOBODY = "ab" * 32
NO_SEED = "cd" * 32
MADE_AT = "2024-01-01T00:00:00.000Z"
SOFTWARE = {"python": "3.11.0"}

GROUP_ID = "round"


def receipt_of(
    proof_type: str,
    result: Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None = None,
    kinds: Mapping[str, KindHooks] | None = None,
    **stated: Any,
) -> Receipt:
    """Return a receipt without seals, as of a proof whose plugin need not be there.

    Args:
        proof_type: Name of the proof type.
        result: JSON form of the result.
        data: The data of each input by name, such as `series_of` makes.
        kinds: The kinds of data by name; the framework's own when None.
        stated: Other values for fields of `Statement`, such as ``parameters``.
    """
    loaded = _loaded(data or {}, load(()).kinds if kinds is None else kinds)
    return Receipt(
        statement=Statement(
            **{
                "proof_type": proof_type,
                "method_version": "1",
                "plugin_digest": NOBODY,
                "range": _range(data or {}),
                "parameters": {},
                "inputs": {name: each.stated for name, each in loaded.items()},
                "settings": {},
                "seed": NO_SEED,
                "seed_derivation": SEED_DERIVATION,
                "generator": None,
                "result": dict(result),
                **stated,
            }
        ),
        provenance=Provenance(
            inputs={name: {"source": "a test"} for name in loaded},
            software=SOFTWARE,
            machine="x86_64",
            made_at=MADE_AT,
        ),
    )


def group_of(*receipts: Receipt, labels: Mapping[int, str] | None = None) -> GroupReceipts:
    """Return the receipts of a group, as the hook ``compose`` is given them.

    Args:
        receipts: One for each job that succeeded.
        labels: Labels of some of the jobs, by their places.
    """
    marks = {place: f"@{label}" for place, label in (labels or {}).items()}
    return GroupReceipts(
        group_id=GROUP_ID,
        receipts=receipts,
        job_ids=tuple(
            f"{receipt.statement.proof_type}{marks.get(place, '')}"
            for place, receipt in enumerate(receipts)
        ),
    )


def group_receipt_of(*receipts: Receipt) -> GroupReceipt:
    """Return the receipt of a group in which each proof has succeeded, without seals."""
    return GroupReceipt(
        statement=GroupStatement(
            group_id=GROUP_ID,
            members=tuple(
                Member(
                    job_id=receipt.statement.proof_type,
                    state=JobState.SUCCEEDED,
                    digest=digest(receipt).hex(),
                )
                for receipt in receipts
            ),
            composed=(),
        ),
        provenance=GroupProvenance(software=SOFTWARE, made_at=MADE_AT),
        receipts=receipts,
    )


@frozen
class SealSample:
    """What a kind of seal is tried with.

    Args:
        receipt: The receipt of a proof, or of a group.
        data: The data that its result comes from, by the names of the inputs; None for a group.
    """

    receipt: AnyReceipt
    data: Mapping[str, Any] | None = None

    @property
    def digest(self) -> bytes:
        """What a seal stands for."""
        return digest(self.receipt)


def seal_samples() -> Sequence[SealSample]:
    """Return two proofs of an imagined proof type over some hours, and their group."""
    receipts, samples = [], []
    for hours in ([(10, 2), (27, 3), (16, 2)], [(40, 2), (12, 3)]):
        data = {"hours": series_of(hours, first_hour=1_704_067_200)}
        receipts.append(receipt_of("stand_in", {"stand_in": len(hours)}, data=data))
        samples.append(SealSample(receipts[-1], data))
    return [*samples, SealSample(group_receipt_of(receipts[0]))]


def _loaded(data: Mapping[str, Any], kinds: Mapping[str, KindHooks]) -> dict[str, LoadedInput]:
    by_class = {kind.kind.data_type: kind for kind in kinds.values()}
    return {name: loaded_input(by_class[type(each)], each) for name, each in data.items()}


def loaded_input(kind: KindHooks, data: Any) -> LoadedInput:
    """Return data as a worker has it once it is loaded."""
    return LoadedInput(kind=kind, facts=kind.state(data), form=unstructure(data), data=data)


def _range(data: Mapping[str, Any]) -> TimeRange | None:
    """Return the hours of the longest series, if there is one."""
    series = [each for each in data.values() if isinstance(each, HourlySeries)]
    if not series:
        return None
    longest = max(series, key=len)
    return TimeRange(longest.first_hour, longest.last_hour + HOUR_SECONDS)
