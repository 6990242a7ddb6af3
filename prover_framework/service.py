"""What can be asked of the service. HTTP and command line call the same functions."""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from prover_framework.asking import Asking
from prover_framework.catalogue import Catalogue, catalogue
from prover_framework.errors import GroupConflict, MessageError, PluginError, RequestError
from prover_framework.jobs import JobState, group_state
from prover_framework.jsontext import Json, parse_json
from prover_framework.model import Dispatch, GroupRequest, JobRequest
from prover_framework.plugins import Plugins
from prover_framework.queues.base import Outgoing, Queue
from prover_framework.receipts.evidence import EVIDENCE, evidence_of
from prover_framework.store.jobs import JobStore, NewGroup, NewJob, StoredJob
from prover_framework.wire import (
    JobMessage,
    capped,
    dump_message,
    dump_parameters,
    parse_group_request,
    requested_job,
    structure,
    unstructure,
)


@frozen
class Acceptance:
    """What came of a request: stored in any case, and which messages were not sent.

    Args:
        group_id: The group.
        unsent: For each job whose message was not sent its proof type's title and the reason.
            Such a job stays pending; a sweep or the same request again sends it.
    """

    group_id: str
    unsent: tuple[tuple[str, str], ...] = ()


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
    error: dict[str, str] | None
    result: Json


@frozen(kw_only=True)
class GroupView:
    """A group as it is shown to people and programs."""

    job_group_id: str
    status: JobState
    jobs: tuple[JobView, ...]


