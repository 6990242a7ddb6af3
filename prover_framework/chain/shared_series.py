"""Hourly series that several jobs read at about the same time: read once, as the chain is now.

Two of the three proofs of a round are over one range, and rounds of one hour over the same. What is
kept is what was read for a range while the chain was in one state; whoever asks has looked at the
state first. So nothing is handed out that an import, a removal or another branch has made old.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from attrs import define, field, frozen

from prover_framework.model.series import BlockRange, HourlySeries

# What is kept: the ranges of some rounds that are under way, some megabytes in all.
MAX_SERIES = 16
MAX_HOURS = 50_000


@frozen
class Wanted:
    """A series: its hours, and the state of the chain.

    Args:
        hours: The Unix timestamps at which its hours begin.
        state: What is another value after each change of what is stored of the chain.
    """

    hours: range
    state: tuple[object, ...]


@frozen
class ReadSeries:
    """A series as it was read.

    Args:
        series: The series.
        blocks: What is known of its blocks.
        is_current: Whether it was read in the state that was asked for; there may have been a
            change between the look at the state and the reading.
    """

    series: HourlySeries
    blocks: BlockRange
    is_current: bool


@define(eq=False)
class _Place:
    """Where a series is, or will be once it is read."""

    turn: asyncio.Lock = field(factory=asyncio.Lock)
    found: ReadSeries | None = None


class SharedSeries:
    """Keeps the series that were read last."""

    def __init__(self) -> None:
        self._places: OrderedDict[Wanted, _Place] = OrderedDict()

    async def get(self, wanted: Wanted, read: Callable[[], Awaitable[ReadSeries]]) -> ReadSeries:
        """Return a series, read by the first of those who ask for it at once.

        Where reading fails, the next of them tries.
        """
        place = self._places.setdefault(wanted, _Place())
        self._places.move_to_end(wanted)
        while len(self._places) > MAX_SERIES or self._hours > MAX_HOURS:
            # Who waits for it has it all the same.
            self._places.popitem(last=False)
        async with place.turn:
            if place.found is not None:
                return place.found
            found = await read()
            if found.is_current:
                place.found = found
            return found

    @property
    def _hours(self) -> int:
        return sum(len(wanted.hours) for wanted in self._places)
