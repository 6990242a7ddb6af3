"""Every error of the framework, in one tree.

::

    ProverError
    ├── SettingsError               a setting is wrong: the process does not start
    ├── PluginError                 a plugin cannot be used
    │   ├── InvalidReturn           a hook returned what it must not: no retry can help
    │   └── NotInstalled            this process lacks what others may have
    ├── RequestError                400: the request has problems, each with its place
    │   ├── UnsupportedMediaType    415
    │   └── PayloadTooLarge         413
    ├── GroupNotFound               404
    ├── GroupIdInvalid              404: no group can have this id
    ├── GroupConflict               409: this group id was used for another request
    ├── ApiKeyError                 a key of the API cannot be made or found
    ├── CallerUnknown               401: a key is needed, and this is none
    ├── ScopeMissing                403: the key is not for this
    ├── PriorityTooHigh             403: the key may not ask for so high a priority
    ├── Limited                     a caller, or all of them, ask for more than they may now
    │   ├── RateLimited             429
    │   ├── TooManyOpenGroups       429
    │   └── TooManyOpenJobs         503
    ├── WorkerNotFound              404
    ├── GroupConflict               409: this group id was used for another request
    ├── TransferError               a copy or an export that cannot be made or taken in
    ├── StoreFull                   507: there is no room for more jobs
    ├── ServiceRefused              a service that is asked over HTTP refuses
    │   └── ServiceUnreachable      it does not answer
    ├── ReceiptError                a receipt that cannot be read
    ├── ReceiptMissing              404: there is no such receipt
    │   └── ReceiptNotYet           409: what it is to be made of is not there yet
    ├── ReceiptChanged              a seal was asked for on one that there is no more
    ├── VerifierUnavailable         503: receipts cannot be verified now
    │   └── VerifierBusy            as many are being verified, and wait for it, as may
    ├── VerificationEnded           422: a receipt that takes more work than one may
    ├── MessageError                a queue message that cannot be understood
    │   └── MessageTooNew           it is of a later version: another worker may understand it
    ├── DeadLetterNotFound          no dead letter has this id
    ├── HeaderError                 headers that cannot be taken in
    │   ├── HeaderConflict          they contradict those that are stored
    │   └── HeaderInvalid           one breaks a rule of the chain
    ├── SourceError                 where headers come from cannot be used as it is
    │   ├── SourceUnreachable       it does not answer
    │   └── SourcePruned            it no longer has a block
    ├── StoreError                  the database cannot be used as it is
    │   ├── LeaseLost               this worker no longer holds the job
    │   ├── NumberTooLarge          a number does not fit its column
    │   ├── SchemaMismatch          its tables are of another version
    │   └── StoreBusy               two transactions stood in each other's way
    ├── QueueError                  the queue cannot be used as it is
    │   ├── QueueUnreachable
    │   └── QueueMissing
    └── JobError                    ends or delays one job
        ├── ProofError              permanent: no retry can help
        │   ├── EmptyRange
        │   ├── RangeTooShort
        │   ├── SeriesIncomplete
        │   ├── KindWithoutSeed     data that can be chosen, for a proof that draws numbers
        │   ├── DependencyFailed    a job that it rests on has no result
        │   ├── DataChanged         a seal wants data that is not to be had any more
        │   └── NoExactForm
        ├── DataNotYet              not an error of anyone: the job waits
        │   ├── DependencyNotYet    a job that it rests on has not ended
        │   └── TryLater            the same, for a time that a plugin names
        └── ComputeError            retried until the job's budget is used up
            ├── ComputeRaised
            ├── ComputeTimeout
            ├── ComputeOutOfMemory
            ├── ComputeCrashed
            ├── AttachmentMissing   a verifier lacks what his plugin wants to read
            └── ResultInvalid       not retried: the same plugin returns the same again

``code`` is stable and meant for programs; the message is written for the person who reads it.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, Self

from attrs import frozen

# The form of an error's code: words, with dots between the name of a plugin and what is its own. It
# goes into columns, and programs compare it.
ERROR_CODE = r"(?=.{1,63}$)[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*"


class ProverError(Exception):
    """Something the framework can explain."""

    code: ClassVar[str] = "error"


class SettingsError(ProverError):
    """A setting is missing, malformed or contradicts another one."""

    code = "settings"


class PluginError(ProverError):
    """A plugin cannot be used."""

    code = "plugin"


@frozen
class Problem:
    """One thing that is wrong with a request.

    Args:
        where: Path of the value in the request, such as ``NAME.start_timestamp``; empty when the
            request as a whole is meant.
        what: What is wrong with it and what is expected, as the rest of the sentence.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class InvalidReturn(PluginError):
    """A hook returned something that it must not: nothing is made of it, least of all a yes.

    Args:
        plugin: Name of the plugin.
        hook: Name of the hook.
        how: What it did, as the rest of a sentence.
    """

    code = "invalid_return"

    def __init__(self, plugin: str, hook: str, how: str) -> None:
        self.how = how
        super().__init__(f"plugin {plugin}: its hook {hook} {how}")


