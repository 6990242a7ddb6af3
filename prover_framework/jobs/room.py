"""Whether there is room for another group: for its sender, and in the service."""

import asyncio
import time
from collections.abc import Callable

from prover_framework.errors import GroupNotFound, TooManyOpenGroups, TooManyOpenJobs
from prover_framework.jobs.store import JobStore
from prover_framework.model.callers import Caller

# What a service accepts before workers have to catch up. Counting them takes some milliseconds.
MAX_OPEN_JOBS = 100_000

# How long a count is good for. What this process accepts meanwhile is added to it.
KEEP_SECONDS = 2.0

# When room may have come.
RETRY_SECONDS = 10


class Room:
    """Refuses groups beyond what their senders and the service may have open.

    A group that is there already is no new one, so it may be submitted again whatever there is.
    What counts is in the database, and a group counts once it is stored: of those that are
    submitted at one moment a few more than the limit may come in.

    Args:
        jobs: Where jobs are.
        most: How many jobs that have not ended there may be.
        clock: Seconds that never go back.
    """

    def __init__(
        self, jobs: JobStore, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._most = most
        self._clock = clock
        self._lock = asyncio.Lock()
        self._count = 0
        self._counted_at: float | None = None

    async def require(self, group_id: str, jobs: int, caller: Caller) -> None:
        """Require that there is room for a group.

        Args:
            group_id: The group's key.
            jobs: How many jobs it has.
            caller: Who submits it.

        Raises:
            TooManyOpenGroups: He has as many as he may.
            TooManyOpenJobs: The service has as many as it may.
        """
        await self._look()
        if self._count + jobs > self._most and not await self._is_there(group_id):
            raise TooManyOpenJobs(self._most, RETRY_SECONDS)
        limit = caller.open_groups
        if caller.key_id is not None and limit is not None:
            count = await self._jobs.open_groups(caller.key_id, limit)
            if count >= limit and not await self._is_there(group_id):
                raise TooManyOpenGroups(limit, caller.key_id, RETRY_SECONDS)
        self._count += jobs

    async def _look(self) -> None:
        if self._is_fresh():
            return
        async with self._lock:
            if not self._is_fresh():
                self._count = await self._jobs.count_open(self._most)
                self._counted_at = self._clock()

    def _is_fresh(self) -> bool:
        return self._counted_at is not None and self._clock() < self._counted_at + KEEP_SECONDS

    async def _is_there(self, group_id: str) -> bool:
        try:
            await self._jobs.group(group_id)
        except GroupNotFound:
            return False
        return True
