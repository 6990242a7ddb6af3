"""Every metric that a process of the service can tell, with its labels."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.store import RecentHeaders
from prover_framework.jobs.outbox import Undelivered
from prover_framework.metrics import Metrics
from prover_framework.model.jobs import JobState
from prover_framework.model.seals import SealState
from prover_framework.monitoring.exposition import families
from prover_framework.monitoring.sampling import OpenJobs, OpenSeals, Sample
from prover_framework.monitoring.syncing import SyncMetrics
from prover_framework.queues.base import QueueStatus

EVERYTHING = Sample(
    at=1.0,
    jobs=(OpenJobs("twap", JobState.QUEUED, 1, 0, 0, 0),),
    undelivered=(Undelivered("webhook", 1, 0),),
    seals=(OpenSeals("test", SealState.QUEUED, 1, 0),),
    headers=RecentHeaders(
        chain=ChainFacts(1, simulated=True, source="test"),
        count=1,
        verified=1,
        missing_blocks=0,
        newest_block=1,
        newest_timestamp=0,
    ),
    queues={"default": QueueStatus(visible=0, in_flight=0, delayed=0, dead_letters=0)},
)

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def counted() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Return what API and worker count, with the names of labels."""
    yield from _of(Metrics())


def synced() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Return what a process counts that follows a chain."""
    yield from _of(SyncMetrics())


def shared() -> Iterator[tuple[Metric, tuple[str, ...]]]:
    """Return what is read from database and queues."""
    for metric in families(EVERYTHING):
        yield metric, tuple(getattr(metric, "_labelnames", None) or ())


def series() -> dict[str, frozenset[str]]:
    """Return the names of all series, each with the names of its labels."""
    found: dict[str, frozenset[str]] = {}
    for metric, labels in (*counted(), *synced(), *shared()):
        for suffix in SUFFIXES[metric.type]:
            own = {"le"} if suffix == "_bucket" else set()
            found[metric.name + suffix] = frozenset({*labels, *own})
    return found


def _of(metrics: Metrics | SyncMetrics) -> Iterator[tuple[Metric, tuple[str, ...]]]:
    labels = {
        each._name: tuple(each._labelnames)
        for each in vars(metrics).values()
        if hasattr(each, "_labelnames")
    }
    for metric in metrics.registry.collect():
        if metric.name.startswith("prover_"):
            yield metric, labels[metric.name]
