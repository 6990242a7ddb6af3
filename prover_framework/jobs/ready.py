"""The table of jobs as the queue: nothing to install, nothing to send, no second lease.

Workers that wait are woken by what their own process accepts. What other processes accept they
find by looking: on SQLite 25 ms later at the most; on PostgreSQL, which keeps no mark of changes,
and for jobs that may begin by time alone, a tenth of a second later.
"""

import asyncio
from collections.abc import Sequence

from prover_framework.database.database import Database
from prover_framework.jobs.store import JobStore, Taken
from prover_framework.queues.base import QueueStatus

# How often a worker that waits asks an embedded database whether another process has committed
# something. That is answered from shared memory.
POLL_SECONDS = 0.025

# How often it looks into the table all the same: for jobs that may begin by time alone and, where
# the database does not tell of commits, for those that other processes have accepted. A job waits
# half as long on average; a look that finds nothing costs the server less than 0.1 ms.
LOOK_SECONDS = 0.1


class ReadyJobs:
    """The jobs of one queue that a worker can do.

    Args:
        jobs: The jobs.
        database: Where they are.
        queue: Name of the queue.
        proof_types: What the worker can do. What it cannot do is not looked at.
        look_seconds: How often a worker that waits looks into the table.
        poll_seconds: How often it asks for commits, where the database tells of them.
    """

    def __init__(
        self,
        jobs: JobStore,
        database: Database,
        queue: str,
        proof_types: Sequence[str],
        *,
        look_seconds: float = LOOK_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.proof_types = tuple(proof_types)
        self._jobs = jobs
        self._database = database
        self._queue = queue
        self._look_seconds = look_seconds
        self._poll_seconds = poll_seconds
        self._is_interrupted = False

    async def take(
        self, *, limit: int, worker: str, lease_seconds: float, wait_seconds: float
    ) -> list[Taken]:
        """Take up to ``limit`` jobs, oldest first, waiting for the first of them.

        The call may be left early only by `interrupt`, not by cancelling it: it may have taken
        jobs that nobody then has.

        Raises:
            StoreError: The database cannot be used.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + wait_seconds
        while True:
            news = self._jobs.news.next
            version = await self._database.data_version()
            if self._is_interrupted:
                return []
            taken = await self._jobs.take_ready(
                self._queue,
                self.proof_types,
                limit=limit,
                worker=worker,
                lease_seconds=lease_seconds,
            )
            if taken or not await self._has_news(news, version, ends):
                return taken

    def interrupt(self) -> None:
        """Make `take` return, now and from now on."""
        self._is_interrupted = True
        self._jobs.news.announce()

    async def _has_news(self, news: asyncio.Event, version: int | None, ends: float) -> bool:
        """Wait until looking again may find something; False when the wait is over."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + self._look_seconds
        pace = self._look_seconds if version is None else self._poll_seconds
        while not self._is_interrupted:
            now = loop.time()
            if now >= ends:
                return False
            if now >= look_at or news.is_set():
                return True
            if version is not None and await self._database.data_version() != version:
                return True
            try:
                async with asyncio.timeout(min(pace, ends - now)):
                    await news.wait()
            except TimeoutError:
                continue
        return False


async def table_status(jobs: JobStore, queue: str) -> QueueStatus:
    """Tell how full a queue is that is the table.

    Raises:
        StoreError: The database cannot be used.
    """
    counts = await jobs.count_ready(queue)
    return QueueStatus(
        visible=counts.ready, in_flight=counts.running, delayed=counts.delayed, dead_letters=0
    )
