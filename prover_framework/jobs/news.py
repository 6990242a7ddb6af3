"""News of jobs that may begin, for workers of the same process that wait for some."""

import asyncio


class News:
    """Wakes those that wait, each time that something has changed.

    What other processes change nobody announces here.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """What the next announcement sets; to be asked for before looking at the database."""
        return self._changed

    def announce(self) -> None:
        """Wake those that wait."""
        # A new event for those who look from now on: clearing one event for all would take the
        # news from those that have not yet woken up.
        self._changed.set()
        self._changed = asyncio.Event()
