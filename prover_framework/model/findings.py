"""What one check of a receipt came to."""

from enum import StrEnum

from attrs import frozen


class Outcome(StrEnum):
    """What one check came to."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_POSSIBLE = "not possible"


@frozen
class Finding:
    """What one check came to, and why."""

    outcome: Outcome
    reason: str

    @classmethod
    def passed(cls, reason: str) -> "Finding":
        """The check was made and nothing speaks against the receipt."""
        return cls(Outcome.PASSED, reason)

    @classmethod
    def failed(cls, reason: str) -> "Finding":
        """The check was made and the receipt is wrong."""
        return cls(Outcome.FAILED, reason)

    @classmethod
    def not_possible(cls, reason: str) -> "Finding":
        """What the check needs is not here."""
        return cls(Outcome.NOT_POSSIBLE, reason)
