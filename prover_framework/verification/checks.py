"""What checking a receipt comes to: a table of checks, and in words what it is worth."""

from collections.abc import Sequence
from enum import StrEnum

from attrs import field, frozen

from prover_framework.model.findings import Outcome

# The longest of ours have 300 characters; what a plugin says, or a receipt, may be of any length.
MAX_REASON_LENGTH = 500


class CheckName(StrEnum):
    """The checks, in the order in which they are made."""

    FORM = "form"
    """It is a receipt: format, types, limits, canonical form."""
    MEMBERS = "members"
    """The receipts of a group are those that its composed receipt binds."""
    EXPECTED = "expected"
    """It is of the group and the proofs that the verifier expects."""
    SEAL = "seal"
    """A seal stands for exactly this receipt."""
    PLUGIN = "plugin"
    """The method that it names is the one that is installed here, file for file."""
    SEED = "seed"
    """The seed follows from the statement."""
    INPUT = "input"
    """An input is what the verifier has, or what the evidence beside the statement shows."""
    PROVENANCE = "provenance"
    """An input came from the blocks that the verifier has it from."""
    CHAIN = "chain"
    """The verifier's headers are linked to a block that the verifier trusts."""
    RESULT = "result"
    """The result was computed again."""
    ATTACHMENTS = "attachments"
    """A file that is attached to the result was made again, or judged by the plugin."""
    ARTEFACTS = "artefacts"
    """What plugins composed from the receipts of a group was composed again."""


@frozen(kw_only=True)
class Check:
    """One row of the table.

    Args:
        check: Which check.
        subject: What it was made on: a proof type, or the group as a whole.
        detail: The name of an input or of an attachment, the kind of a seal, the plugin that
            composed; empty for the others.
        asked: Whether the verifier wants it passed.
        outcome: What it came to.
        reason: Why, in words.
    """

    check: CheckName
    subject: str
    detail: str = ""
    asked: bool
    outcome: Outcome
    reason: str


@frozen(kw_only=True)
class Report:
    """What verifying a receipt came to.

    Args:
        accepted: Whether everything that was asked for passed, and nothing failed.
        strength: What was shown and what is taken on trust, in a sentence made from the checks
            that passed.
        checks: All checks.
    """

    accepted: bool
    strength: str
    checks: tuple[Check, ...] = field(repr=False)


def accepted(checks: Sequence[Check]) -> bool:
    """Tell whether everything that was asked for passed, and nothing failed.

    Of several seals of one kind on a receipt one has to pass.
    """
    if any(check.outcome is Outcome.FAILED for check in checks):
        return False
    wanted = {(c.check, c.subject, c.detail) for c in checks if c.asked}
    passed = {(c.check, c.subject, c.detail) for c in checks if c.outcome is Outcome.PASSED}
    return wanted <= passed
