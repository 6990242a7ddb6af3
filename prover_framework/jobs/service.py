"""What can be asked of the service. HTTP and command line call the same functions."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from attrs import frozen

from prover_framework.errors import (
    GroupConflict,
    GroupNotFound,
    MessageError,
    PluginError,
    PriorityTooHigh,
    RequestError,
    StoreFull,
)
from prover_framework.jobs.actions import Actions
from prover_framework.jobs.messages import JobMessage, dump_message
from prover_framework.jobs.quotas import Quotas
from prover_framework.jobs.reading import GroupReader
from prover_framework.jobs.records import NewGroup, NewJob, StoredJob
from prover_framework.jobs.requests import (
    dependencies_of,
    dump_parameters,
    parse_group_request,
    requested_job,
)
from prover_framework.jobs.room import MAX_OPEN_JOBS, Room
from prover_framework.jobs.store import JobStore
from prover_framework.log_context import log_context
from prover_framework.model.callers import OPERATOR, Caller
from prover_framework.model.jobs import JobState
from prover_framework.model.names import group_key
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.proofs import (
    Dispatch,
    GroupRequest,
    JobRequest,
    ProofType,
    split_job_id,
)
from prover_framework.model.views import GroupView
from prover_framework.plugins.catalogue import Catalogue, catalogue
from prover_framework.plugins.registry import Plugins
from prover_framework.queues.base import Outgoing, Queue
from prover_framework.sandbox.calls import HookCalls
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import parse_json
from prover_framework.serialization.objections import capped
from prover_framework.text import one_line
from prover_framework.tracing import NO_TRACING, SpanKind, Tracing


@frozen
class Acceptance:
    """What came of a request: stored in any case, and which messages were not sent.

    Args:
        group_id: The key of the group.
        unsent: For each job whose message was not sent its proof type's title and the reason.
            Such a job stays pending; a sweep or the same request again sends it.
    """

    group_id: str
    unsent: tuple[tuple[str, str], ...] = ()


class ProvingService(GroupReader):
    """Takes in job groups and tells what became of them.

    A ``group_id`` that a method takes is the group's key: `prover_framework.model.names.group_key`
    makes it of a namespace and the id that the sender has chosen.

    Args:
        plugins: The plugins.
        jobs: Where jobs are.
        queue: Where messages go that wake workers; None where the table of jobs is the queue.
        max_open_jobs: How many jobs that have not ended there may be before no more are accepted.
        quotas: How large the database may be; None where nobody asks.
        tracing: Makes spans of what is done.
    """

    def __init__(
        self,
        plugins: Plugins,
        jobs: JobStore,
        queue: Queue | None,
        *,
        max_open_jobs: int = MAX_OPEN_JOBS,
        quotas: Quotas | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        super().__init__(jobs)
        self.tracing = tracing
        self._room = Room(jobs, max_open_jobs)
        self._quotas = quotas
        self._plugins = plugins
        self._queue = queue
        self._hook_calls = HookCalls(plugins)

    @cached_property
    def actions(self) -> Actions:
        """What operators do with groups."""
        return Actions(self._jobs, self._jobs.removal, self.send, self._plugins)

    async def close(self) -> None:
        """End the processes that plugins were asked in."""
        await self._hook_calls.close()

    def parse(self, body: bytes) -> GroupRequest:
        """Read a request for a group of proofs and check its form.

        Raises:
            RequestError: Every problem of it.
        """
        return parse_group_request(body, self._plugins.proof_types)

    async def submit(
        self, request: GroupRequest, caller: Caller = OPERATOR, *, priority: int = USUAL_PRIORITY
    ) -> Acceptance:
        """Have a group's parameters validated, store it and send its messages.

        The group id makes this idempotent: the same request again sends only what is not yet
        sent.

        Args:
            request: What is asked for.
            caller: Who asks. The group is one of his namespace.
            priority: That of the group, where it is new; see `prover_framework.model.priorities`.

        Raises:
            PriorityTooHigh: The caller may not ask for this priority.
            TooManyOpenGroups: The group is new, and the caller has as many as he may.
            TooManyOpenJobs: The group is new, and the service has as many jobs as it may.
            RequestError: Plugins find problems; nothing was stored.
            ProofError: A plugin refuses its job; nothing was stored.
            PluginError: A plugin could not say whether there are problems, or where its job goes;
                nothing was stored.
            GroupConflict: The group exists and asked for something else.
            StoreFull: There is no room for a further group; nothing was stored.
        """
        if priority > caller.max_priority:
            raise PriorityTooHigh(caller.key_id, priority, caller.max_priority)
        with self.tracing.span("submit"):
            return await self._submit(request, caller, priority)

    async def _submit(self, request: GroupRequest, caller: Caller, priority: int) -> Acceptance:
        came_from = self.tracing.current()
        with self.tracing.span("validate"):
            jobs = await self._validated(request)
        key = group_key(caller.namespace, request.group_id)
        await self._require_room(key)
        await self._room.require(key, len(jobs), caller)
        with self.tracing.span("store"):
            submitted = await self._jobs.submit(
                NewGroup(
                    key,
                    tuple(jobs),
                    caller.key_id,
                    log_context().request_id,
                    priority,
                    came_from,
                )
            )
        if not submitted.created and not self._same(request.jobs, submitted.jobs):
            raise GroupConflict(request.group_id)
        return await self._send_pending(key, submitted.jobs)

    async def _validated(self, request: GroupRequest) -> list[NewJob]:
        """Return the jobs of a request once their plugins have found nothing wrong with it."""
        problems = [
            problem for job in request.jobs for problem in await self._hook_calls.validate(job)
        ]
        if problems:
            raise RequestError(capped(problems), request.group_id)
        proof_types = self._plugins.proof_types
        return [
            _new_job(job, await self._hook_calls.dispatch(job), place, proof_types)
            for place, job in enumerate(request.jobs)
        ]

    async def _require_room(self, group_id: str) -> None:
        """Require room for a group, unless it is there already: that can be sent in any case."""
        if self._quotas is None:
            return
        try:
            await self._quotas.require_room()
        except StoreFull:
            try:
                await self._jobs.group(group_id)
            except GroupNotFound:
                pass
            else:
                return
            raise

    async def cancel(self, group_id: str) -> GroupView:
        """Call off the jobs of a group that have not ended; return the group as it is then.

        A computation that runs is stopped by its worker's next heartbeat, a third of
        `Settings.lease_seconds` later at the most.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._view(await self._jobs.cancel(group_id))

    async def redrive(self, group_id: str) -> Acceptance:
        """Give the failed and cancelled jobs of a group a new life, and send their messages.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._send_pending(group_id, await self._jobs.redrive(group_id))

    async def enqueue(self, message: JobMessage, queue: str) -> str:
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
            problems = await self._hook_calls.validate(wanted)
        except PluginError as error:
            raise MessageError(str(error)) from None
        if problems:
            raise MessageError(str(RequestError(capped(problems))))
        job = await self._jobs.enqueue(
            message.job_group_id,
            NewJob(
                _new_id(0),
                wanted.proof_type,
                dump_parameters(wanted.parameters),
                queue,
                method_version=self._plugins.for_type(wanted.proof_type).proof_type.version,
            ),
        )
        if not self._same([wanted], [job]):
            raise MessageError(
                f"job group {job.group_id!r} has a job {job.name!r} already, with other "
                f"parameters: {one_line(job.parameters)}"
            )
        return job.id

    async def send(self, jobs: Sequence[StoredJob]) -> dict[str, str]:
        """Send the messages of jobs; return the reasons of those that failed, by job id."""
        if not jobs or self._queue is None:
            return {}
        failures = await self._queue.send([_outgoing(job) for job in jobs])
        failed = {failure.job_id: failure.reason for failure in failures}
        if sent := [job.id for job in jobs if job.id not in failed]:
            await self._jobs.mark_sent(sent)
        return failed

    def catalogue(self) -> Catalogue:
        """List the proof types that can be asked for, and all plugins that were found."""
        return catalogue(self._plugins)

    @cached_property
    def catalogue_text(self) -> bytes:
        """The same as JSON text: what is installed stays so while the process runs."""
        return json.dumps(unstructure(self.catalogue()), allow_nan=False).encode()

    async def _send_pending(self, group_id: str, jobs: Sequence[StoredJob]) -> Acceptance:
        pending = [job for job in jobs if job.state is JobState.PENDING]
        if not pending:
            return Acceptance(group_id)
        with self.tracing.span("send", SpanKind.PRODUCER):
            failures = await self.send(pending)
        unsent = tuple(
            (self._title(job), failures[job.id]) for job in pending if job.id in failures
        )
        return Acceptance(group_id, unsent)

    def _title(self, job: StoredJob) -> str:
        """Return what messages to people call a job."""
        _, label = split_job_id(job.name)
        title = self._plugins.title(job.proof_type)
        return f"{title} ({label})" if label else title

    def _same(self, wanted: Sequence[JobRequest], stored: Sequence[StoredJob]) -> bool:
        """Compare as the plugins read it now: a parameter they have gained has its default."""
        try:
            # By their text: what a class takes for equal is the plugin's code.
            return {job.job_id: dump_parameters(job.parameters) for job in wanted} == {
                job.name: dump_parameters(
                    structure(
                        parse_json(job.parameters.encode()),
                        self._plugins.for_type(job.proof_type).proof_type.parameters,
                    )
                )
                for job in stored
            }
        except (PluginError, RequestError):
            return False


def _new_job(
    job: JobRequest, choice: Dispatch, place: int, proof_types: Mapping[str, ProofType[Any, Any]]
) -> NewJob:
    return NewJob(
        id=_new_id(place),
        name=job.job_id,
        parameters=dump_parameters(job.parameters),
        queue=choice.queue,
        delay_seconds=choice.delay_seconds,
        rests_on=dependencies_of(job, proof_types),
        method_version=proof_types[job.proof_type].version,
    )


def _outgoing(job: StoredJob) -> Outgoing:
    parameters = parse_json(job.parameters.encode())
    if not isinstance(parameters, dict):
        raise TypeError(f"the parameters of job {job.id} are not an object")
    start, end = parameters.get("start_timestamp"), parameters.get("end_timestamp")
    message = JobMessage(
        job_id=job.name,
        job_group_id=job.job_group_id,
        start_timestamp=start if isinstance(start, int) else None,
        end_timestamp=end if isinstance(end, int) else None,
        id=job.id,
        params=parameters,
        request_id=job.request_id,
        traceparent=job.trace_parent,
    )
    # A message that is sent again is overdue. The worker looks at the job's own time anyway.
    delay = 0.0 if job.sends else max(0.0, (job.not_before - job.created_at) / 1000)
    return Outgoing(job.id, job.queue, dump_message(message), delay, job.sends)


def _new_id(place: int) -> str:
    """Make a unique job id of 32 hex digits that sorts by time and by place in the request.

    Ids that rise keep the index's insertions at one end.
    """
    return f"{time.time_ns() // 1_000_000:012x}{place % 256:02x}{secrets.token_hex(9)}"
