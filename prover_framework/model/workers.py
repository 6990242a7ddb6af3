"""Workers and queues as operators see them."""

from enum import StrEnum

from attrs import frozen


class WorkerState(StrEnum):
    """What a worker does; the values are those in the database and the API."""

    RUNNING = "running"
    """It takes jobs."""
    PAUSED = "paused"
    """Its queue is paused: it finishes what it has, and takes no more."""
    DRAINING = "draining"
    """It finishes what it has, and then ends."""
    LOST = "lost"
    """It has not been heard of for a while, and did not say that it stops."""


@frozen(kw_only=True)
class WorkerView:
    """A worker; times in ISO 8601, UTC.

    Args:
        worker: Its name: host, process and a random part. Jobs and attempts name it.
        queue: The queue that it serves.
        status: What it does.
        version: Version of the framework.
        plugins: The plugins that it has loaded.
        slots: How many jobs it computes at a time.
        in_flight: How many messages it has in flight.
        started_at: Since when it runs.
        seen_at: When it was heard of last.
        jobs: What it computes now: group and job.
    """

    worker: str
    queue: str
    status: WorkerState
    version: str
    plugins: tuple[str, ...]
    slots: int
    in_flight: int
    started_at: str
    seen_at: str
    jobs: tuple[str, ...]


@frozen(kw_only=True)
class PauseView:
    """A queue that is paused."""

    queue: str
    reason: str
    paused_at: str


@frozen(kw_only=True)
class WorkersView:
    """All workers, and the queues that are paused."""

    workers: tuple[WorkerView, ...]
    paused: tuple[PauseView, ...]

    def serving(self, queue: str) -> tuple[WorkerView, ...]:
        """Return the workers of a queue that are heard of."""
        return tuple(
            one for one in self.workers if one.queue == queue and one.status is not WorkerState.LOST
        )


@frozen
class PauseRequest:
    """The body of a request to pause a queue.

    Args:
        reason: Why, for those who see it.
    """

    reason: str = ""
