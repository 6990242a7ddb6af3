"""For how many more jobs a worker has room."""

import asyncio

from prover_framework.worker.executor import MeanDuration

# More jobs than this are not prefetched, however short they are: two receives of SQS bring them.
MAX_PREFETCH = 20

# How much room there has to be before messages are prefetched: what a receive brings at most.
PREFETCH_BATCH = 10

# A shorter mean duration than this is taken for this: it divides.
MIN_MEAN_SECONDS = 1e-6


def prefetch(slots: int, mean_seconds: float | None, prefetch_seconds: float) -> int:
    """Return how many jobs to take beyond those that there are slots for.

    Args:
        slots: How many slots there are.
        mean_seconds: Mean duration of computations; None while it is not known.
        prefetch_seconds: Jobs that begin within half of this time are worth it.
    """
    if mean_seconds is None:
        return 0
    begun = slots * prefetch_seconds / 2 / max(mean_seconds, MIN_MEAN_SECONDS)
    return int(min(MAX_PREFETCH, begun))


def places(slots: int, in_flight: int, prefetched: int) -> int:
    """Return how many messages to receive now; 0 if none, for now.

    A slot that nothing is in flight for is worth a receive of its own. What is only prefetched is
    received in batches.

    Args:
        slots: How many slots there are.
        in_flight: Messages whose jobs have no outcome yet.
        prefetched: How many jobs to take beyond the slots.
    """
    free = slots + prefetched - in_flight
    return free if free > 0 and (in_flight < slots or free >= PREFETCH_BATCH) else 0


class Room:
    """Counts the messages in flight, and tells for how many more there is room.

    Args:
        slots: How many slots there are.
        mean_duration: How long computations take.
        prefetch_seconds: See `prefetch`.
    """

    def __init__(self, slots: int, mean_duration: MeanDuration, prefetch_seconds: float) -> None:
        self._slots = slots
        self._mean_duration = mean_duration
        self._prefetch_seconds = prefetch_seconds
        self._in_flight = 0
        self._is_paused = False
        self._changed = asyncio.Event()

    @property
    def places(self) -> int:
        """For how many messages there is room now."""
        prefetched = prefetch(self._slots, self._mean_duration.seconds, self._prefetch_seconds)
        return 0 if self._is_paused else places(self._slots, self._in_flight, prefetched)

    @property
    def is_paused(self) -> bool:
        """Whether there is room for nothing, whatever there would be."""
        return self._is_paused

    def pause(self, is_paused: bool) -> None:  # noqa: FBT001 - what it is
        """Have room for nothing from now on, or again."""
        self._is_paused = is_paused
        self.look_again()

    def enter(self) -> None:
        """Count a message as in flight."""
        self._in_flight += 1

    def leave(self) -> None:
        """Count a message no longer: its job has an outcome, or is not to be had."""
        self._in_flight -= 1
        self.look_again()

    def look_again(self) -> None:
        """Let who waits for room look again."""
        self._changed.set()

    async def wait(self, stopping: asyncio.Event) -> int:
        """Wait for room; return for how many messages, 0 when the worker stops."""
        while not stopping.is_set():
            if found := self.places:
                return found
            self._changed.clear()
            await self._changed.wait()
        return 0