class ProvingService:
    """Takes in job groups and tells what became of them."""

    def __init__(self, plugins: Plugins, jobs: JobStore, queue: Queue) -> None:
        self._plugins = plugins
        self._jobs = jobs
        self._queue = queue
        self._asking = Asking(plugins)

    async def close(self) -> None:
        """End the processes that plugins were asked in."""
        await self._asking.close()

    def parse(self, body: bytes) -> GroupRequest:
        """Read a request for a group of proofs and check its form.

        Raises:
            RequestError: Every problem of it.
        """
        return parse_group_request(body, self._plugins.proof_types)

    async def submit(self, request: GroupRequest) -> Acceptance:
        """Have a group's parameters validated, store it and send its messages.

        The group id makes this idempotent: the same request again sends only what is not yet
        sent.

        Raises:
            RequestError: Plugins find problems; nothing was stored.
            ProofError: A plugin refuses its job; nothing was stored.
            PluginError: A plugin could not say whether there are problems, or where its job goes;
                nothing was stored.
            GroupConflict: The group exists and asked for something else.
        """
        problems = [problem for job in request.jobs for problem in await self._asking.validate(job)]
        if problems:
            raise RequestError(capped(problems), request.group_id)
        jobs = [
            _new_job(job, await self._asking.dispatch(job), place)
            for place, job in enumerate(request.jobs)
        ]
        submitted = await self._jobs.submit(NewGroup(request.group_id, tuple(jobs)))
        if not submitted.created and not self._same(request.jobs, submitted.jobs):
            raise GroupConflict(request.group_id)
        return await self._send_pending(request.group_id, submitted.jobs)

    async def cancel(self, group_id: str) -> GroupView:
        """Call off the jobs of a group that have not ended; return the group as it is then.

        A computation that runs is stopped by its worker's next heartbeat, a third of
        `Settings.lease_seconds` later at the most.

        Raises:
            GroupNotFound: There is no such group.
        """
        return view(await self._jobs.cancel(group_id))

    async def redrive(self, group_id: str) -> Acceptance:
        """Give the failed and cancelled jobs of a group a new life, and send their messages.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._send_pending(group_id, await self._jobs.redrive(group_id))

    async def adopt(self, message: JobMessage, queue: str) -> str:
        """Find the job that a message of another sender is about, or make one for it.

        The group need not exist, nor be whole. The same message again is about the same job.

        Args:
            message: The message.
            queue: Name of the queue it came on. Further messages about the job go there, too:
                somebody listens to it.

        Returns:
            The unique id of the job.

        Raises:
            MessageError: It asks for nothing that can be computed here, or contradicts a job that
                is there already.
        """
        wanted = requested_job(message, self._plugins.proof_types)
        try:
            problems = await self._asking.validate(wanted)
        except PluginError as error:
            raise MessageError(str(error)) from None
        if problems:
            raise MessageError(str(RequestError(capped(problems))))
        job = await self._jobs.adopt(
            message.job_group_id,
            NewJob(_new_id(0), wanted.proof_type, dump_parameters(wanted.parameters), queue),
        )
        if not self._same([wanted], [job]):
            raise MessageError(
                f"job group {job.group_id!r} has a job {job.proof_type!r} already, with other "
                f"parameters: {job.parameters}"
            )
        return job.id

    async def send(self, jobs: Sequence[StoredJob]) -> dict[str, str]:
        """Send the messages of jobs; return the reasons of those that failed, by job id."""
        if not jobs:
            return {}
        failures = await self._queue.send([_outgoing(job) for job in jobs])
        failed = {failure.job_id: failure.reason for failure in failures}
        if sent := [job.id for job in jobs if job.id not in failed]:
            await self._jobs.mark_sent(sent)
        return failed

    async def status(self, group_id: str) -> GroupView:
        """Return a group with its jobs.

        Raises:
            GroupNotFound: There is no such group.
        """
        return view(await self._jobs.group(group_id))

    async def list(self, *, state: JobState | None = None, limit: int = 50) -> list[GroupView]:
        """Return the newest groups, all or those with a job in ``state``."""
        return [view(jobs) for jobs in await self._jobs.groups(state=state, limit=limit)]

    def catalogue(self) -> Catalogue:
        """List the proof types that can be asked for, and all plugins that were found."""
        return catalogue(self._plugins)

    async def _send_pending(self, group_id: str, jobs: Sequence[StoredJob]) -> Acceptance:
        pending = [job for job in jobs if job.state is JobState.PENDING]
        failures = await self.send(pending)
        unsent = tuple(
            (self._plugins.title(job.proof_type), failures[job.id])
            for job in pending
            if job.id in failures
        )
        return Acceptance(group_id, unsent)

    def _same(self, wanted: Sequence[JobRequest], stored: Sequence[StoredJob]) -> bool:
        """Compare as the plugins read it now: a parameter they have gained has its default."""
        try:
            return {job.proof_type: job.parameters for job in wanted} == {
                job.proof_type: structure(
                    parse_json(job.parameters.encode()),
                    self._plugins.for_type(job.proof_type).proof_type.parameters,
                )
                for job in stored
            }
        except (PluginError, RequestError):
            return False


def _new_job(job: JobRequest, choice: Dispatch, place: int) -> NewJob:
    return NewJob(
        id=_new_id(place),
        proof_type=job.proof_type,
        parameters=dump_parameters(job.parameters),
        queue=choice.queue,
        delay_seconds=choice.delay_seconds,
    )


def view(jobs: Sequence[StoredJob]) -> GroupView:
    """Show the jobs of one group."""
    return GroupView(
        job_group_id=jobs[0].group_id,
        status=group_state([job.state for job in jobs]),
        jobs=tuple(_job_view(job) for job in jobs),
    )


def _job_view(job: StoredJob) -> JobView:
    error = None
    if job.error_code is not None:
        error = {"code": job.error_code, "message": job.error_message or ""}
    resting = job.state in (JobState.QUEUED, JobState.WAITING) and job.not_before > job.created_at
    return JobView(
        job_id=job.proof_type,
        status=job.state,
        attempts=job.attempts,
        created_at=iso_utc(job.created_at),
        queued_at=None if job.queued_at is None else iso_utc(job.queued_at),
        started_at=None if job.started_at is None else iso_utc(job.started_at),
        finished_at=None if job.finished_at is None else iso_utc(job.finished_at),
        not_before=iso_utc(job.not_before) if resting else None,
        error=error,
        result=_shown_result(job),
    )


def _shown_result(job: StoredJob) -> Json:
    """Return the plugin's result, and what the receipt says it was made from."""
    if job.result is None:
        return None
    result = parse_json(job.result.encode())
    if job.receipt is None or not isinstance(result, dict):
        return result
    return {**result, EVIDENCE: unstructure(evidence_of(job.receipt))}


def _outgoing(job: StoredJob) -> Outgoing:
    parameters = parse_json(job.parameters.encode())
    if not isinstance(parameters, dict):
        raise TypeError(f"the parameters of job {job.id} are not an object")
    start, end = parameters.get("start_timestamp"), parameters.get("end_timestamp")
    message = JobMessage(
        job_id=job.proof_type,
        job_group_id=job.group_id,
        start_timestamp=start if isinstance(start, int) else None,
        end_timestamp=end if isinstance(end, int) else None,
        id=job.id,
        params=parameters,
    )
    # A message that is sent again is overdue. The worker looks at the job's own time anyway.
    delay = 0.0 if job.sends else max(0.0, (job.not_before - job.created_at) / 1000)
    return Outgoing(job.id, job.queue, dump_message(message), delay, job.sends)


def _new_id(place: int) -> str:
    """Make a unique job id of 32 hex digits that sorts by time and by place in the request.

    Ids that rise keep the index's insertions at one end.
    """
    return f"{time.time_ns() // 1_000_000:012x}{place % 256:02x}{secrets.token_hex(9)}"


def iso_utc(milliseconds: int) -> str:
    """Write a time as people and programs are shown it: ISO 8601, UTC, with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds // 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
