"""What many look at is made once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

# Shorter than an open page waits before it loads anew (`live.js`): what it then sees was made after
# the change that it has heard of.
KEEP_SECONDS = 0.9

# Of different questions at one moment; those beyond are answered one by one.
MOST_KEPT = 100


class Shared(Generic[T]):
    """Answers the same asked with the same answer for less than a second.

    Args:
        keep_seconds: How long an answer is good for, from when it was asked for.
    """

    def __init__(self, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._keep_seconds = keep_seconds
        self._known: dict[Hashable, tuple[float, asyncio.Task[T]]] = {}

    async def get(self, asked: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to a asked: what was made for it just now, or what is made.

        What making it raises, all raise who have asked meanwhile.

        Args:
            asked: Everything that the answer depends on, and who may see it.
            make: Makes it.
        """
        now = asyncio.get_running_loop().time()
        self._known = {each: known for each, known in self._known.items() if known[0] > now}
        if asked in self._known:
            return await asyncio.shield(self._known[asked][1])
        task = asyncio.create_task(_made(make))
        if len(self._known) < MOST_KEPT:
            self._known[asked] = now + self._keep_seconds, task
        # Who gives up leaves it to the others.
        return await asyncio.shield(task)


async def _made(make: Callable[[], Awaitable[T]]) -> T:
    return await make()