class RequestError(ProverError):
    """A request has problems; nothing of it was stored."""

    code = "bad_request"

    def __init__(self, problems: Sequence[Problem], group_id: str | None = None) -> None:
        self.problems = tuple(problems)
        self.group_id = group_id
        super().__init__("; ".join(str(problem) for problem in self.problems))


class NotInstalled(PluginError):
    """A proof type or a kind of data is not installed here, or not as it is now in its files."""

    code = "not_installed"


class UnsupportedMediaType(RequestError):
    """The body is not declared to be JSON in UTF-8."""

    code = "unsupported_media_type"


class PayloadTooLarge(RequestError):
    """The body is larger than the limit."""

    code = "payload_too_large"


class GroupNotFound(ProverError):
    """No job group has this id."""

    code = "group_not_found"

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        super().__init__(f"there is no job group {group_id!r}")


class GroupIdInvalid(ProverError):
    """No job group can have this id."""

    code = "group_id_invalid"

    def __init__(self, quoted: str) -> None:
        super().__init__(f"there is no job group {quoted}")


class WorkerNotFound(ProverError):
    """No worker has this name."""

    code = "no_such_worker"


class GroupConflict(ProverError):
    """The group id is taken by a request that asked for something else."""

    code = "group_conflict"

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        super().__init__(
            f"job group {group_id!r} exists already and asked for something else; "
            "send the same body again to repeat it, or choose another job_group_id"
        )


class ApiKeyError(ProverError):
    """A key of the API cannot be made, or is not there."""

    code = "api_key"


class CallerUnknown(ProverError):
    """A caller of the API shows no key that is valid."""

    code = "caller_unknown"


class ScopeMissing(ProverError):
    """A caller's key is not for what he asks.

    Args:
        key_id: The key's id; None where he has none.
        scope: What it is not for.
    """

    code = "scope_missing"

    def __init__(self, key_id: str | None, scope: str) -> None:
        whose = "who has no key" if key_id is None else f"the key {key_id}"
        super().__init__(f"{whose} may not do this: it takes the scope {scope}")


class PriorityTooHigh(ProverError):
    """A caller asks for a higher priority than his key may.

    Args:
        key_id: The key's id; None where he has none.
        priority: What he asks for.
        highest: The highest that he may ask for.
    """

    code = "priority_too_high"

    def __init__(self, key_id: str | None, priority: int, highest: int) -> None:
        whose = "who has no key" if key_id is None else f"the key {key_id}"
        super().__init__(
            f"{whose} may ask for the priority {highest} at the most, not for {priority}"
        )


class Limited(ProverError):
    """A caller, or all of them together, ask for more than they may for now.

    Args:
        message: What is limited.
        retry_seconds: After which time another try makes sense.
    """

    code = "limited"

    def __init__(self, message: str, retry_seconds: int) -> None:
        self.retry_seconds = retry_seconds
        super().__init__(f"{message}; try again in {retry_seconds} s")


class RateLimited(Limited):
    """A key is used more often than it may be."""

    code = "rate_limited"

    def __init__(self, limit: str, key_id: str, retry_seconds: int) -> None:
        super().__init__(f"the key {key_id} has {limit}, and has used them", retry_seconds)


class TooManyOpenGroups(Limited):
    """As many groups of a key have jobs that have not ended as may."""

    code = "too_many_open_groups"

    def __init__(self, limit: int, key_id: str, retry_seconds: int) -> None:
        super().__init__(
            f"the key {key_id} may have {limit} job groups that have not ended, and has them",
            retry_seconds,
        )


class TooManyOpenJobs(Limited):
    """The service has as many jobs that have not ended as it may."""

    code = "too_many_open_jobs"

    def __init__(self, limit: int, retry_seconds: int) -> None:
        super().__init__(
            f"{limit} jobs have not ended, the limit of this service (PROVER_MAX_OPEN_JOBS)",
            retry_seconds,
        )


class TransferError(ProverError):
    """A copy cannot be made, or an export not be taken in, and why."""

    code = "transfer"


class StoreFull(ProverError):
    """There is no room for more jobs: a quota is used up, or the disk nearly is."""

    code = "store_full"


class ServiceRefused(ProverError):
    """A service that is asked over HTTP refuses, and why.

    Args:
        message: What it said.
        status: Status of its answer; 0 where there was none.
    """

    code = "service_refused"

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class ServiceUnreachable(ServiceRefused):
    """A service that is asked over HTTP does not answer."""

    code = "service_unreachable"


