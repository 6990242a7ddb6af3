"""Groups and jobs as people and programs are shown them, wherever they ask."""

from attrs import frozen

from prover_framework.model.jobs import JobState
from prover_framework.model.names import DEFAULT_NAMESPACE
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.seals import OPEN_SEALS, SealState
from prover_framework.serialization.json_text import Json


@frozen(kw_only=True)
class ProgressView:
    """How far a computation said that it was; the time in ISO 8601, UTC."""

    fraction: float
    text: str
    at: str


@frozen(kw_only=True)
class SealView:
    """A seal that is made after its receipt; times in ISO 8601, UTC."""

    kind: str
    status: SealState
    attempts: int
    created_at: str
    finished_at: str | None
    error: dict[str, str] | None


@frozen(kw_only=True)
class AttachmentView:
    """A file that is attached to a result, and the address that it is handed out at."""

    name: str
    media_type: str
    size: int
    sha256: str
    url: str


@frozen(kw_only=True)
class JobView:
    """A job as it is shown to people and programs; times in ISO 8601, UTC."""

    job_id: str
    status: JobState
    attempts: int
    created_at: str
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    not_before: str | None
    progress: ProgressView | None = None
    method_version: str | None = None
    error: dict[str, str] | None
    result: Json
    seals: tuple[SealView, ...] = ()
    attachments: tuple[AttachmentView, ...] = ()


@frozen(kw_only=True)
class GroupView:
    """A group as it is shown to people and programs."""

    job_group_id: str
    status: JobState
    jobs: tuple[JobView, ...]
    seals: tuple[SealView, ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    priority: int = USUAL_PRIORITY

    @property
    def has_open_seals(self) -> bool:
        """Whether some seal of the group or its jobs is still to be made."""
        seals = [*self.seals, *(seal for job in self.jobs for seal in job.seals)]
        return any(seal.status in OPEN_SEALS for seal in seals)


@frozen(kw_only=True)
class AttemptView:
    """One attempt at a job; times in ISO 8601, UTC."""

    number: int
    worker: str | None
    started_at: str
    ended_at: str | None
    error: dict[str, str] | None
    traceback: tuple[str, ...]


@frozen(kw_only=True)
class VerboseJobView(JobView):
    """A job with all that is stored of it; times in ISO 8601, UTC.

    Args:
        id: Its unique id, as in messages and logs.
        parameters: What was asked for.
        queue: Name of the queue that its messages go to.
        worker: Who has or had it last.
        sends: How many messages were sent for it.
        failures: Failed computations that its budget counts.
        losses: Workers that were lost with it.
        lease_until: Until when the worker holds it without a sign of life.
        data_deadline: When its wait for data ends in failure.
        history: Its attempts, oldest first; the newest ones, where there were many.
    """

    id: str
    parameters: Json
    queue: str
    worker: str | None
    sends: int
    failures: int
    losses: int
    lease_until: str | None
    data_deadline: str | None
    history: tuple[AttemptView, ...]


@frozen(kw_only=True)
class VerboseGroupView(GroupView):
    """A group with the attempts at its jobs."""

    jobs: tuple[VerboseJobView, ...]
