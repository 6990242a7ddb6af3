"""Receive messages, as many as there is room for, and take the leases of their jobs."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from attrs import frozen

from prover_framework.errors import MessageError, MessageTooNew
from prover_framework.jobs.messages import JobMessage, parse_message
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore, Lease, Refusal, Refused, StoredJob
from prover_framework.logs import Trouble
from prover_framework.model.proofs import split_job_id
from prover_framework.queues.base import Queue, Received
from prover_framework.serialization.json_text import Json
from prover_framework.worker.executor import MeanDuration
from prover_framework.worker.incapable import OtherWorkers
from prover_framework.worker.loops import is_unforeseen, rest
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

# More jobs than this are not prefetched, however short they are: two receives of SQS bring them.
MAX_PREFETCH = 20

# How much room there has to be before messages are prefetched: what a receive brings at most.
PREFETCH_BATCH = 10

# A shorter mean duration than this is taken for this: it divides.
MIN_MEAN_SECONDS = 1e-6


# Why a message of another sender is a dead letter where nobody has said that such are wanted.
NOT_OURS = (
    "it has no id of this service, so another sender has made it; PROVER_OTHER_SENDERS=true lets "
    "whoever may write to the queue have jobs computed"
)


@frozen
class Claim:
    """A job that this worker has, with the message that it came by."""

    message: Received
    lease: Lease
    job: StoredJob


def prefetch(slots: int, mean_seconds: float | None, prefetch_seconds: float) -> int:
    """Return how many jobs to take beyond those that there are slots for.

    Args:
        slots: How many slots there are.
        mean_seconds: Mean duration of computations; None while it is not known.
        prefetch_seconds: Jobs that begin within half of this time are worth it.
    """
    if mean_seconds is None:
        return 0
    begun = slots * prefetch_seconds / 2 / max(mean_seconds, MIN_MEAN_SECONDS)
    return int(min(MAX_PREFETCH, begun))


def places(slots: int, in_flight: int, prefetched: int) -> int:
    """Return how many messages to receive now; 0 if none, for now.

    A slot that nothing is in flight for is worth a receive of its own. What is only prefetched is
    received in batches.

    Args:
        slots: How many slots there are.
        in_flight: Messages whose jobs have no outcome yet.
        prefetched: How many jobs to take beyond the slots.
    """
    free = slots + prefetched - in_flight
    return free if free > 0 and (in_flight < slots or free >= PREFETCH_BATCH) else 0


class Room:
    """Counts the messages in flight, and tells for how many more there is room.

    Args:
        slots: How many slots there are.
        mean_duration: How long computations take.
        prefetch_seconds: See `prefetch`.
    """

    def __init__(self, slots: int, mean_duration: MeanDuration, prefetch_seconds: float) -> None:
        self._slots = slots
        self._mean_duration = mean_duration
        self._prefetch_seconds = prefetch_seconds
        self._in_flight = 0
        self._changed = asyncio.Event()

    @property
    def places(self) -> int:
        """For how many messages there is room now."""
        prefetched = prefetch(self._slots, self._mean_duration.seconds, self._prefetch_seconds)
        return places(self._slots, self._in_flight, prefetched)

    def enter(self) -> None:
        """Count a message as in flight."""
        self._in_flight += 1

    def leave(self) -> None:
        """Count a message no longer: its job has an outcome, or is not to be had."""
        self._in_flight -= 1
        self.look_again()

    def look_again(self) -> None:
        """Let who waits for room look again."""
        self._changed.set()

    async def wait(self, stopping: asyncio.Event) -> int:
        """Wait for room; return for how many messages, 0 when the worker stops."""
        while not stopping.is_set():
            if found := self.places:
                return found
            self._changed.clear()
            await self._changed.wait()
        return 0


class Intake:
    """Receives the messages of one queue and takes the leases of their jobs.

    Args:
        queue: Where messages come from.
        jobs: Where leases are taken.
        lacks: Says what this worker lacks for a job: its proof type and parameters, as a message
            tells of them.
        others: Where the messages of such jobs are left.
        service: What finds the jobs of other senders' messages, or makes them.
        room: For how many messages there is room.
        handling: The trouble with what was received before: while it lasts, nothing is received.
        stopping: Ends the receiving, together with `Queue.interrupt` and `Room.look_again`.
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

    async def run(self, serve: Callable[[Received], None]) -> None:
        """Receive messages until the worker stops.

        Args:
            serve: Called with each message. It is in flight from then on; who serves it says to
                the room when it is not any more.
        """
        while limit := await self._room.wait(self._stopping):
            if wait := self._handling.seconds_left:
                # What is received while the database is away would come back unserved.
                await rest(self._stopping, wait)
            for message in await self._receive(limit):
                self._room.enter()
                serve(message)

    async def _receive(self, limit: int) -> list[Received]:
        try:
            messages = await self._queue.receive(
                self._queue_name,
                limit=limit,
                wait_seconds=self._timings.poll_seconds,
                visibility_seconds=self._lease_seconds,
            )
            if self._stopping.is_set():
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
        return Claim(message, taken.lease, taken.job)

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
