"""Receipts for tests that need one and not a service that makes it."""

from typing import Any

from prover_framework.model.receipts import (
    GroupReceipts,
    Provenance,
    Receipt,
    StatedInput,
    Statement,
)
from prover_framework.model.series import HOUR_SECONDS, TimeRange

FIRST_HOUR = 472_222 * HOUR_SECONDS


# What proof types over a range call their data unless they say something else, and its kind.
HOURS = "hourly_base_fee"


def stated_hours(**changes: Any) -> StatedInput:
    """Return what a statement says of two hours."""
    return StatedInput(
        **{
            "kind": HOURS,
            "kind_version": "1",
            "kind_digest": "ef" * 32,
            "chain_id": 1,
            "simulated": False,
            "evidence_sha256": None,
            "facts": {
                "kind": "blocks",
                "first_hour": FIRST_HOUR,
                "last_hour": FIRST_HOUR + HOUR_SECONDS,
                "hours": 2,
                "fees_hash": [1, 2, 3, 4, 5, 6, 7, 8],
                "felts_sum": "0x1",
            },
            "data_sha256": "01" * 32,
            **changes,
        }
    )


def statement(proof_type: str = "seconds", **changes: Any) -> Statement:
    """Return a statement of the right form that nothing stands behind."""
    return Statement(
        **{
            "proof_type": proof_type,
            "method_version": "1",
            "plugin_digest": "ab" * 32,
            "range": TimeRange(FIRST_HOUR, FIRST_HOUR + 2 * HOUR_SECONDS),
            "parameters": {},
            "inputs": {HOURS: stated_hours()},
            "settings": {},
            "seed": "cd" * 32,
            "seed_derivation": "prover-framework/seed/2",
            "generator": None,
            "result": {proof_type: 1.5},
            **changes,
        }
    )


def receipt(proof_type: str = "seconds", **changes: Any) -> Receipt:
    """Return an unsealed receipt of such a statement."""
    return Receipt(
        statement=statement(proof_type, **changes),
        provenance=Provenance(
            inputs={
                HOURS: {
                    "first_block": 17,
                    "last_block": 23,
                    "blocks": 7,
                    "first_block_hash": None,
                    "last_block_hash": None,
                    "verified": False,
                    "source": "a test",
                }
            },
            software={"python": "3.11.0"},
            machine="x86_64",
            made_at="2024-01-01T00:00:00.000Z",
        ),
    )


def group(*proof_types: str) -> GroupReceipts:
    """Return the receipts of a group with these proof types."""
    return GroupReceipts(group_id="round", receipts=tuple(map(receipt, proof_types)))
