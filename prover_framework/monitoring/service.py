"""What is told to probes, scrapers and whoever looks at a process."""

from typing import Protocol

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.metrics import Metrics
from prover_framework.monitoring.exposition import page
from prover_framework.monitoring.readiness import Readiness, ReadinessChecks
from prover_framework.monitoring.sampling import Sample, Sampler


class Monitored(Protocol):
    """A process that can be looked at."""

    async def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        ...

    async def readiness(self) -> Readiness:
        """Return whether the process can do its work."""
        ...


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

    async def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        for use in self.database.use():
            of_lane = {"used": use.used, "idle": use.idle, "waiting": use.waiting}
            for state, count in of_lane.items():
                self.metrics.connections.labels(use.lane, state).set(count)
        return page(self.metrics.registry, await self.sampler.sample())

    async def readiness(self) -> Readiness:
        """Return whether the process can do its work."""
        return await self.checks.look()

    async def sample(self) -> Sample:
        """Return what database and queues hold."""
        return await self.sampler.sample()
