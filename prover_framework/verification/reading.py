"""Read a receipt that somebody has sent, with the digests of all that is in it."""

from attrs import frozen

from prover_framework.model.receipts import AnyReceipt, Receipt
from prover_framework.receipts.documents import digest, read_receipt


@frozen
class SentProof:
    """The receipt of one proof, with its digest: to compute that costs most of reading."""

    receipt: Receipt
    digest: bytes


@frozen
class SentReceipt:
    """A receipt that somebody has sent.

    Args:
        receipt: What was sent.
        digest: What its seals stand for, 32 bytes.
        proofs: The receipts of proofs in it: itself, or those that a group's receipt came with.
        rests_on: The ids and receipts of the jobs that the receipt of one proof carries.
    """

    receipt: AnyReceipt
    digest: bytes
    proofs: tuple[SentProof, ...]
    rests_on: tuple[tuple[str, SentProof], ...] = ()


def read_sent(body: bytes) -> SentReceipt:
    """Read a receipt.

    Raises:
        ReceiptError: It is none.
        NoExactForm: It has no canonical form.
    """
    receipt = read_receipt(body)
    whole = digest(receipt)
    if isinstance(receipt, Receipt):
        others = tuple(
            (other.job_id, SentProof(other.receipt, digest(other.receipt)))
            for other in receipt.rests_on
        )
        return SentReceipt(receipt, whole, (SentProof(receipt, whole),), others)
    proofs = tuple(SentProof(proof, digest(proof)) for proof in receipt.receipts)
    return SentReceipt(receipt, whole, proofs)
