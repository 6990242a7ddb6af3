"""What an execution ends in: a value, which `settling` writes down."""

from enum import StrEnum

from attrs import field, frozen

from prover_framework.jobs.records import Failure
from prover_framework.jobs.seals import NewSeal, StoredSeal


@frozen
class Succeeded:
    """There is a result.

    Args:
        result: The plugin's result, as JSON text.
        receipt: The receipt that states it, as JSON text, without its seals.
        seals: The receipt's seals.
        later: Those that are to be made now that it is there.
        attachments: The drafts, in the database, of what is attached to it.
    """

    result: str = field(repr=False)
    receipt: str = field(repr=False)
    seals: tuple[StoredSeal, ...] = field(repr=False)
    later: tuple[NewSeal, ...] = ()
    attachments: tuple[str, ...] = ()


@frozen
class DataMissing:
    """The chain has not reached the end of the job's range, or a feed is out of order: it waits.

    Args:
        failure: For what.
        seconds: For how long at least, where the plugin says so.
    """

    failure: Failure
    seconds: float | None = None


@frozen
class Failed:
    """No other attempt can come to a result.

    Args:
        failure: Why.
        is_plugins_fault: Whether the plugin did what it must not, and whoever operates the service
            should know.
    """

    failure: Failure
    is_plugins_fault: bool = False


@frozen
class AttemptFailed:
    """Another attempt may come to a result; the job's budget says whether there is one."""

    failure: Failure


class Reason(StrEnum):
    """Why a job was not computed. Nobody is to blame for it, neither job nor plugin."""

    NO_SLOT = "no slot was free in time"
    NO_RESOURCES = "what it needs was not free in time"
    STOPPED = "the worker stops"
    LEASE_LOST = "the job was cancelled or taken over"
    DATA_UNREADABLE = "its data could not be read"
    NOT_KEPT = "what is attached to its result could not be stored"
    NOT_SIGNED = "its receipt cannot be signed"
    NOT_CAPABLE = "this worker lacks what the job needs"
    NO_PROCESS = "this machine has no room for another process"


@frozen
class NotComputed:
    """The job was not computed, and this counts as no attempt.

    Args:
        reason: Why.
        detail: What the system or the database said, if it said something.
    """

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


Outcome = Succeeded | DataMissing | Failed | AttemptFailed | NotComputed


# All that `outcome_word` returns.
OUTCOME_WORDS = ("succeeded", "waits", "failed", "attempt_failed", "released")


def outcome_word(outcome: Outcome) -> str:
    """Return the word for an outcome in metrics."""
    match outcome:
        case Succeeded():
            return "succeeded"
        case DataMissing():
            return "waits"
        case Failed():
            return "failed"
        case AttemptFailed():
            return "attempt_failed"
        case NotComputed():
            return "released"
