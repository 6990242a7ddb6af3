"""What many look at is made once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

# Shorter than an open page waits before it loads anew (`live.js`): what it then sees was made after
# the change that it has heard of.
KEEP_SECONDS = 0.9

# Of different keys at one moment; what is beyond is made one by one.
MOST_KEPT = 100


class Shared(Generic[T]):
    """Has the same for all who ask by one key in less than a second.

    Args:
        keep_seconds: How long something is good for, from when it was asked for.
    """

    def __init__(self, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._keep_seconds = keep_seconds
        self._known: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return what was made for a key just now, or else what is made.

        What making it raises, all raise who have asked meanwhile.

        Args:
            key: All that it depends on, and who may see it.
            make: Makes it.
        """
        now = asyncio.get_running_loop().time()
        self._known = {each: known for each, known in self._known.items() if known[0] > now}
        if key in self._known:
            return await asyncio.shield(self._known[key][1])
        task = asyncio.create_task(_made(make))
        if len(self._known) < MOST_KEPT:
            self._known[key] = now + self._keep_seconds, task
        # Who gives up leaves it to the others.
        return await asyncio.shield(task)


async def _made(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
