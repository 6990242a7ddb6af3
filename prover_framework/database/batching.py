"""Commit together what arrives together.

A commit that survives a power cut waits for the disk, and one disk serves some hundreds of them a
second. What comes in while one is under way therefore goes into the next as one batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import exp
from typing import Generic, TypeVar

from attrs import define, frozen

from prover_framework.errors import StoreError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

# Bounds how long the first of a batch waits for the last one's rows, and the rows of a statement.
MAX_BATCH = 100


# What comes in counts for about so long in what is expected to come.
RATE_SECONDS = 0.05


@frozen
class Company:
    """What the first item of a batch waits for where many come: others to share a price with.

    Args:
        aim: For how many to wait.
        least: How many have to be expected in time; else nobody waits.
        seconds: How long to wait at most.
    """

    aim: int
    least: int
    seconds: float


@define
class _Arrivals:
    """How many items a second come in, by the batches of late.

    Args:
        rate: That.
        until: The time up to which it is known.
    """

    rate: float = 0.0
    until: float = 0.0

    def note(self, count: int, now: float) -> None:
        """Note how many have come since the time before."""
        passed = max(now - self.until, 1e-6)
        kept = exp(-passed / RATE_SECONDS)
        self.rate = kept * self.rate + (1 - kept) * count / passed
        self.until = now

    def wait_seconds(self, company: Company, count: int) -> float:
        """Return how long those who are there have to wait for the others."""
        if count >= company.aim or self.rate * company.seconds < company.least:
            return 0.0
        return min(company.seconds, (company.aim - count) / self.rate)


class Batcher(Generic[Item, Outcome]):
    """Turns a function for many items into one for single items that batches by itself.

    Args:
        commit: Handles a batch in one transaction and returns an outcome for each item, in order.
        linger_seconds: How long the first item of a batch waits for others, where nobody is in a
            hurry and each call has a price.
        company: What a batch under load waits for, if for anything.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        linger_seconds: float = 0.0,
        company: Company | None = None,
    ) -> None:
        self._commit = commit
        self._linger_seconds = linger_seconds
        self._company = company
        self._arrivals = _Arrivals()
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Outcome:
        """Hand in one item and wait until its batch is committed.

        A caller that is cancelled leaves its item in the batch: what was begun is finished.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await future

    async def drain(self) -> None:
        """Wait until everything handed in is committed."""
        if self._flushing is not None:
            # Not a plain await: who gives up waiting must not stop the flush.
            await asyncio.wait({self._flushing})

    async def _flush(self) -> None:
        try:
            while self._waiting:
                if self._linger_seconds:
                    await asyncio.sleep(self._linger_seconds)
                if self._company is not None:
                    await self._wait_for(self._company)
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                try:
                    await self._commit_batch(batch)
                except BaseException:
                    # The loop is closing, or the commit function broke its promise. Nobody is
                    # left to answer these callers.
                    for _, future in batch + self._waiting:
                        future.cancel()
                    self._waiting.clear()
                    raise
        finally:
            self._flushing = None

    async def _wait_for(self, company: Company) -> None:
        """Wait for others, if so many come that this is worth it."""
        now = asyncio.get_running_loop().time
        if wait := self._arrivals.wait_seconds(company, len(self._waiting)):
            await asyncio.sleep(wait)
        self._arrivals.note(len(self._waiting), now())

    async def _commit_batch(self, batch: Sequence[tuple[Item, "asyncio.Future[Outcome]"]]) -> None:
        try:
            outcomes = await self._commit([item for item, _ in batch])
        except StoreError as error:
            # The database would refuse each of them too, and perhaps take a minute for each.
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        except Exception as error:
            if len(batch) == 1:
                if not batch[0][1].done():
                    batch[0][1].set_exception(error)
                return
            # One bad item must not take the others down: each gets a transaction of its own.
            for pair in batch:
                await self._commit_batch([pair])
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
