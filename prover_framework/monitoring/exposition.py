"""The page that Prometheus reads: what this process counts, and what the service holds."""

from collections.abc import Iterable, Iterator

from attrs import frozen
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from prover_framework.chain.store import RecentHeaders
from prover_framework.jobs.outbox import Undelivered
from prover_framework.monitoring.sampling import OpenJobs, OpenSeals, Sample
from prover_framework.queues.base import QueueStatus

CONTENT_TYPE = CONTENT_TYPE_LATEST


def page(registry: CollectorRegistry, sample: Sample) -> bytes:
    """Return the text of a registry's and a sample's metrics."""
    shown = CollectorRegistry(auto_describe=False)
    shown.register(_Shown(registry, sample))
    return generate_latest(shown)


@frozen(eq=False)
class _Shown(Collector):
    registry: CollectorRegistry
    sample: Sample

    def collect(self) -> Iterable[Metric]:
        yield from self.registry.collect()
        yield from families(self.sample)


def families(sample: Sample) -> Iterator[Metric]:
    """Return a sample as metrics; what does not answer has none but the one that says so."""
    up = sample.at is not None
    yield GaugeMetricFamily("prover_database_up", "Whether the database answers.", float(up))
    if up:
        yield from _job_families(sample.at or 0.0, sample.jobs)
        yield from _event_families(sample.at or 0.0, sample.undelivered)
        yield from _seal_families(sample.at or 0.0, sample.seals)
    if sample.headers is not None:
        yield from _header_families(sample.at or 0.0, sample.headers)
    yield from _queue_families(sample)


def _job_families(now: float, jobs: Iterable[OpenJobs]) -> Iterator[Metric]:
    labels = ("proof_type", "state")
    count = GaugeMetricFamily(
        "prover_open_jobs", "Jobs that have not ended, by proof type and state.", labels=labels
    )
    age = GaugeMetricFamily(
        "prover_oldest_job_seconds",
        "Seconds since the oldest job that has not ended was accepted.",
        labels=labels,
    )
    losses = GaugeMetricFamily(
        "prover_open_job_losses",
        "Workers that jobs lost which have not ended, by proof type and state.",
        labels=labels,
    )
    incapable = GaugeMetricFamily(
        "prover_jobs_without_capable_worker",
        "Jobs that no worker was able to do which has seen them.",
        labels=("proof_type",),
    )
    missing: dict[str, int] = {}
    for some in jobs:
        values = (some.proof_type, some.state.value)
        count.add_metric(values, some.count)
        age.add_metric(values, max(0.0, now - some.oldest_at / 1000))
        losses.add_metric(values, some.losses)
        missing[some.proof_type] = missing.get(some.proof_type, 0) + some.not_capable
    for proof_type, jobs_of_it in missing.items():
        incapable.add_metric((proof_type,), jobs_of_it)
    yield from (count, age, losses, incapable)


def _event_families(now: float, undelivered: Iterable[Undelivered]) -> Iterator[Metric]:
    count = GaugeMetricFamily(
        "prover_undelivered_events",
        "Events that a plugin is still to be notified of; without a plugin: without a number.",
        labels=("plugin",),
    )
    age = GaugeMetricFamily(
        "prover_oldest_undelivered_event_seconds",
        "Seconds since the oldest of these events.",
        labels=("plugin",),
    )
    for some in undelivered:
        count.add_metric((some.observer or "",), some.count)
        age.add_metric((some.observer or "",), max(0.0, now - some.oldest_at / 1000))
    yield from (count, age)


def _seal_families(now: float, seals: Iterable[OpenSeals]) -> Iterator[Metric]:
    labels = ("kind", "state")
    count = GaugeMetricFamily(
        "prover_open_seals", "Seals that are to be made yet, by kind and state.", labels=labels
    )
    age = GaugeMetricFamily(
        "prover_oldest_seal_seconds",
        "Seconds since the oldest seal that is to be made yet was asked for.",
        labels=labels,
    )
    for some in seals:
        values = (some.kind, some.state.value)
        count.add_metric(values, some.count)
        age.add_metric(values, max(0.0, now - some.oldest_at / 1000))
    yield from (count, age)


def _header_families(now: float, headers: RecentHeaders) -> Iterator[Metric]:
    chain = (str(headers.chain.chain_id),)
    for name, text, value in (
        (
            "prover_headers_newest_block",
            "Number of the newest header.",
            headers.newest_block,
        ),
        (
            "prover_headers_lag_seconds",
            "Seconds between the newest header's timestamp and now.",
            max(0.0, now - headers.newest_timestamp),
        ),
        (
            "prover_recent_headers",
            "Headers of the newest week that there is.",
            headers.count,
        ),
        (
            "prover_recent_headers_verified",
            "How many of these are verified.",
            headers.verified,
        ),
        (
            "prover_recent_headers_missing",
            "Blocks that are missing between the first and the last of these.",
            headers.missing_blocks,
        ),
    ):
        family = GaugeMetricFamily(name, text, labels=("chain_id",))
        family.add_metric(chain, value)
        yield family


def _queue_families(sample: Sample) -> Iterator[Metric]:
    up = GaugeMetricFamily("prover_queue_up", "Whether the queue answers.", labels=("queue",))
    messages = GaugeMetricFamily(
        "prover_queue_messages",
        "Messages, or jobs of the table: visible, in_flight or delayed. SQS's are approximate.",
        labels=("queue", "state"),
    )
    dead = GaugeMetricFamily("prover_dead_letters", "Dead letters of the queue.", labels=("queue",))
    for name, status in sample.queues.items():
        up.add_metric((name,), float(status is not None))
        if status is not None:
            _add_status(name, status, messages, dead)
    yield from (up, messages, dead)


def _add_status(
    name: str, status: QueueStatus, messages: GaugeMetricFamily, dead: GaugeMetricFamily
) -> None:
    for state, count in (
        ("visible", status.visible),
        ("in_flight", status.in_flight),
        ("delayed", status.delayed),
    ):
        messages.add_metric((name, state), count)
    if status.dead_letters is not None:
        dead.add_metric((name,), status.dead_letters)
