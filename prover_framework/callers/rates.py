"""How often something may be done: a bucket of tokens that fills as time passes."""

import math
from collections.abc import Callable

# A key that has made no requests for long may make this many minutes' worth at once.
BURST_MINUTES = 1.0


class Rate:
    """Something that may be done so often in a minute, in the mean.

    Args:
        per_minute: How often.
        now: Seconds by a clock that never goes back.
    """

    def __init__(self, per_minute: int, now: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._now = now
        self._most = max(1.0, per_minute * BURST_MINUTES)
        self._tokens = self._most
        self._filled_at = now()

    @property
    def used(self) -> int:
        """How much of a minute's worth is used up now."""
        return math.ceil(self._most - self._filled(self._now()))

    def _filled(self, now: float) -> float:
        gained = (now - self._filled_at) * self.per_minute / 60
        return min(self._most, self._tokens + gained)

    def take(self) -> int | None:
        """Do it once.

        Returns:
            None if it may be done now, else after how many whole seconds it may.
        """
        now = self._now()
        self._tokens = self._filled(now)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        return max(1, math.ceil((1 - self._tokens) * 60 / self.per_minute))
