"""Seals: what stands for a receipt. A signature is made with it, others later; all are checked."""

from collections.abc import Mapping

from attrs import frozen

from prover_framework.model.receipts import AnyReceipt
from prover_framework.sandbox.calls import Runner
from prover_framework.sandbox.hooks import GivenData


@frozen
class Subject:
    """What a seal is made for or checked against.

    Args:
        receipt: The receipt; its own seals do not matter.
        digest: What the seal stands for.
        slot: Where a plugin's work is done.
        inputs: What the result was computed from, by name: as the receipt states it, or the
            verifier's own.
    """

    receipt: AnyReceipt
    digest: bytes
    slot: Runner
    inputs: Mapping[str, GivenData] | None = None
