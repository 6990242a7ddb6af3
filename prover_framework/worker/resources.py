"""Share out what a worker has of each resource among the computations that need some of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prover_framework.model.resources import Resources, shortage


class ResourcePool:
    """What is free of a worker's resources.

    Args:
        resources: What the worker has in all.
    """

    def __init__(self, resources: Resources) -> None:
        self._free = dict(resources)
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, wanted: Resources) -> AsyncIterator[None]:
        """Wait until all that is wanted is free, and have it until the body is left.

        Nothing is held while one waits, so that nobody waits for somebody who waits for him.
        """
        await self._take(wanted)
        try:
            yield
        finally:
            await self._give_back(wanted)

    async def _take(self, wanted: Resources) -> None:
        if not wanted:
            return
        async with self._freed:
            await self._freed.wait_for(lambda: shortage(wanted, self._free) is None)
            self._add(wanted, -1)

    async def _give_back(self, wanted: Resources) -> None:
        if not wanted:
            return
        self._add(wanted, 1)
        async with self._freed:
            self._freed.notify_all()

    def _add(self, amounts: Resources, sign: int) -> None:
        for name, amount in amounts.items():
            self._free[name] += sign * amount
