"""What a process counts of its own work, for Prometheus; where it counts there is no global state.

What all processes share, such as how many jobs wait, is read from the database when somebody asks:
`prover_framework.monitoring.sampling`. Labels are names of proof types, queues, routes and words of
this module: bounded, whatever clients send.
"""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

# A request is a write with a full synchronisation; a computation may take an hour.
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WORK_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
BATCH_BUCKETS = (0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0)


class Timed:
    """Observes in a histogram how long its body takes, at less cost than the library's own.

    Args:
        histogram: Where.
    """

    __slots__ = ("_began", "_histogram")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(time.perf_counter() - self._began)


class Metrics:
    """The counters of one process, on a registry of its own.

    Attributes:
        registry: What is exposed.
        requests: Seconds that requests took, by route, method and status.
        outcomes: Executions of jobs, by proof type and by what they ended in, see
            `prover_framework.worker.outcomes.outcome_word`.
        queue_seconds: Seconds from when a job could begin to its lease, by proof type.
        execution_seconds: Seconds that an execution held a slot or waited for one, by proof type.
        settling_seconds: Seconds that writing an outcome and removing its message took.
        leases_lost: Leases that this worker found to be lost while it held them.
        leases_expired: Leases of other workers that this process found to have expired.
        trouble: Messages that could not be handled since database, queue or machine refused.
        seals: Attempts at seals, by kind and by what they ended in.
        slots: How many jobs this worker computes at a time.
        in_flight: Messages whose jobs have no outcome yet.
        received: Messages, by queue.
        receives: How many messages a receive brought, by queue.
        sent: Messages, by queue.
        unsent: Messages that the queue refused, by queue.
        buried: Messages that were moved to the dead letters, by queue.
        deliveries: Tries to notify plugins of ends of groups, by plugin and by what they came to.
        stage_seconds: Seconds that the stages of an execution took, by proof type and stage.
        connections: Connections to the database, by what they are for and how they are used.
        plugins: Plugins that were found, by whether they are loaded.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Histogram(
            "prover_http_request_seconds",
            "Seconds that requests took, by route, method and status.",
            ("route", "method", "status"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.outcomes = Counter(
            "prover_executions",
            "Executions of jobs, by proof type and by what they ended in.",
            ("proof_type", "outcome"),
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "prover_queue_wait_seconds",
            "Seconds from when a job could begin to its lease.",
            ("proof_type",),
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self.execution_seconds = Histogram(
            "prover_execution_seconds",
            "Seconds that an execution took, the wait for a slot included.",
            ("proof_type",),
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "prover_stage_seconds",
            "Seconds that the stages of an execution took: slot, inputs, compute or receipt.",
            ("proof_type", "stage"),
            buckets=WORK_BUCKETS,
            registry=registry,
        )
        self.settling_seconds = Histogram(
            "prover_settling_seconds",
            "Seconds that writing an outcome and removing its message took.",
            (),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.leases_lost = Counter(
            "prover_leases_lost",
            "Leases that were lost while a worker held them: cancelled, or taken over.",
            registry=registry,
        )
        self.leases_expired = Counter(
            "prover_leases_expired",
            "Leases that were found to have expired: their workers died, or hang.",
            registry=registry,
        )
        self.trouble = Counter(
            "prover_messages_not_handled",
            "Messages that were not handled since database, queue or machine refused.",
            registry=registry,
        )
        self.seals = Counter(
            "prover_seal_attempts",
            "Attempts at seals that are made after their receipts, by kind and by their outcome.",
            ("kind", "outcome"),
            registry=registry,
        )
        self.slots = Gauge(
            "prover_worker_slots", "Jobs that this worker computes at a time.", registry=registry
        )
        self.in_flight = Gauge(
            "prover_worker_in_flight",
            "Messages that this worker has and whose jobs have no outcome yet.",
            registry=registry,
        )
        self.received = _of_queue(
            registry,
            "prover_messages_received",
            "Messages received, or jobs taken out of the table.",
        )
        self.receives = Histogram(
            "prover_receive_batch_size",
            "How many messages a receive, or jobs a look into the table brought.",
            ("queue",),
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.sent = _of_queue(registry, "prover_messages_sent", "Messages that were sent.")
        self.unsent = _of_queue(
            registry, "prover_messages_unsent", "Messages that the queue did not take."
        )
        self.buried = _of_queue(
            registry, "prover_messages_buried", "Messages that were moved to the dead letters."
        )
        self.deliveries = Counter(
            "prover_event_deliveries",
            "Tries to notify plugins of ends of groups: notified, failed or given_up.",
            ("plugin", "outcome"),
            registry=registry,
        )
        self.connections = Gauge(
            "prover_database_connections",
            "Connections to PostgreSQL: used or idle; waiting: calls that wait for one.",
            ("lane", "state"),
            registry=registry,
        )
        self.plugins = Gauge(
            "prover_plugins",
            "Plugins that were found, by whether they are loaded.",
            ("state",),
            registry=registry,
        )


def _of_queue(registry: CollectorRegistry, name: str, text: str) -> Counter:
    return Counter(name, text, ("queue",), registry=registry)
