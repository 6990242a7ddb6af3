"""Leave a job to other workers that this one lacks something for: nobody's fault, nobody's failure.

Its message is put back, longer each time. When that has not helped, the message is deleted, and the
job says what is missing; the sweep sends another message later, and later still each time.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from attrs import frozen

from prover_framework.database.batching import Batcher
from prover_framework.jobs.records import Failure
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import NOT_CAPABLE
from prover_framework.queues.base import Queue, Received
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

# A worker that lacks a proof type may be alone with many jobs of it, and each call has its price.
# Nobody is in a hurry: such a message comes back after half a second at the earliest.
LINGER_SECONDS = 0.1

# What comes back together: as many as are received together.
TOGETHER = 10

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@frozen
class _Left:
    """A message that has been put back often enough."""

    message: Received
    job_id: str
    missing: str


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
        self._put_back = Batcher(self._put_back_all, linger_seconds=LINGER_SECONDS)
        self._give_up = Batcher(self._give_up_all, linger_seconds=LINGER_SECONDS)

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
        log.info("job %s is left to other workers: %s", job_id, missing)
        if message.receive_count < self._timings.incapable_receives:
            await self._put_back(message)
            return
        await self._give_up(_Left(message, job_id, missing))
        await self._queue.delete(message)

    async def _put_back_all(self, messages: Sequence[Received]) -> list[None]:
        for count, some in _alike(messages, lambda message: message.receive_count):
            await self._queue.change_visibility(some, self._wait(count))
        return [None] * len(messages)

    async def _give_up_all(self, left: Sequence[_Left]) -> list[None]:
        for missing, some in _alike(left, lambda each: each.missing):
            ids = [each.job_id for each in some]
            await self._jobs.leave_to_others(ids, not_capable(missing), jitter=spread(1.0))
        return [None] * len(left)

    def _wait(self, count: int) -> float:
        return spread(self._timings.incapable_seconds * 2.0 ** (count - 1))


def _alike(items: Sequence[T], of: Callable[[T], K]) -> Iterator[tuple[K, list[T]]]:
    """Yield items that have the same in common, some at a time."""
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[of(item)].append(item)
    for common, group in groups.items():
        for start in range(0, len(group), TOGETHER):
            yield common, group[start : start + TOGETHER]


def not_capable(missing: str) -> Failure:
    """Return what is shown of a job that no worker was able to do which has seen it."""
    return Failure(
        NOT_CAPABLE, f"no worker has this proof type, or what it needs; the last said: {missing}"
    )


def spread(seconds: float) -> float:
    """Return between half of a time and all of it: what came together comes back apart."""
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing
