"""Put the parts together: the one place where database, queue, plugins and workers are made."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from prover_framework.callers.service import Callers
from prover_framework.callers.store import ApiKeyStore
from prover_framework.chain.rule_book import read_rule_book
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds, Clock
from prover_framework.database.opening import open_database
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.events import Observers
from prover_framework.jobs.feed import EventFeed
from prover_framework.jobs.outbox import Outbox, publish_in
from prover_framework.jobs.quotas import Quotas
from prover_framework.jobs.ready import ReadyJobs
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.usage import usage_of
from prover_framework.metrics import Metrics
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.names import DEFAULT_QUEUE
from prover_framework.monitoring.readiness import ReadinessChecks
from prover_framework.monitoring.sampling import Sampler
from prover_framework.monitoring.service import Monitoring
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.binding import GroupBinding
from prover_framework.proofs.charts import ChartService
from prover_framework.proofs.proving import Proving
from prover_framework.proofs.sealing import Sealing
from prover_framework.proofs.service import ReceiptService
from prover_framework.proofs.store import ReceiptStore
from prover_framework.queues.base import Queue
from prover_framework.queues.counted import CountedQueue
from prover_framework.queues.opening import open_dead_letters
from prover_framework.seals.making import signature_maker
from prover_framework.settings import Settings
from prover_framework.tracing import NO_TRACING, Tracing, open_tracing
from prover_framework.verification.service import VerificationService
from prover_framework.web.pages.parts import PageMode, PageParts
from prover_framework.worker.timings import USUAL_TIMINGS, Timings

if TYPE_CHECKING:
    from prover_framework.worker.worker import Worker

log = logging.getLogger(__name__)


@frozen
class Runtime:
    """Everything that API, worker and command line need, made once and handed down.

    Where the table of jobs is the queue there is no other.
    """

    settings: Settings
    plugins: Plugins
    database: Database
    jobs: JobStore
    outbox: Outbox
    headers: HeaderStore
    queue: Queue | None
    service: ProvingService
    callers: Callers
    receipts: ReceiptService
    verification: VerificationService
    monitoring: Monitoring
    charts: ChartService
    pages: PageParts
    feed: EventFeed
    tracing: Tracing = NO_TRACING


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    plugins: Plugins,
    clock: Clock | None = None,
    queue: Queue | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Runtime]:
    """Open all parts; close them in the reverse order when the body is left.

    Args:
        settings: Those of the service.
        plugins: The plugins, loaded.
        clock: Stands in for the database's own clock.
        queue: A queue to be used instead of that of the settings; it is not closed.
        tracing: Likewise, what makes spans.
    """
    observers = Observers(plugins.observers)
    bounds = Bounds.below(settings.lease_seconds)
    metrics = Metrics()
    async with (
        open_tracing(wanted=settings.tracing and tracing is None) as own_tracing,
        observers,
        open_database(settings, bounds, clock) as database,
    ):
        tracing = tracing or own_tracing
        jobs = JobStore(
            database,
            RetryPolicy(
                max_attempts=settings.max_attempts,
                max_losses=settings.max_losses,
                base_seconds=settings.retry_seconds,
            ),
            observers.notify if plugins.observers else None,
            by_messages=queue is not None or bool(settings.queue_urls),
            on_losses=metrics.leases_expired.inc,
            bind=GroupBinding(settings, plugins),
            publish=publish_in if database.one_writer else None,
        )
        async with _open_queue(settings, queue) as opened:
            queue = CountedQueue(opened, metrics, _queue_names(settings)) if opened else None
            headers = HeaderStore(database, jobs.wake_waiting, read_rule_book(settings.chain_rules))
            service = ProvingService(
                plugins,
                jobs,
                queue,
                max_open_jobs=settings.max_open_jobs,
                quotas=Quotas(database, settings),
                tracing=tracing,
            )
            callers = Callers(ApiKeyStore(database), is_open=settings.is_open)
            receipts = ReceiptService(settings, plugins, jobs, ReceiptStore(database))
            verification = VerificationService(settings, plugins)
            proving = partial(Proving, settings, plugins, headers, jobs)
            feed = EventFeed(database)
            charts = ChartService(jobs, proving, trace=plugins.trace)
            try:
                yield Runtime(
                    settings=settings,
                    plugins=plugins,
                    database=database,
                    jobs=jobs,
                    outbox=Outbox(database),
                    headers=headers,
                    queue=queue,
                    service=service,
                    callers=callers,
                    receipts=receipts,
                    verification=verification,
                    monitoring=_monitoring(
                        settings, plugins, database, jobs, headers, queue, metrics
                    ),
                    charts=charts,
                    pages=_pages(settings, database, jobs, headers, callers),
                    feed=feed,
                    tracing=tracing,
                )
            finally:
                await feed.close()
                await charts.close()
                await callers.close()
                await service.close()
                await receipts.close()
                await verification.close()
                await jobs.drain()


def make_worker(
    runtime: Runtime, queue_name: str = DEFAULT_QUEUE, *, timings: Timings = USUAL_TIMINGS
) -> "Worker":
    """Make a worker of a service; `Worker.run` is what it does.

    Args:
        runtime: The service.
        queue_name: Name of the queue that it serves.
        timings: Its waits.
    """
    # Imported where it is used: commands and an API alone do without it.
    from prover_framework.worker.deliveries import Deliveries
    from prover_framework.worker.worker import Worker

    proving = Proving(runtime.settings, runtime.plugins, runtime.headers, runtime.jobs)
    return Worker(
        runtime.settings,
        jobs=runtime.jobs,
        arrivals=runtime.queue
        or ReadyJobs(runtime.jobs, runtime.database, queue_name, proving.proof_types),
        service=runtime.service,
        proving=proving,
        receipts=runtime.receipts,
        deliveries=Deliveries(
            runtime.outbox,
            runtime.receipts,
            runtime.plugins.group_observers,
            runtime.monitoring.metrics,
            lease_seconds=runtime.settings.lease_seconds,
            timings=timings,
        ),
        sealing=Sealing(runtime.settings, runtime.plugins, runtime.jobs, runtime.receipts, proving),
        attachments=AttachmentStore(runtime.database),
        queue_name=queue_name,
        trace=runtime.plugins.trace,
        metrics=runtime.monitoring.metrics,
        timings=timings,
        plugins=tuple(one.candidate.name for one in runtime.plugins.found if one.failure is None),
        database=runtime.database,
        tracing=runtime.tracing,
    )


def _pages(
    settings: Settings,
    database: Database,
    jobs: JobStore,
    headers: HeaderStore,
    callers: Callers,
) -> PageParts:
    return PageParts(
        mode=PageMode(settings.pages),
        headers=headers,
        open_dead_letters=(lambda: open_dead_letters(settings)) if settings.queue_urls else None,
        queue_names=_queue_names(settings),
        keys=ApiKeyStore(database),
        callers=callers,
        usage=partial(usage_of, database, jobs, settings),
    )


def _queue_names(settings: Settings) -> tuple[str, ...]:
    return tuple(settings.queue_urls) or (DEFAULT_QUEUE,)


def _monitoring(
    settings: Settings,
    plugins: Plugins,
    database: Database,
    jobs: JobStore,
    headers: HeaderStore,
    queue: Queue | None,
    metrics: Metrics,
) -> Monitoring:
    for state in ("failed", "loaded"):
        metrics.plugins.labels(state)
    for plugin in plugins.found:
        metrics.plugins.labels("failed" if plugin.failure else "loaded").inc()
    status = queue.status if queue else jobs.queue_status
    sampler = Sampler(database, headers, status, _queue_names(settings))
    signatures = signature_maker(settings)
    return Monitoring(
        metrics,
        sampler,
        ReadinessChecks(settings, database, sampler, plugins, signatures),
        database,
    )


@asynccontextmanager
async def _open_queue(settings: Settings, given: Queue | None) -> AsyncIterator[Queue | None]:
    if given is None and settings.queue_urls:
        # Imported where it is used: AWS's library would double the memory of an embedded service.
        from prover_framework.queues.sqs.queue import open_queue

        async with open_queue(settings.queue_urls) as queue:
            yield queue
    else:
        yield given
