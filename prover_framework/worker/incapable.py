"""Leave a job to other workers that this one lacks something for: nobody's fault, nobody's failure.

Its message is put back, longer each time. When that has not helped, the message is deleted, and the
job says what is missing; the sweep sends another message later, and later still each time.
"""

import logging
import random

from prover_framework.jobs.records import Failure
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import NOT_CAPABLE
from prover_framework.queues.base import Queue, Received
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)


class OtherWorkers:
    """Leaves messages to the other workers of a queue.

    Args:
        jobs: Where the jobs are.
        queue: Where the messages are.
        timings: How often a message is put back.
    """

    def __init__(self, jobs: JobStore, queue: Queue, timings: Timings) -> None:
        self._jobs = jobs
        self._queue = queue
        self._timings = timings

    async def leave(self, message: Received, job_id: str, missing: str) -> None:
        """Leave a message whose job nobody has a lease on.

        Args:
            message: The message.
            job_id: Unique id of the job.
            missing: What this worker lacks.

        Raises:
            StoreError: The database cannot be used. The message comes back by itself.
            QueueError: The same of the queue.
        """
        count = message.receive_count
        log.info("job %s is left to other workers: %s", job_id, missing)
        if count < self._timings.incapable_receives:
            await self._queue.change_visibility([message], self._wait(count))
            return
        await self._jobs.leave_to_others(job_id, not_capable(missing), jitter=spread(1.0))
        await self._queue.delete(message)

    def _wait(self, count: int) -> float:
        return spread(self._timings.incapable_seconds * 2.0 ** (count - 1))


def not_capable(missing: str) -> Failure:
    """Return what is shown of a job that no worker was able to do which has seen it."""
    return Failure(
        NOT_CAPABLE, f"no worker has this proof type, or what it needs; the last said: {missing}"
    )


def spread(seconds: float) -> float:
    """Return between half of a time and all of it: what came together comes back apart."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing
