"""Receive messages, as many as there is room for, and take the leases of their jobs."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from prover_framework.errors import MessageError, MessageTooNew
from prover_framework.jobs.messages import JobMessage, parse_message
from prover_framework.jobs.records import Refusal, Refused, StoredJob
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.log_context import REQUEST_ID
from prover_framework.logs import Trouble
from prover_framework.model.proofs import split_job_id
from prover_framework.queues.base import Queue, Received
from prover_framework.serialization.json_text import Json
from prover_framework.worker.incapable import OtherWorkers
from prover_framework.worker.intake import Claim
from prover_framework.worker.loops import is_unforeseen, rest
from prover_framework.worker.room import Room
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

# Why a message of another sender is a dead letter where nobody has said that such are wanted.
NOT_OURS = (
    "it has no id of this service, so another sender has made it; PROVER_OTHER_SENDERS=true lets "
    "whoever may write to the queue have jobs computed"
)


class MessageIntake:
    """Receives the messages of one queue; see `prover_framework.worker.intake.Intake`.

    Args:
        queue: Where messages come from.
        jobs: Where leases are taken.
        lacks: Says what this worker lacks for a job: its proof type and parameters, as a message
            tells of them.
        others: Where the messages of such jobs are left.
        service: What finds the jobs of other senders' messages, or makes them.
        room: For how many messages there is room.
        handling: The trouble with what was received before: while it lasts, nothing is received.
        stopping: Ends the receiving, together with `interrupt` and `Room.look_again`.
        queue_name: Name of the queue.
        worker_name: Who takes the leases.
        lease_seconds: For how long, and how long a message is invisible.
        other_senders: Whether messages without an id of ours are jobs, too.
        timings: Waits.
    """

    def __init__(
        self,
        queue: Queue,
        jobs: JobStore,
        lacks: Callable[[str, Json], str | None],
        others: OtherWorkers,
        service: ProvingService,
        room: Room,
        handling: Trouble,
        stopping: asyncio.Event,
        *,
        queue_name: str,
        worker_name: str,
        lease_seconds: float,
        other_senders: bool,
        timings: Timings,
    ) -> None:
        self._queue = queue
        self._jobs = jobs
        self._lacks = lacks
        self._others = others
        self._service = service
        self._room = room
        self._handling = handling
        self._stopping = stopping
        self._queue_name = queue_name
        self._worker_name = worker_name
        self._lease_seconds = lease_seconds
        self._other_senders = other_senders
        self._timings = timings
        self._receiving = Trouble("receiving", log, first_seconds=timings.trouble_seconds)

    async def run(self, serve: Callable[[Coroutine[Any, Any, Claim | None]], None]) -> None:
        """Receive messages until the worker stops."""
        while limit := await self._room.wait(self._stopping):
            if wait := self._handling.seconds_left:
                # What is received while the database is away would come back unserved.
                await rest(self._stopping, wait)
            for message in await self._receive(limit):
                self._room.enter()
                serve(self.claim(message))

    async def _receive(self, limit: int) -> list[Received]:
        try:
            messages = await self._queue.receive(
                self._queue_name,
                limit=limit,
                wait_seconds=self._timings.poll_seconds,
                visibility_seconds=self._lease_seconds,
            )
            if self._stopping.is_set() or self._room.is_paused:
                # For other workers to take at once.
                await self._queue.change_visibility(messages, 0)
                return []
        except Exception as error:
            # Whatever it is, a worker that ends itself over it helps no one.
            await rest(self._stopping, self._receiving.failed(error, stack=is_unforeseen(error)))
            return []
        self._receiving.passed()
        return messages

    async def claim(self, message: Received) -> Claim | None:
        """Take the lease of a message's job; None if it is not to be had, and the message seen to.

        Raises:
            StoreError: The database cannot be used. The message comes back by itself.
            QueueError: The same of the queue.
        """
        try:
            parsed = parse_message(message.body)
            if await self._is_left(message, parsed):
                return None
            job_id = await self._job_id(parsed)
        except MessageTooNew as error:
            await self._leave_to_newer(message, error)
            return None
        except MessageError as error:
            log.warning("a message goes to the dead letters: %s", error)
            await self._queue.bury(message, str(error))
            return None
        taken = await self._jobs.take(
            job_id, worker=self._worker_name, lease_seconds=self._lease_seconds
        )
        if isinstance(taken, Refused):
            await self._set_aside(message, job_id, taken)
            return None
        return Claim(
            taken.lease,
            taken.job,
            message=message,
            request_id=_request_id(parsed),
            trace_parent=parsed.traceparent or taken.job.trace_parent,
        )

    def interrupt(self) -> None:
        """Make a receive that waits return."""
        self._queue.interrupt()

    async def keep(self, claims: Sequence[Claim], seconds: float) -> None:
        """Keep messages invisible for some seconds from now."""
        await self._queue.change_visibility([*map(_message, claims)], seconds)

    async def delete(self, claim: Claim) -> None:
        """Remove a message."""
        await self._queue.delete(_message(claim))

    async def put_back(self, claim: Claim, seconds: float) -> None:
        """Make a message visible after some seconds."""
        await self._queue.change_visibility([_message(claim)], seconds)

    def incapable_seconds(self, job: StoredJob) -> float:  # noqa: ARG002 - whatever the job
        """Return 0: while the message is put back nobody knows of the job."""
        return 0.0

    async def leave_to_others(self, claim: Claim, missing: str) -> None:
        """Put the message back, and after some times leave the job to the sweep."""
        await self._others.leave(_message(claim), claim.job.id, missing)

    async def _is_left(self, message: Received, parsed: JobMessage) -> bool:
        """Leave a message of ours to others if this worker could not do its job.

        That costs the job no lease. What the message says may not be what is stored, and is read
        again from there.
        """
        if parsed.id is None:
            return False
        missing = self._lacks(split_job_id(parsed.job_id)[0], cast("Json", parsed.params))
        if missing is None:
            return False
        await self._others.leave(message, parsed.id, missing)
        return True

    async def _job_id(self, parsed: JobMessage) -> str:
        """Return the unique id of the job that a message is about, whoever sent it.

        Raises:
            MessageError: It is about no job that is served here, and why.
        """
        if parsed.id is not None:
            return parsed.id
        if not self._other_senders:
            raise MessageError(NOT_OURS)
        return await self._service.enqueue(parsed, self._queue_name)

    async def _leave_to_newer(self, message: Received, error: MessageTooNew) -> None:
        """Put back a message of a later version, and in the end to the dead letters.

        While workers are being replaced, a newer one takes it. The job does not depend on it: the
        sweep sends another message.
        """
        if message.receive_count > self._timings.too_new_receives:
            log.error("a message goes to the dead letters: %s", error)
            await self._queue.bury(message, str(error))
            return
        log.warning("a message is put back: %s", error)
        wait = min(2.0**message.receive_count, self._timings.max_too_new_seconds)
        await self._queue.change_visibility([message], wait)

    async def _set_aside(self, message: Received, job_id: str, refused: Refused) -> None:
        """See to the message of a job that is not to be had."""
        wait = refused.retry_in_seconds
        if refused.refusal is Refusal.UNKNOWN:
            await self._queue.bury(message, f"there is no job {job_id} in the database")
        elif wait is None:
            # The job is final, or waits for data and will be sent again when that is due.
            await self._queue.delete(message)
        elif refused.refusal is Refusal.NOT_DUE and wait > self._timings.max_invisible_seconds:
            await self._jobs.leave_to_sweep(job_id)
            await self._queue.delete(message)
        else:
            await self._queue.change_visibility([message], wait)


def _request_id(parsed: JobMessage) -> str | None:
    named = parsed.request_id
    return named if named is not None and REQUEST_ID.fullmatch(named) else None


def _message(claim: Claim) -> Received:
    if claim.message is None:
        raise TypeError(f"job {claim.job.id} has come by no message")
    return claim.message
