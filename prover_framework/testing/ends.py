"""Ends of groups, as observers are told them, for tests."""

from collections.abc import Iterator

import attrs

from prover_framework.model.jobs import JobState
from prover_framework.model.receipts import GroupEnd, GroupReceipt, Member
from prover_framework.receipts.documents import document_of
from prover_framework.testing.changes import FIRST_CHANGE_MS
from prover_framework.testing.receipts import group_receipt_of, receipt_of


def end_of(receipt: GroupReceipt, *, event: int = 1) -> GroupEnd:
    """Return the end of a group, as the hook ``group_ended`` is given it.

    Args:
        receipt: The group's receipt.
        event: Number of the event.
    """
    return GroupEnd(
        event=event,
        group_id=receipt.statement.group_id,
        ended_at_ms=FIRST_CHANGE_MS,
        receipt=receipt,
        document=document_of(receipt),
    )


def usual_ends() -> Iterator[GroupEnd]:
    """Yield ends of groups: with one result, with two, and with none."""
    one, other = (receipt_of(name, {name: 24}) for name in ("stand_in", "other"))
    yield end_of(group_receipt_of(one))
    yield end_of(group_receipt_of(one, other), event=2)
    failed = Member(job_id="stand_in", state=JobState.FAILED, digest=None)
    whole = group_receipt_of(one)
    statement = attrs.evolve(whole.statement, group_id="A.:-" * 32, members=(failed,))
    yield end_of(attrs.evolve(whole, statement=statement, receipts=()), event=3)
