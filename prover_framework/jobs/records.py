"""What is stored of groups and jobs, as it goes into the table and comes out of it."""

from enum import StrEnum

from attrs import field, frozen

from prover_framework.database.engine import Row
from prover_framework.jobs.sql import FIELDS
from prover_framework.model.jobs import JobState
from prover_framework.model.names import group_id_of, namespace_of
from prover_framework.model.priorities import USUAL_PRIORITY, lane_of
from prover_framework.model.proofs import split_job_id


@frozen
class NewJob:
    """A job to be stored.

    Args:
        id: Its unique id.
        name: Its id in the group: the proof type's name, and behind an ``@`` its label, if any.
        parameters: Its parameters, as canonical JSON text.
        queue: Name of the queue its message goes to.
        delay_seconds: How long no worker may begin it.
        rests_on: Names of the jobs of its group whose results it needs.
        method_version: Version of the method that it is accepted under, where it is known.
    """

    id: str
    name: str
    parameters: str
    queue: str
    delay_seconds: float = 0.0
    rests_on: tuple[str, ...] = ()
    method_version: str | None = None


@frozen
class NewGroup:
    """A group to be stored with its jobs; what these rest on is among them.

    Args:
        id: Its key: see `prover_framework.model.names.group_key`.
        jobs: Its jobs.
        api_key: Id of the API key that it is asked for with, if any.
        request_id: Id of the request that asks for it, if any, for the log.
        priority: Those of the highest are taken first.
        trace_parent: The span that it is stored in; see `prover_framework.tracing`.
    """

    id: str
    jobs: tuple[NewJob, ...]
    api_key: str | None = None
    request_id: str | None = None
    priority: int = USUAL_PRIORITY
    trace_parent: str | None = None

    def dependents(self, name: str) -> int:
        """Return how many of the jobs rest on one."""
        return sum(name in job.rests_on for job in self.jobs)

    def edges(self) -> list[list[object]]:
        """Return for each dependency the id of the job that has it and of the one it rests on."""
        ids = {job.name: job.id for job in self.jobs}
        return [[job.id, ids[name]] for job in self.jobs for name in job.rests_on]


@frozen(kw_only=True)
class StoredJob:
    """A job as it stands in the database; times in milliseconds since the Unix epoch.

    ``group_id`` is the key of its group, which has its namespace; `job_group_id` is what the
    sender has called the group. In its ``lane`` it waits for its turn; see
    `prover_framework.jobs.lanes`.
    """

    id: str
    group_id: str
    name: str
    parameters: str
    queue: str
    state: JobState = field(converter=JobState)
    sends: int
    attempts: int
    failures: int
    losses: int
    not_before: int
    data_deadline: int | None
    lease_until: int | None
    worker: str | None
    error_code: str | None
    error_message: str | None
    result: str | None = field(repr=False)
    receipt: str | None = field(repr=False)
    created_at: int
    queued_at: int | None
    started_at: int | None
    finished_at: int | None
    dependents: int = 0
    progress_millionths: int | None = None
    progress_text: str | None = None
    progress_at: int | None = None
    method_version: str | None = None
    api_key: str | None = None
    request_id: str | None = None
    priority: int = USUAL_PRIORITY
    trace_parent: str | None = None
    lane: str = lane_of(USUAL_PRIORITY, None)

    @property
    def job_group_id(self) -> str:
        """What the sender of its group has called that; unique in its namespace."""
        return group_id_of(self.group_id)

    @property
    def namespace(self) -> str:
        """The namespace of its group."""
        return namespace_of(self.group_id)

    @property
    def proof_type(self) -> str:
        """Name of its proof type."""
        return split_job_id(self.name)[0]


def stored_job(row: Row) -> StoredJob:
    """Return a job from a row that begins with `prover_framework.jobs.sql.COLUMNS`."""
    return StoredJob(**dict(zip(FIELDS, row, strict=False)))


@frozen
class Submitted:
    """What storing a group came to: its jobs, and whether this call stored them."""

    created: bool
    jobs: tuple[StoredJob, ...]


@frozen
class Lease:
    """A worker's right to one job. The token is what every later write has to show."""

    job_id: str
    token: str


@frozen
class Taken:
    """A worker has the job."""

    lease: Lease
    job: StoredJob


class GroupStage(StrEnum):
    """How far a group is once a job of it has ended."""

    OPEN = "open"
    """Other jobs of it have not."""
    ENDED = "ended"
    """All of its jobs have."""
    BOUND = "bound"
    """All of its jobs have, and its receipt is stored, too."""


class Refusal(StrEnum):
    """Why a worker does not get a job."""

    UNKNOWN = "unknown"
    FINAL = "final"
    LEASED = "leased"
    NOT_DUE = "not due"
    WAITING = "waiting"


@frozen
class Refused:
    """A worker does not get the job.

    Args:
        refusal: Why.
        retry_in_seconds: When asking again makes sense; None when it never does.
    """

    refusal: Refusal
    retry_in_seconds: float | None = None


@frozen
class Failure:
    """Why a job failed, for programs and for people.

    Args:
        code: A stable code.
        message: A sentence.
        traceback: Where in the plugin's own files it was raised, a line for each call.
    """

    code: str
    message: str
    traceback: str = field(default="", eq=False, repr=False)

    @property
    def where(self) -> str:
        """The traceback in one line of the log, after the message."""
        return f" (at {'; '.join(self.traceback.splitlines())})" if self.traceback else ""


@frozen
class Transition:
    """A job has changed its state, and the change is stored.

    Args:
        old: The state it was in; None for a job that is new.
        job: The job as the change left it.
        at_ms: When, by the database's clock.
    """

    old: JobState | None
    job: StoredJob
    at_ms: int
