"""The worker: it starts its parts, leads each job through them, and stops them.

Intake, lease, execution, outcome, settling: a module for each. The worker knows no proof type.
What it computes, and how, comes from the plugins; what counts is the database, and the queue only
says that there may be something to do.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Coroutine
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import version
from typing import Any

import attrs

from prover_framework.database.database import Database
from prover_framework.errors import LeaseLost, ProverError, QueueError, StoreError
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.ready import ReadyJobs
from prover_framework.jobs.records import GroupStage, StoredJob
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.workers import Presence
from prover_framework.log_context import log_about, log_context
from prover_framework.logs import Trouble
from prover_framework.metrics import Metrics, Timed
from prover_framework.model.workers import WorkerState
from prover_framework.proofs.proving import Proving
from prover_framework.proofs.sealing import Sealing
from prover_framework.proofs.service import ReceiptService
from prover_framework.queues.base import Queue
from prover_framework.settings import Settings
from prover_framework.tracing import NO_TRACING, Note, SpanKind, Tracing
from prover_framework.worker.attaching import Keeping
from prover_framework.worker.deliveries import Deliveries
from prover_framework.worker.directories import KeptDirectories
from prover_framework.worker.executor import Executor
from prover_framework.worker.heartbeat import Heartbeat, Held
from prover_framework.worker.incapable import OtherWorkers
from prover_framework.worker.intake import Claim, Intake
from prover_framework.worker.messages import MessageIntake
from prover_framework.worker.outcomes import (
    OUTCOME_WORDS,
    NotComputed,
    Outcome,
    Reason,
    outcome_word,
)
from prover_framework.worker.presence import PresenceLoop
from prover_framework.worker.reporting import Reporter
from prover_framework.worker.resources import ResourcePool
from prover_framework.worker.retention import RetentionLoop
from prover_framework.worker.room import Room
from prover_framework.worker.sealing import SealLoops
from prover_framework.worker.settling import Settling
from prover_framework.worker.sweeper import Sweeper
from prover_framework.worker.table import TableIntake
from prover_framework.worker.timings import USUAL_TIMINGS, Timings

log = logging.getLogger(__name__)

# Reasons that the next jobs of this worker would meet as well.
SHARED_TROUBLES = frozenset({Reason.NO_PROCESS, Reason.NOT_SIGNED})

# How long a worker takes to end beyond the time that its jobs have to finish: for releasing them,
# for ending its processes, and for a call that is under way.
STOP_REST_SECONDS = 10.0

# When the database is given up, counted from there: what is left ends processes and closes.
GIVE_UP_SECONDS = USUAL_TIMINGS.release_seconds + 2.0


class Worker:
    """Takes jobs from one queue and computes as many at a time as it has slots.

    Args:
        settings: How many slots, how long a lease, when to sweep, how long to finish.
        jobs: Where jobs and leases are.
        arrivals: Where they come from: by the messages of a queue, or out of the table.
        service: What sends messages, and finds the jobs of other senders' messages.
        proving: The steps of a computation.
        receipts: What makes the receipt of a group whose last job has ended.
        deliveries: What tells plugins of the ends of groups.
        sealing: What makes the seals that are made after their receipts.
        attachments: Where what is attached to results is kept.
        queue_name: Name of the queue to serve.
        trace: Log each call of a plugin's hook.
        metrics: Counts what becomes of the jobs.
        timings: Waits.
        plugins: Names of the plugins that it has, for people to see.
        database: Where it removes what is older than the settings say.
        tracing: Makes spans of what it does.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        jobs: JobStore,
        arrivals: Queue | ReadyJobs,
        service: ProvingService,
        proving: Proving,
        receipts: ReceiptService,
        deliveries: Deliveries,
        sealing: Sealing,
        attachments: AttachmentStore,
        queue_name: str,
        trace: bool,
        metrics: Metrics,
        timings: Timings = USUAL_TIMINGS,
        plugins: tuple[str, ...] = (),
        database: Database | None = None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._tracing = tracing
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._slots = settings.worker_slots
        self._stop_seconds = settings.stop_seconds
        self._release_seconds = timings.release_seconds
        self._queue_name = queue_name
        self._receipts = receipts
        self._deliveries = deliveries
        self._metrics = metrics
        metrics.slots.set(settings.worker_slots)
        for proof_type in proving.proof_types:
            for word in OUTCOME_WORDS:
                # From nothing to one is an increase only for who has seen the nothing.
                metrics.outcomes.labels(proof_type, word)
        self._stopping = asyncio.Event()
        # When the jobs that run have had their time, by the event loop's clock.
        self._finish_by: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        trouble_seconds, lease_seconds = timings.trouble_seconds, settings.lease_seconds
        self._handling = Trouble("handling jobs", log, first_seconds=trouble_seconds)
        self._jobs = jobs
        self._directories = KeptDirectories(settings.work_path, jobs)
        self._executor = Executor(
            proving,
            metrics=metrics,
            slots=settings.worker_slots,
            resources=ResourcePool(settings.worker_resources),
            directories=self._directories,
            keeping=Keeping(
                attachments,
                settings.work_path,
                lease_seconds=lease_seconds,
                trouble_seconds=trouble_seconds,
            ),
            prefetch_seconds=timings.prefetch_seconds,
            trace=trace,
            tracing=tracing,
        )
        self._room = Room(
            settings.worker_slots, self._executor.mean_duration, timings.prefetch_seconds
        )
        self._intake: Intake
        if isinstance(arrivals, ReadyJobs):
            self._intake = TableIntake(
                arrivals,
                self._room,
                self._handling,
                self._stopping,
                metrics,
                queue_name=queue_name,
                worker_name=self.name,
                lease_seconds=lease_seconds,
                timings=timings,
            )
        else:
            self._intake = MessageIntake(
                arrivals,
                jobs,
                proving.lacks,
                OtherWorkers(jobs, arrivals, timings),
                service,
                self._room,
                self._handling,
                self._stopping,
                queue_name=queue_name,
                worker_name=self.name,
                lease_seconds=lease_seconds,
                other_senders=settings.other_senders,
                timings=timings,
            )
        self._heartbeat = Heartbeat(
            jobs, self._intake, lease_seconds=lease_seconds, trouble_seconds=trouble_seconds
        )
        self._settling = Settling(
            jobs,
            self._intake,
            worker_name=self.name,
            lease_seconds=lease_seconds,
            data_poll_seconds=settings.data_poll_seconds,
            data_deadline_seconds=settings.data_deadline_seconds,
            timings=timings,
        )
        self._sweeper = Sweeper(
            jobs,
            service,
            proving.proof_types,
            proving.lacks,
            self._directories,
            attachments,
            self._stopping,
            by_messages=not isinstance(arrivals, ReadyJobs),
            sweep_seconds=settings.sweep_seconds,
            trouble_seconds=trouble_seconds,
        )

        self._seal_loops = SealLoops(
            sealing,
            jobs.seals,
            self._stopping,
            metrics,
            worker_name=self.name,
            slots=settings.seal_slots,
            lease_seconds=lease_seconds,
            poll_seconds=settings.sweep_seconds,
            wait_seconds=settings.data_poll_seconds,
            timings=timings,
            trace=trace,
        )
        self._sealing: asyncio.Task[None] | None = None
        self._retention = None
        if settings.retention_days is not None and database is not None:
            self._retention = RetentionLoop(database, settings.retention_days, self._stopping)
        presence = Presence(
            worker=self.name,
            queue=queue_name,
            version=version("prover-framework"),
            plugins=plugins,
            slots=settings.worker_slots,
            in_flight=0,
            state=WorkerState.RUNNING,
        )
        self._presence = PresenceLoop(
            jobs.workers,
            presence,
            lambda: len(self._tasks),
            self._room.pause,
            self.stop,
            self._stopping,
            timings.order_seconds,
        )

    def stop(self) -> None:
        """Take no more jobs and let `run` come to its end."""
        if self._finish_by is None:
            self._finish_by = asyncio.get_running_loop().time() + self._stop_seconds
        self._stopping.set()
        self._room.look_again()
        self._deliveries.stop()
        self._intake.interrupt()

    async def run(self) -> None:
        """Work until `stop` is called, then finish or release what is in flight."""
        # This task's own: an API in the same process has another context.
        log_about(attrs.evolve(log_context(), worker=self.name))
        log.info("worker %s: %d slots, queue %s", self.name, self._slots, self._queue_name)
        delivering = asyncio.create_task(self._deliveries.run())
        upkeep = [
            delivering,
            asyncio.create_task(self._heartbeat.run()),
            asyncio.create_task(self._sweeper.run()),
            asyncio.create_task(self._presence.run()),
            *([] if self._retention is None else [asyncio.create_task(self._retention.run())]),
        ]
        self._sealing = asyncio.create_task(self._seal_loops.run())
        try:
            await self._executor.start()
            await self._presence.wait_until_looked()
            await self._intake.run(self._begin)
            await self._let_finish()
        finally:
            self._deliveries.stop()
            release_by = asyncio.get_running_loop().time() + self._release_seconds
            await self._release_all()
            # A plugin that is being notified has the same time for that.
            left = max(0.0, release_by - asyncio.get_running_loop().time())
            await asyncio.wait({delivering}, timeout=left)
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
            await self._presence.leave()
            await self._executor.close()
        log.info("worker %s: stopped", self.name)

    # The way of one job

    def _begin(self, claiming: Coroutine[Any, Any, Claim | None]) -> None:
        self._metrics.in_flight.inc()
        task = asyncio.create_task(self._serve(claiming))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, claiming: Coroutine[Any, Any, Claim | None]) -> None:
        try:
            await self._handle(claiming)
        except LeaseLost as error:
            self._metrics.leases_lost.inc()
            log.warning("%s", error)
        except (StoreError, QueueError, OSError) as error:
            self._metrics.trouble.inc()
            # The message comes back by itself, and the lease expires. The next ones would, too.
            self._handling.failed(error)
        except ProverError as error:
            log.error("a job could not be handled for now: %s", error)
        except Exception:
            log.exception("a job could not be handled")
        else:
            self._handling.passed()

    async def _handle(self, claiming: Coroutine[Any, Any, Claim | None]) -> None:
        """Have a job executed, then settle it without a place in the room."""
        with ExitStack() as trace:
            try:
                claim = await claiming
                if claim is None:
                    return
                note = trace.enter_context(self._span(claim))
                self._note_begin(claim)
                with Timed(self._metrics.execution_seconds.labels(claim.job.proof_type)):
                    outcome = await self._execute(claim)
            finally:
                self._metrics.in_flight.dec()
                self._room.leave()
            note("prover.outcome", outcome_word(outcome))
            with Timed(self._metrics.settling_seconds), self._tracing.span("settle"):
                stage = await self._settling.settle(claim, outcome)
            self._note_outcome(claim.job, outcome)
            if isinstance(outcome, NotComputed) and outcome.reason in SHARED_TROUBLES:
                # The next jobs would fare no better: no more of them for a while.
                raise OSError(str(outcome))
            await self._clean(claim.job)
            await self._make_group_receipt(claim.job, stage)

    def _span(self, claim: Claim) -> AbstractContextManager[Note]:
        """Return what a job is led through in: a part of the trace that it was asked for in."""
        job = claim.job
        return self._tracing.span(
            "job",
            SpanKind.CONSUMER,
            parent=claim.trace_parent,
            attributes={
                "prover.group": job.group_id,
                "prover.job": job.name,
                "prover.attempt": job.attempts,
                "prover.worker": self.name,
            },
        )

    async def _execute(self, claim: Claim) -> Outcome:
        """Execute a job while the heartbeat holds it."""
        reporter = Reporter(self._jobs, claim.lease, claim.job)
        execution = self._executor.begin(claim.job, reporter, claim.lease)
        held = Held(claim, lambda: execution.cancel(Reason.LEASE_LOST))
        self._heartbeat.hold(held)
        try:
            await execution.wait()
        finally:
            await reporter.close()
        await self._heartbeat.let_go(held)
        return execution.outcome

    def _note_begin(self, claim: Claim) -> None:
        job = claim.job
        # Each message has a task of its own.
        log_about(
            attrs.evolve(
                log_context(), request_id=claim.request_id, group=job.group_id, job=job.name
            )
        )
        waited = 0.0
        if job.started_at is not None:
            could_begin = max(job.not_before, job.created_at)
            waited = max(0, job.started_at - could_begin) / 1000
            self._metrics.queue_seconds.labels(job.proof_type).observe(waited)
        log.info(
            "%s %s: started, attempt %d, after waiting %.2f s",
            job.group_id,
            job.name,
            job.attempts,
            waited,
            extra={"attempt": job.attempts, "waited_seconds": round(waited, 3)},
        )

    def _note_outcome(self, job: StoredJob, outcome: Outcome) -> None:
        self._metrics.outcomes.labels(job.proof_type, outcome_word(outcome)).inc()
        if isinstance(outcome, NotComputed) and outcome.reason is Reason.LEASE_LOST:
            self._metrics.leases_lost.inc()

    async def _clean(self, job: StoredJob) -> None:
        """Remove what the job has kept here, if it has ended; a sweep does it otherwise."""
        try:
            await self._directories.clean([job.id])
        except StoreError as error:
            log.error("%s %s: what it has kept is not removed: %s", job.group_id, job.name, error)

    async def _make_group_receipt(self, job: StoredJob, stage: GroupStage | None) -> None:
        """Make the receipt of a group whose last job this was; it is made when read otherwise."""
        if stage is GroupStage.BOUND:
            self._deliveries.look()
        if stage in (GroupStage.BOUND, GroupStage.OPEN):
            return
        try:
            with self._tracing.span("group receipt"):
                has_ended = await self._receipts.note_end(job.group_id)
            if has_ended:
                self._deliveries.look()
        except (ProverError, OSError) as error:
            log.error("%s: its receipt is not made yet: %s", job.group_id, error)

    # Stopping

    @property
    def _at_work(self) -> set[asyncio.Task[None]]:
        """What is not to be broken off while there is time: jobs, and seals that are made."""
        return self._tasks if self._sealing is None else {*self._tasks, self._sealing}

    async def _let_finish(self) -> None:
        if self._tasks:
            log.info(
                "worker %s: stopping, %d jobs have %g s to finish",
                self.name,
                len(self._tasks),
                self._stop_seconds,
            )
        if at_work := self._at_work:
            # What the last receive took is part of it.
            left = self._stop_seconds
            if self._finish_by is not None:
                left = max(0.0, self._finish_by - asyncio.get_running_loop().time())
            await asyncio.wait(at_work, timeout=left)

    async def _release_all(self) -> None:
        """Stop all executions and let their jobs be released."""
        self._executor.stop()
        if self._sealing is not None:
            self._sealing.cancel()
        if at_work := self._at_work:
            _, late = await asyncio.wait(at_work, timeout=self._release_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