class ReceiptError(ProverError):
    """A document that is no receipt of a form known here."""

    code = "receipt"


class ReceiptMissing(ProverError):
    """There is no such receipt."""

    code = "receipt_missing"


class ReceiptNotYet(ReceiptMissing):
    """The job, or a job of the group, has not ended; there is no receipt before."""

    code = "receipt_not_yet"


class ReceiptChanged(ProverError):
    """There is another receipt now than the one that a seal was asked for."""

    code = "receipt_changed"


class NotSigned(ProverError):
    """A receipt has to be signed, and the key cannot be used now."""

    code = "not_signed"


class VerifierUnavailable(ProverError):
    """Receipts cannot be verified now; later they may."""

    code = "verifier_unavailable"


class VerifierBusy(VerifierUnavailable):
    """As many receipts are being verified, and wait for it, as may.

    Args:
        retry_seconds: After which time another try makes sense.
    """

    code = "verifier_busy"

    def __init__(self, retry_seconds: int) -> None:
        self.retry_seconds = retry_seconds
        super().__init__(
            "as many receipts are being verified here as may at a time, and as many wait for it; "
            f"try again in {retry_seconds} s"
        )


class FeedBusy(ProverError):
    """As many listen for events as may.

    Args:
        most: How many that is.
    """

    code = "feed_busy"

    # Somebody leaves soon, or does not: those who come back all at once help nobody.
    retry_seconds = 10

    def __init__(self, most: int) -> None:
        super().__init__(
            f"as many listen for events here as may ({most}); try again in {self.retry_seconds} s, "
            "or ask for the group with ?wait=30"
        )


class VerificationEnded(ProverError):
    """The verification of a receipt ran over a limit and was ended; nothing was found out."""

    code = "verification_ended"


class MessageError(ProverError):
    """A queue message that cannot be understood; it belongs in the dead letters."""

    code = "message"


class MessageTooNew(MessageError):
    """A queue message of a later version than this code knows."""

    code = "message_too_new"


class DeadLetterNotFound(ProverError):
    """Some ids are no dead letter's, or not of one that can be seen now."""

    code = "dead_letter_not_found"

    def __init__(self, ids: Sequence[str], queue: str) -> None:
        self.ids = tuple(ids)
        super().__init__(
            f"there is no dead letter {', '.join(map(repr, self.ids))} of queue {queue!r}, or "
            'somebody else holds it just now; "prover dead list" shows those that can be seen'
        )


class HeaderError(ProverError):
    """Headers that cannot be taken in; nothing of them was stored."""

    code = "headers"


class HeaderConflict(HeaderError):
    """Headers that contradict those that are stored."""

    code = "header_conflict"


class HeaderRule(StrEnum):
    """What a header has to obey."""

    FORM = "form"
    """Its bytes are the RLP of a header of a fork that is known."""
    STORED = "stored"
    """What is stored beside its bytes is what they say."""
    HASH = "hash"
    """Its hash is the keccak-256 of its bytes."""
    NUMBER = "number"
    """Its number is one more than that of the block before."""
    TIMESTAMP = "timestamp"
    """Its timestamp is after that of the block before."""
    PARENT = "parent"
    """Its parent hash is the hash of the block before."""
    GAS = "gas"
    """It uses at most its gas limit."""
    BASE_FEE = "base_fee"
    """Its base fee follows from the block before by EIP-1559."""


class HeaderInvalid(HeaderError):
    """A header breaks a rule of the chain.

    Args:
        what: What is wrong, as the rest of a sentence.
        rule: The rule that it breaks.
        field: The field in which this shows, by its name in tables; None for the header as a whole.
        block: Number of the block, where it is known.
    """

    code = "header_invalid"

    def __init__(
        self, what: str, rule: HeaderRule, field: str | None = None, block: int | None = None
    ) -> None:
        self.what = what
        self.rule = rule
        self.field = field
        self.block = block
        place = "a header" if block is None else f"block {block}"
        column = "" if field is None else f", {field}"
        super().__init__(f"{place}{column}: {what} (rule: {rule})")

    def at(self, block: int) -> "HeaderInvalid":
        """Return the same error with the number of the block."""
        return HeaderInvalid(self.what, self.rule, self.field, block)

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Let it cross from the process that found it."""
        return type(self), (self.what, self.rule, self.field, self.block)


class SourceError(ProverError):
    """A node or an indexer that headers come from cannot be used as it is."""

    code = "source"


class SourceUnreachable(SourceError):
    """It does not answer, or not with what was asked for; later it may."""

    code = "source_unreachable"


class SourcePruned(SourceError):
    """It no longer has a block: its history has expired."""

    code = "source_pruned"


class StoreError(ProverError):
    """The database cannot be used as it is."""

    code = "store"


class LeaseLost(StoreError):
    """The lease has expired or was taken over; what this worker wanted to write is refused."""

    code = "lease_lost"


class NumberTooLarge(StoreError):
    """A number does not fit its column."""

    code = "number_too_large"


class SchemaMismatch(StoreError):
    """The tables of the database are not those that this version was written for."""

    code = "schema_mismatch"


class StoreBusy(StoreError):
    """Two transactions stood in each other's way, and this one gave way; a second try may do."""

    code = "store_busy"


