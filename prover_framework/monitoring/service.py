"""What is told to probes, scrapers and whoever looks at a process."""

from attrs import frozen

from prover_framework.metrics import Metrics
from prover_framework.monitoring.exposition import page
from prover_framework.monitoring.readiness import Readiness, ReadinessChecks
from prover_framework.monitoring.sampling import Sample, Sampler


@frozen
class Monitoring:
    """The monitoring of one process.

    Args:
        metrics: What the process counts.
        sampler: Looks at what all processes share.
        checks: Says whether the process can do its work.
    """

    metrics: Metrics
    sampler: Sampler
    checks: ReadinessChecks

    async def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        return page(self.metrics.registry, await self.sampler.sample())

    async def readiness(self) -> Readiness:
        """Return whether the process can do its work."""
        return await self.checks.look()

    async def sample(self) -> Sample:
        """Return what database and queues hold."""
        return await self.sampler.sample()
