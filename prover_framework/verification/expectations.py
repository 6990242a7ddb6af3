"""What a verifier expects a receipt to be of: its group is the sender's word without a seal."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from attrs import frozen

from prover_framework.model.findings import Finding
from prover_framework.model.receipts import AnyReceipt, GroupReceipt
from prover_framework.text import quote


@frozen
class Expected:
    """What a receipt has to be of.

    Args:
        group_id: The group's id; any when None.
        proofs: Names of the jobs that must have a receipt in it, with their labels; any when empty.
        seals: Kinds of seals of which one that holds must be on it; none when empty.
    """

    group_id: str | None = None
    proofs: tuple[str, ...] = ()
    seals: tuple[str, ...] = ()

    @property
    def is_something(self) -> bool:
        """Whether anything is expected at all."""
        return self.group_id is not None or bool(self.proofs or self.seals)

    def compare(self, receipt: AnyReceipt) -> Iterator[tuple[str, Finding]]:
        """Compare a receipt with it; yield what was compared and what that came to."""
        if self.group_id is not None:
            yield "group", _group(self.group_id, receipt)
        if self.proofs:
            yield "proofs", _proofs(self.proofs, receipt)

    def compare_seals(
        self, own: AbstractSet[str], proofs: Sequence[tuple[str, AbstractSet[str]]]
    ) -> Iterator[tuple[str, Finding]]:
        """Compare the seals that hold with it; yield what was compared and what that came to.

        A seal on a group's receipt stands for its proofs, whose digests it binds; without one each
        of them has to have its own.

        Args:
            own: Kinds of the seals that hold on the receipt itself.
            proofs: For a group's receipt, the id of each proof in it and the same of that proof.
        """
        for kind in self.seals:
            yield f"seal {kind}", _seal(kind, own, proofs)


ANYTHING = Expected()


def _group(wanted: str, receipt: AnyReceipt) -> Finding:
    if not isinstance(receipt, GroupReceipt):
        return Finding.failed("a receipt of one proof does not say of which group it is")
    found = receipt.statement.group_id
    if found != wanted:
        return Finding.failed(f"group_id: it is {quote(found)}, and {quote(wanted)} is expected")
    return Finding.passed(f"it says that it is of the group {quote(found)}")


def _proofs(wanted: tuple[str, ...], receipt: AnyReceipt) -> Finding:
    if isinstance(receipt, GroupReceipt):
        there = {member.job_id for member in receipt.statement.members if member.digest}
    else:
        there = {receipt.statement.proof_type}
    if missing := [name for name in wanted if name not in there]:
        has = ", ".join(sorted(there)) or "none"
        return Finding.failed(f"no result of {quote(', '.join(missing))}, it has {quote(has)}")
    return Finding.passed(f"it has results of {quote(', '.join(wanted))}")


def _seal(
    kind: str, own: AbstractSet[str], proofs: Sequence[tuple[str, AbstractSet[str]]]
) -> Finding:
    if kind in own:
        return Finding.passed(f"it has a seal of the kind {quote(kind)} that holds")
    without = [job_id for job_id, kinds in proofs if kind not in kinds]
    if proofs and not without:
        return Finding.passed(f"each of its proofs has a seal of the kind {quote(kind)} that holds")
    where = f", nor have its proofs {quote(', '.join(without))}" if proofs else ""
    return Finding.failed(f"it has no seal of the kind {quote(kind)} that holds{where}")
