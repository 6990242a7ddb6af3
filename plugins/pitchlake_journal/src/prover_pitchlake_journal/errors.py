"""Why there is no journal.

::

    MalformedJournal (a ValueError)     bytes that are no journal
    JournalRefused (a ProofError)       these receipts make no journal
    ├── ProofMissing        a proof of the three has no receipt
    ├── SimulatedChain      the numbers settle nothing
    ├── ChainsDiffer        the proofs are about different chains
    ├── MethodUnknown       a number was computed by a method that the market has not agreed to
    ├── WindowUnexpected    the max return is over another window than the market's
    ├── EndsDiffer          the three ranges do not end together
    ├── RangeOutside        the max return's hours do not contain those of another proof
    ├── FeesDiffer          two proofs about the same hours used different fees
    ├── HoursUnreadable     a proof does not say which hours it is about
    ├── NumberUnreadable    a result does not hold its number
    ├── NumberNegative      a felt has no sign
    └── NumberTooLarge      a felt has 123 bits of integer
"""

from prover_framework import ProofError


class MalformedJournal(ValueError):
    """Bytes that are no journal.

    Args:
        where: Name of the field that is malformed.
        offset: Number of the byte at which it shows, from 0.
        what: What is wrong.
    """

    def __init__(self, where: str, offset: int, what: str) -> None:
        self.where = where
        self.offset = offset
        super().__init__(f"{where}, at byte {offset}: {what}")


class JournalRefused(ProofError):
    """These receipts make no journal."""

    code = "pitchlake_journal.refused"


class ProofMissing(JournalRefused):
    """A proof of the three has no receipt."""

    code = "pitchlake_journal.proof_missing"


class SimulatedChain(JournalRefused):
    """The numbers are about a simulated chain."""

    code = "pitchlake_journal.simulated_chain"


class ChainsDiffer(JournalRefused):
    """The proofs are about different chains."""

    code = "pitchlake_journal.chains_differ"


class MethodUnknown(JournalRefused):
    """A number was computed by a method that the market has not agreed to."""

    code = "pitchlake_journal.method_unknown"


class WindowUnexpected(JournalRefused):
    """The max return is over another window than the market's."""

    code = "pitchlake_journal.window_unexpected"


class EndsDiffer(JournalRefused):
    """The three ranges do not end together."""

    code = "pitchlake_journal.ends_differ"


class RangeOutside(JournalRefused):
    """The max return's hours do not contain those of another proof."""

    code = "pitchlake_journal.range_outside"


class FeesDiffer(JournalRefused):
    """Two proofs about the same hours used different fees."""

    code = "pitchlake_journal.fees_differ"


class HoursUnreadable(JournalRefused):
    """A proof does not say which hours it is about."""

    code = "pitchlake_journal.hours_unreadable"


class NumberUnreadable(JournalRefused):
    """A result does not hold its number."""

    code = "pitchlake_journal.number_unreadable"


class NumberNegative(JournalRefused):
    """A number is negative, and a felt has no sign."""

    code = "pitchlake_journal.number_negative"


class NumberTooLarge(JournalRefused):
    """A number needs more than the 123 bits of integer of a felt."""

    code = "pitchlake_journal.number_too_large"
