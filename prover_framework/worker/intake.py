"""Where a worker's jobs come from: the messages of a queue, or the table of jobs itself."""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from attrs import field, frozen

from prover_framework.jobs.records import Lease, StoredJob
from prover_framework.queues.base import Received


@frozen
class Claim:
    """A job that this worker has.

    Args:
        lease: Its lease.
        job: The job.
        message: The message that it came by; none where the table is the queue.
        request_id: Id of the request that has sent the message, if it has one.
        trace_parent: The span that it was asked for in; see `prover_framework.tracing`.
        began: When the lease was taken, on the clock of `time.monotonic`.
    """

    lease: Lease
    job: StoredJob
    message: Received | None = field(default=None, kw_only=True)
    request_id: str | None = field(default=None, kw_only=True)
    trace_parent: str | None = field(default=None, kw_only=True)
    began: float = field(factory=time.monotonic, kw_only=True)

    @property
    def seconds(self) -> float:
        """For how long the worker has it."""
        return time.monotonic() - self.began


class Intake(Protocol):
    """Brings jobs in, and sees to what they came by.

    Where that is a message, it is the worker's for as long as the lease is, and is deleted or put
    back after the outcome is stored. Where the table is the queue, what is stored says it all.
    """

    async def run(self, serve: Callable[[Coroutine[Any, Any, Claim | None]], None]) -> None:
        """Bring jobs in until the worker stops.

        Args:
            serve: Called for each arrival, with what comes to its claim: None if the job is not to
                be had. It is in flight from then on; who serves it says to the room when it is not
                any more.
        """
        ...

    def interrupt(self) -> None:
        """Let the wait for jobs end."""
        ...

    async def keep(self, claims: Sequence[Claim], seconds: float) -> None:
        """Keep what some jobs came by from other workers, for some seconds from now.

        Raises:
            ProverError: That was not possible.
            OSError: Likewise.
        """
        ...

    async def delete(self, claim: Claim) -> None:
        """Remove it: its job has an outcome, or the sweep sees to it."""
        ...

    async def put_back(self, claim: Claim, seconds: float) -> None:
        """Let it be found after some seconds."""
        ...

    def incapable_seconds(self, job: StoredJob) -> float:
        """For how long nobody may take a job that this worker lacks something for."""
        ...

    async def leave_to_others(self, claim: Claim, missing: str) -> None:
        """Leave it to other workers, after the job was released."""
        ...
