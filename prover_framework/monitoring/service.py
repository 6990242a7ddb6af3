"""What is told to probes, scrapers and whoever looks at a process."""

import asyncio
from time import perf_counter
from typing import Protocol

from attrs import define, field, frozen

from prover_framework.database.database import Database
from prover_framework.metrics import Metrics
from prover_framework.monitoring.exposition import page
from prover_framework.monitoring.readiness import Readiness, ReadinessChecks
from prover_framework.monitoring.sampling import Sample, Sampler

# How much longer nothing is written than writing one page takes: some ten milliseconds, where many
# routes and proof types have been counted. Anybody may ask, as often as he likes.
REST_FACTOR = 9


class Monitored(Protocol):
    """A process that can be looked at."""

    async def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        ...

    async def readiness(self) -> Readiness:
        """Return whether the process can do its work."""
        ...


@define(eq=False)
class _Turn:
    """The page that is written next, and when that may be."""

    coming: "asyncio.Task[bytes] | None" = None
    not_before: float = 0.0


@frozen
class Monitoring:
    """The monitoring of one process.

    Args:
        metrics: What the process counts.
        sampler: Looks at what all processes share.
        checks: Says whether the process can do its work.
        database: Its connections are counted.
    """

    metrics: Metrics
    sampler: Sampler
    checks: ReadinessChecks
    database: Database
    _turn: _Turn = field(factory=_Turn, init=False, repr=False, eq=False)

    async def page(self) -> bytes:
        """Return the page that Prometheus reads, written after it was asked for.

        All who wait for one get the same, so that a tenth of the time is spent on them at the most,
        however many ask.
        """
        if self._turn.coming is None or self._turn.coming.done():
            self._turn.coming = asyncio.create_task(self._write())
        # Whoever hangs up leaves it to the others.
        return await asyncio.shield(self._turn.coming)

    async def _write(self) -> bytes:
        turn = self._turn
        try:
            await asyncio.sleep(turn.not_before - perf_counter())
            sample = await self.sampler.sample()
        finally:
            # Whoever comes from now on is shown what has happened since.
            turn.coming = None
        began = perf_counter()
        try:
            return self._text(sample)
        finally:
            ended = perf_counter()
            turn.not_before = ended + REST_FACTOR * (ended - began)

    def _text(self, sample: Sample) -> bytes:
        for use in self.database.use():
            of_lane = {"used": use.used, "idle": use.idle, "waiting": use.waiting}
            for state, count in of_lane.items():
                self.metrics.connections.labels(use.lane, state).set(count)
        return page(self.metrics.registry, sample)

    async def readiness(self) -> Readiness:
        """Return whether the process can do its work."""
        return await self.checks.look()

    async def sample(self) -> Sample:
        """Return what database and queues hold."""
        return await self.sampler.sample()
