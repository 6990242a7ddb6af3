"""The life of a job: its states, the transitions between them, and when to try again."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType

from attrs import field, frozen

from prover_framework.model.names import DEFAULT_NAMESPACE
from prover_framework.serialization.json_text import Json

# The code of a job that no worker was able to do which has seen it.
NOT_CAPABLE = "not_capable"


class JobState(StrEnum):
    """Where a job is in its life."""

    PENDING = "pending"
    """Accepted and stored; its message is not known to be sent. Without messages it is queued at
    once."""
    QUEUED = "queued"
    """Workers can find it, by its message or in the table: it waits for one, or for its time."""
    RUNNING = "running"
    """A worker holds its lease."""
    WAITING = "waiting"
    """Data that it needs is not there yet: headers of the chain, or the result of another job."""
    SUCCEEDED = "succeeded"
    """Its one result is stored."""
    FAILED = "failed"
    """It ended without a result, and the error says why."""
    CANCELLED = "cancelled"
    """It was called off."""


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.PENDING: frozenset({JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED}),
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
        JobState.RUNNING: frozenset(
            {
                JobState.QUEUED,
                JobState.WAITING,
                JobState.SUCCEEDED,
                JobState.FAILED,
                JobState.CANCELLED,
            }
        ),
        JobState.WAITING: frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
        JobState.SUCCEEDED: frozenset(),
        JobState.FAILED: frozenset({JobState.PENDING, JobState.QUEUED}),
        JobState.CANCELLED: frozenset({JobState.PENDING, JobState.QUEUED}),
    }
)


def _leading_to(state: JobState) -> frozenset[JobState]:
    return frozenset(earlier for earlier, later in TRANSITIONS.items() if state in later)


TAKEABLE = _leading_to(JobState.RUNNING)
CANCELLABLE = _leading_to(JobState.CANCELLED)
REDRIVABLE = _leading_to(JobState.PENDING)
FINAL = frozenset(JobState) - CANCELLABLE
SWEPT = CANCELLABLE - {JobState.RUNNING}
"""What a sweep finds by the time when it is due; a running job has a lease instead."""


@frozen(kw_only=True)
class JobChange:
    """A change of a job's state, as observers are told it: stored, and not to be undone.

    Args:
        group_id: Id of the job's group, unique in its namespace.
        proof_type: Name of its proof type.
        job_id: Its unique id.
        old_state: The state it was in; None when it was just accepted.
        new_state: The state it is in since.
        attempts: Computations begun so far.
        error_code: Code of the error that it failed with, or that it is tried again after.
        error_message: Message of that error.
        changed_at_ms: When, in milliseconds since the Unix epoch by the database's clock.
        result: JSON form of the result once it has succeeded.
        namespace: The namespace of the group.
    """

    group_id: str
    proof_type: str
    job_id: str
    old_state: JobState | None
    new_state: JobState
    attempts: int
    error_code: str | None
    error_message: str | None
    changed_at_ms: int
    result: Json = field(repr=False)
    namespace: str = DEFAULT_NAMESPACE


def group_state(states: Collection[JobState]) -> JobState:
    """Sum up the states of a group's jobs.

    A group is final when all of its jobs are; then one failure makes it failed. Before that it is
    running as soon as any job has come that far.
    """
    if FINAL.issuperset(states):
        for state in (JobState.FAILED, JobState.CANCELLED):
            if state in states:
                return state
        return JobState.SUCCEEDED
    if not FINAL.isdisjoint(states) or JobState.RUNNING in states:
        return JobState.RUNNING
    for state in (JobState.WAITING, JobState.QUEUED):
        if state in states:
            return state
    return JobState.PENDING


# A plugin that fails for a passing reason does so for seconds or minutes; a job should not be
# forgotten for longer than an operator's lunch.
MAX_RETRY_SECONDS = 1800.0


@frozen
class RetryPolicy:
    """How often a job is tried again, and how long it rests in between.

    Args:
        max_attempts: Failed computations that end the job.
        max_losses: Lost workers that end the job.
        base_seconds: Rest before the first retry.
    """

    max_attempts: int = 3
    max_losses: int = 10
    base_seconds: float = 2.0

    def delay_seconds(self, failures: int, jitter: float) -> float:
        """Return the rest before the next attempt.

        Args:
            failures: Failed computations so far, at least 1.
            jitter: A random number in [0, 1): jobs that failed together come back apart.
        """
        # Beyond 2**30 the limit holds anyway, and a float would overflow at 2**1024.
        doubled = self.base_seconds * 2.0 ** min(failures - 1, 30)
        return min(doubled, MAX_RETRY_SECONDS) * (0.5 + jitter / 2)