class QueueError(ProverError):
    """The queue cannot be used as it is."""

    code = "queue"


class QueueUnreachable(QueueError):
    """The queue's endpoint does not answer; the next call would fare no better."""

    code = "queue_unreachable"


class QueueMissing(QueueError):
    """There is no queue of this name or URL."""

    code = "queue_missing"


class JobError(ProverError):
    """What ends or delays one job; stored with it and shown to whoever asks."""

    code = "job"

    # Where in the plugin's own files it was raised, a line for each call; empty where it was not.
    traceback: str = ""


class ProofError(JobError):
    """The proof cannot be made from these parameters and this data, now or ever.

    Plugins raise this (or a subclass with a ``code`` of its own); the job fails at once.
    """

    code = "proof_impossible"


class EmptyRange(ProofError):
    """The range holds no whole hour."""

    code = "empty_range"


class RangeTooShort(ProofError):
    """The range has fewer hours than the computation needs."""

    code = "range_too_short"


class SeriesIncomplete(ProofError):
    """An hour or a block of the range is missing."""

    code = "series_incomplete"


class KindWithoutSeed(ProofError):
    """A proof type that draws numbers asks for data that has no part in the seed."""

    code = "kind_without_seed"


class DependencyFailed(ProofError):
    """A job of the group that this one rests on has ended without a result."""

    code = "dependency_failed"


class DataChanged(ProofError):
    """The data of a result, which a seal on its receipt is made from, is not to be had any more."""

    code = "data_changed"


class NoExactForm(ProofError):
    """A value that has no exact form in a receipt, or one that is too large for it."""

    code = "no_exact_form"


class DataNotYet(JobError):
    """The chain has not reached the end of the range; the job waits."""

    code = "data_not_yet"


class DependencyNotYet(DataNotYet):
    """A job of the group that this one rests on has not ended yet."""

    code = "dependency_not_yet"


# A year: longer than any job may wait by default, and within the milliseconds of every clock.
MAX_LATER_SECONDS = 31_536_000.0


class TryLater(DataNotYet):
    """What a plugin needs cannot be had for now: an outage of a feed is not a failed proof.

    Plugins raise this from `inputs`, `compute` or a kind's `load`. The job waits at least so long,
    which counts as no attempt, and ends when it has waited for `Settings.data_deadline_seconds`.

    Args:
        seconds: For how long, more than 0 and a year at the most.
        reason: Why, for whoever asks what the job waits for.

    Raises:
        ValueError: That is no such time.
    """

    code = "try_later"

    def __init__(self, seconds: float, reason: str) -> None:
        if not 0 < seconds <= MAX_LATER_SECONDS:
            raise ValueError(f"seconds must be more than 0 and a year at the most, got {seconds!r}")
        self.seconds = float(seconds)
        super().__init__(reason)

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Let it cross from one process to another."""
        return type(self), (self.seconds, str(self))


class ComputeError(JobError):
    """A computation went wrong in a way that another attempt may not."""

    code = "compute"


class ComputeRaised(ComputeError):
    """The plugin raised an exception that is not a `ProofError`."""

    code = "compute_raised"


class ComputeTimeout(ComputeError):
    """The computation ran longer than its limit and was ended."""

    code = "compute_timeout"


class ComputeOutOfMemory(ComputeError):
    """The computation needed more memory than its limit."""

    code = "compute_out_of_memory"


class ComputeCrashed(ComputeError):
    """The compute process died."""

    code = "compute_crashed"


class AttachmentMissing(ComputeError):
    """What a plugin wants to read to judge a result is not among what the verifier was given."""

    code = "attachment_missing"


class ResultInvalid(ComputeError):
    """A hook returned something that it must not; the job fails at once, by the plugin's fault."""

    code = "result_invalid"


# By these the framework says what becomes of a job; a plugin's refusal that took one would be read
# as something else.
RESERVED_CODES = frozenset(
    {
        "bad_parameters",
        "compose_failed",
        "internal_error",
        "not_capable",
        *(
            cls.code
            for cls in (
                JobError,
                DataNotYet,
                DependencyFailed,
                DataChanged,
                KindWithoutSeed,
                DependencyNotYet,
                TryLater,
                ComputeError,
                ComputeRaised,
                ComputeTimeout,
                ComputeOutOfMemory,
                ComputeCrashed,
                ResultInvalid,
            )
        ),
    }
)
