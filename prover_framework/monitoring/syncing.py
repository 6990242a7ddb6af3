"""What is seen of a process that follows a chain: how far it is, and whether it can go on."""

import asyncio
from time import monotonic, time

from attrs import frozen
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
)

from prover_framework.chain.store import HeaderStore
from prover_framework.chain.sync import CaughtUp, Fetched, Replaced, SyncEvent, Trouble
from prover_framework.database.database import Database
from prover_framework.errors import StoreError
from prover_framework.monitoring.exposition import page
from prover_framework.monitoring.readiness import (
    Check,
    Readiness,
    State,
    headers_check,
    schema_check,
    server_check,
)
from prover_framework.monitoring.sampling import KEEP_SECONDS, Sample
from prover_framework.settings import Settings

# For how long nothing may be heard of a source, and for how many looks.
SILENT_SECONDS = 60.0
SILENT_LOOKS = 3


class SyncMetrics:
    """The counters of a process that follows a chain, on a registry of its own.

    Attributes:
        registry: What is exposed.
        fetched: Headers that were fetched.
        new: Those of them that were not stored before.
        replaced: Stored headers that have given way to another branch.
        failures: Looks at the chain that came to nothing.
        reached: The last block up to which all that is wanted is stored.
        source_block: The newest block that the source had at the last look.
        looked_at: When the last look at the chain succeeded, Unix seconds.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.fetched = Counter(
            "prover_sync_headers_fetched", "Headers that were fetched.", registry=registry
        )
        self.new = Counter(
            "prover_sync_headers_new",
            "Headers that were fetched and not stored before.",
            registry=registry,
        )
        self.replaced = Counter(
            "prover_sync_headers_replaced",
            "Stored headers that have given way to another branch of the chain.",
            registry=registry,
        )
        self.failures = Counter(
            "prover_sync_failures",
            "Looks at the chain that came to nothing: source or database could not be used.",
            registry=registry,
        )
        self.reached = Gauge(
            "prover_sync_reached_block",
            "The last block up to which all that is wanted is stored.",
            registry=registry,
        )
        self.source_block = Gauge(
            "prover_sync_source_block",
            "The newest block that the source had at the last look.",
            registry=registry,
        )
        self.looked_at = Gauge(
            "prover_sync_last_success_timestamp_seconds",
            "When the last look at the chain succeeded, in Unix seconds; 0 before the first.",
            registry=registry,
        )


@frozen
class _Kept:
    sample: Sample
    taken_at: float


class SyncMonitoring:
    """The monitoring of a process that follows a chain; told what happens, as `HeaderSync` tells.

    Args:
        settings: They say how old the newest header may be.
        database: Where the headers are.
        headers: The headers.
        keep_seconds: How long what was read from the database is shown again.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        headers: HeaderStore,
        *,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self.metrics = SyncMetrics()
        self._settings = settings
        self._database = database
        self._headers = headers
        self._keep_seconds = keep_seconds
        self._lock = asyncio.Lock()
        self._kept: _Kept | None = None
        self._trouble: str | None = None
        # When something was last heard of the chain, on the clock of `time.monotonic`.
        self._heard_at = monotonic()

    def note(self, event: SyncEvent) -> None:
        """Count what has happened."""
        metrics = self.metrics
        match event:
            case Fetched():
                self._heard_at = monotonic()
                metrics.fetched.inc(event.last_block - event.first_block + 1)
                metrics.new.inc(event.new)
                metrics.reached.set(event.last_block)
            case Replaced():
                metrics.replaced.inc(event.dropped)
                metrics.new.inc(event.new)
            case Trouble():
                metrics.failures.inc()
                self._trouble = event.message
            case CaughtUp():
                self._heard_at = monotonic()
                metrics.reached.set(event.next_block - 1)
                metrics.source_block.set(event.block or 0)
                metrics.looked_at.set(time())
                self._trouble = None

    async def page(self) -> bytes:
        """Return the page that Prometheus reads."""
        return page(self.metrics.registry, await self._sample())

    async def readiness(self) -> Readiness:
        """Return whether the process can go on."""
        sample = await self._sample()
        source, silent = Check("source"), monotonic() - self._heard_at
        if self._trouble is not None:
            source = Check("source", State.FAILED, self._trouble)
        elif silent > max(SILENT_SECONDS, SILENT_LOOKS * self._settings.follow_seconds):
            # A source is asked again for some minutes before it is given up for this look.
            source = Check("source", State.WARNING, f"nothing was heard of it for {silent:.0f} s")
        return Readiness(
            (
                server_check("database", sample),
                await schema_check(self._database, sample),
                source,
                headers_check(self._settings, sample),
            )
        )

    async def _sample(self) -> Sample:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._kept is None or now >= self._kept.taken_at + self._keep_seconds:
                self._kept = _Kept(await self._take(), now)
            return self._kept.sample

    async def _take(self) -> Sample:
        try:
            return Sample(
                at=await self._database.now_ms() / 1000, headers=await self._headers.recent()
            )
        except StoreError as error:
            return Sample(problems={"database": str(error)})
