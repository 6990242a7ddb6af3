"""A queue whose messages are counted."""

from collections.abc import Iterable, Sequence

from prover_framework.metrics import Metrics
from prover_framework.queues.base import Outgoing, Queue, QueueStatus, Received, SendFailure


class CountedQueue:
    """Counts what goes through a queue; see `prover_framework.queues.base.Queue`.

    Args:
        queue: The queue.
        metrics: What counts.
        names: Names of queues that are shown before anything has gone through them.
    """

    def __init__(self, queue: Queue, metrics: Metrics, names: Iterable[str] = ()) -> None:
        self._queue = queue
        self._metrics = metrics
        for name in names:
            # From nothing to one is an increase only for who has seen the nothing.
            for counter in (metrics.sent, metrics.unsent, metrics.received, metrics.buried):
                counter.labels(name)

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        """Send messages; return those that were not sent."""
        failures = await self._queue.send(messages)
        failed = {failure.job_id for failure in failures}
        for message in messages:
            counter = self._metrics.unsent if message.job_id in failed else self._metrics.sent
            counter.labels(message.queue).inc()
        return failures

    async def receive(
        self, queue: str, *, limit: int, wait_seconds: float, visibility_seconds: float
    ) -> list[Received]:
        """Receive messages, waiting for the first of them."""
        received = await self._queue.receive(
            queue, limit=limit, wait_seconds=wait_seconds, visibility_seconds=visibility_seconds
        )
        self._metrics.receives.labels(queue).observe(len(received))
        self._metrics.received.labels(queue).inc(len(received))
        return received

    def interrupt(self) -> None:
        """Make receives that wait return, now and from now on."""
        self._queue.interrupt()

    async def delete(self, message: Received) -> None:
        """Remove a message."""
        await self._queue.delete(message)

    async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
        """Make messages invisible for some seconds."""
        await self._queue.change_visibility(messages, seconds)

    async def bury(self, message: Received, reason: str) -> None:
        """Move a message to the dead letters."""
        await self._queue.bury(message, reason)
        self._metrics.buried.labels(message.queue).inc()

    async def status(self, queue: str) -> QueueStatus:
        """Count the messages of a queue and its dead letters."""
        return await self._queue.status(queue)

    async def close(self) -> None:
        """Finish what is under way and let go of all resources."""
        await self._queue.close()
