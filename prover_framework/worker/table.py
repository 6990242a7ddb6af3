"""Take jobs where the table is the queue: one write brings as many as there is room for."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prover_framework.jobs.ready import ReadyJobs
from prover_framework.jobs.records import StoredJob, Taken
from prover_framework.logs import Trouble
from prover_framework.metrics import Metrics
from prover_framework.worker.incapable import spread
from prover_framework.worker.intake import Claim
from prover_framework.worker.loops import is_unforeseen, rest
from prover_framework.worker.room import Room
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

# For how long a job is left alone that this worker has taken and lacks something for: as long as it
# has been there, within these bounds.
LEAST_INCAPABLE_SECONDS = 4.0
MOST_INCAPABLE_SECONDS = 60.0


class TableIntake:
    """Takes the leases of ready jobs; see `prover_framework.worker.intake.Intake`.

    Args:
        ready: The jobs.
        room: For how many there is room.
        handling: The trouble with those before: while it lasts, none is taken.
        stopping: Ends the taking, together with `interrupt` and `Room.look_again`.
        metrics: Counts them.
        queue_name: Name of the queue.
        worker_name: Who takes the leases.
        lease_seconds: For how long.
        timings: Waits.
    """

    def __init__(
        self,
        ready: ReadyJobs,
        room: Room,
        handling: Trouble,
        stopping: asyncio.Event,
        metrics: Metrics,
        *,
        queue_name: str,
        worker_name: str,
        lease_seconds: float,
        timings: Timings,
    ) -> None:
        self._ready = ready
        self._room = room
        self._handling = handling
        self._stopping = stopping
        self._metrics = metrics
        self._queue_name = queue_name
        self._worker_name = worker_name
        self._lease_seconds = lease_seconds
        self._timings = timings
        self._taking = Trouble("taking jobs", log, first_seconds=timings.trouble_seconds)

    async def run(self, serve: Callable[[Coroutine[Any, Any, Claim | None]], None]) -> None:
        """Take jobs until the worker stops."""
        while limit := await self._room.wait(self._stopping):
            if wait := self._handling.seconds_left:
                # Jobs that are taken while the database is away would only be held.
                await rest(self._stopping, wait)
                if self._stopping.is_set():
                    return
            for taken in await self._take(limit):
                self._room.enter()
                serve(_claim(taken))

    async def _take(self, limit: int) -> list[Taken]:
        try:
            taken = await self._ready.take(
                limit=limit,
                worker=self._worker_name,
                lease_seconds=self._lease_seconds,
                wait_seconds=self._timings.poll_seconds,
                wanted=lambda: not self._room.is_paused,
            )
        except Exception as error:
            # Whatever it is, a worker that ends itself over it helps no one.
            await rest(self._stopping, self._taking.failed(error, stack=is_unforeseen(error)))
            return []
        self._taking.passed()
        self._metrics.receives.labels(self._queue_name).observe(len(taken))
        self._metrics.received.labels(self._queue_name).inc(len(taken))
        return taken

    def interrupt(self) -> None:
        """Let the wait for jobs end."""
        self._ready.interrupt()

    async def keep(self, claims: Sequence[Claim], seconds: float) -> None:
        """Do nothing: the lease is all there is."""

    async def delete(self, claim: Claim) -> None:
        """Do nothing: what is stored says that it has ended."""

    async def put_back(self, claim: Claim, seconds: float) -> None:
        """Do nothing: what is stored says when it may begin."""

    def incapable_seconds(self, job: StoredJob) -> float:
        """Return a time that grows as the job's age does."""
        age = ((job.started_at or job.created_at) - job.created_at) / 1000
        return spread(min(MOST_INCAPABLE_SECONDS, max(LEAST_INCAPABLE_SECONDS, age)))

    async def leave_to_others(self, claim: Claim, missing: str) -> None:
        """Do nothing: what is stored says what was missing."""
        log.info("job %s is left to other workers: %s", claim.job.id, missing)


async def _claim(taken: Taken) -> Claim:
    job = taken.job
    return Claim(taken.lease, job, request_id=job.request_id, trace_parent=job.trace_parent)
