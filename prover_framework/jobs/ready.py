"""The table of jobs as the queue: nothing to install, nothing to send, no second lease.

Workers that wait are woken by what their own process accepts and, on SQLite, within 25 ms by what
others commit. Jobs that may begin by time alone they find by looking; and so, on PostgreSQL, those
that other processes have accepted.
"""

import asyncio
from collections.abc import Callable, Sequence

from prover_framework.database.database import Database
from prover_framework.database.watching import CommitWatch
from prover_framework.jobs.records import Taken
from prover_framework.jobs.store import JobStore

# How often a worker that waits looks into the table where nothing tells of commits. A job waits
# half as long on average; a look that finds nothing costs the server less than 0.1 ms.
LOOK_SECONDS = 0.1

# The same where commits are told of: for jobs that may begin by time alone.
WATCHED_LOOK_SECONDS = 0.5


class ReadyJobs:
    """The jobs of one queue that a worker can do.

    Args:
        jobs: The jobs.
        database: Where they are.
        queue: Name of the queue.
        proof_types: What the worker can do. What it cannot do is not looked at.
        look_seconds: How often a worker that waits looks into the table; None: as often as it
            has to.
    """

    def __init__(
        self,
        jobs: JobStore,
        database: Database,
        queue: str,
        proof_types: Sequence[str],
        *,
        look_seconds: float | None = None,
    ) -> None:
        self.proof_types = tuple(proof_types)
        self._jobs = jobs
        self._database = database
        self._queue = queue
        self._look_seconds = look_seconds
        self._watch: CommitWatch | None = None
        self._is_begun = False
        self._is_interrupted = False

    async def take(
        self,
        *,
        limit: int,
        worker: str,
        lease_seconds: float,
        wait_seconds: float,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Taken]:
        """Take up to ``limit`` jobs, oldest first, waiting for the first of them.

        Args:
            limit: How many at the most.
            worker: Who takes them.
            lease_seconds: For how long.
            wait_seconds: How long to wait.
            wanted: Asked before each look; once the answer is no, none is taken.

        The call may be left early only by `interrupt`, not by cancelling it: it may have taken
        jobs that nobody then has.

        Raises:
            StoreError: The database cannot be used.
        """
        self._begin()
        ends = asyncio.get_running_loop().time() + wait_seconds
        while wanted() and not self._is_interrupted:
            news = self._jobs.news.next
            taken = await self._jobs.take_ready(
                self._queue,
                self.proof_types,
                limit=limit,
                worker=worker,
                lease_seconds=lease_seconds,
            )
            if taken or not await self._wait(news, ends):
                return taken
        return []

    def interrupt(self) -> None:
        """Make `take` return, now and from now on."""
        self._is_interrupted = True
        if self._watch is not None:
            self._watch.stop()
        self._jobs.news.announce()

    def _begin(self) -> None:
        """Be told of commits from the first call on."""
        if self._is_begun:
            return
        self._is_begun = True
        loop = asyncio.get_running_loop()

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(self._jobs.news.announce)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                if self._watch is not None:
                    self._watch.stop()

        self._watch = self._database.watch(tell)
        if self._watch is not None:
            self._watch.start()

    async def _wait(self, news: asyncio.Event, ends: float) -> bool:
        """Wait until looking again may find something; False when the time is over."""
        left = ends - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        look = self._look_seconds
        if look is None:
            look = LOOK_SECONDS if self._watch is None else WATCHED_LOOK_SECONDS
        try:
            async with asyncio.timeout(min(look, left)):
                await news.wait()
        except TimeoutError:
            pass
        return True
