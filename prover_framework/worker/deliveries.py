"""Notify plugins of the ends of groups, of each at least once, whatever dies meanwhile.

Each observer has a line of its own with a task and a thread, so that one that hangs or fails delays
no other. What is told is held by a lease like a job: who tells it extends the lease meanwhile, and
what a process has not told when it is killed, another one tells.
"""

import asyncio
import logging
import math
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from prover_framework.errors import GroupNotFound, ProverError, ReceiptNotYet, StoreError
from prover_framework.jobs.outbox import PUBLISH_LIMIT, Delivery, Outbox
from prover_framework.logs import Trouble
from prover_framework.metrics import Metrics
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.names import group_id_of, namespace_of
from prover_framework.model.receipts import GroupEnd
from prover_framework.plugins.calls import Observer
from prover_framework.proofs.service import ReceiptService
from prover_framework.receipts.documents import document_of
from prover_framework.worker.loops import is_unforeseen, rest
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

# How often a worker says that it has its observers; they are forgotten after days.
REGISTER_SECONDS = 3600.0

# Ends of groups that come in quick succession are looked at together.
PAUSE_SECONDS = 0.05

# A lease is extended after this part of it, as those of jobs are.
EXTEND_PART = 3

# A hook that has not returned after this time does not hold the delivery any longer: another
# worker tries. It is more than a request over a network takes with all its retries.
HOOK_SECONDS = 600.0


class Deliveries:
    """Numbers events and tells observers of them, until the worker stops.

    Args:
        outbox: Where events and deliveries are.
        receipts: What makes the receipts that observers are told.
        observers: Who is told by this worker.
        metrics: Counts what becomes of the tries.
        lease_seconds: How long a delivery is held without a sign of life.
        timings: Waits.
    """

    def __init__(
        self,
        outbox: Outbox,
        receipts: ReceiptService,
        observers: Sequence[Observer],
        metrics: Metrics,
        *,
        lease_seconds: float,
        timings: Timings,
    ) -> None:
        self._outbox = outbox
        self._seconds = timings.event_seconds
        self._stopping = False
        self._news = asyncio.Event()
        self._registered_at = -math.inf
        self._trouble = Trouble(
            "notifying of ends of groups", log, first_seconds=timings.trouble_seconds
        )
        self._lines = [
            _Line(
                outbox,
                receipts,
                observer,
                metrics,
                lease_seconds=lease_seconds,
                timings=timings,
            )
            for observer in observers
        ]

    def look(self) -> None:
        """Look for news at once."""
        self._news.set()

    def stop(self) -> None:
        """Begin to tell nothing more, and let `run` come to its end."""
        self._stopping = True
        for line in self._lines:
            line.stop()
        self._news.set()

    async def run(self) -> None:
        """Tell what there is to tell, until `stop` is called and what is under way has ended."""
        try:
            now = asyncio.get_running_loop().time
            while not self._stopping:
                looked = now()
                self._news.clear()
                wait = self._seconds
                try:
                    await self._turn()
                except Exception as error:
                    wait = max(wait, self._trouble.failed(error, stack=is_unforeseen(error)))
                else:
                    self._trouble.passed()
                await rest(self._news, wait)
                if (left := looked + PAUSE_SECONDS - now()) > 0 and not self._stopping:
                    await asyncio.sleep(left)
            await asyncio.gather(*(line.end() for line in self._lines))
        finally:
            for line in self._lines:
                line.cancel()

    async def _turn(self) -> None:
        await self._register()
        idle = [line for line in self._lines if line.idle]
        work = await self._outbox.look([line.name for line in idle])
        if work.unpublished:
            while await self._outbox.publish() == PUBLISH_LIMIT:
                pass
        if work.due or work.unpublished:
            for line in idle:
                line.begin()

    async def _register(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._lines and now >= self._registered_at + REGISTER_SECONDS:
            await self._outbox.register([line.name for line in self._lines])
            self._registered_at = now


class _Line:
    """One observer, and what it is told."""

    def __init__(
        self,
        outbox: Outbox,
        receipts: ReceiptService,
        observer: Observer,
        metrics: Metrics,
        *,
        lease_seconds: float,
        timings: Timings,
    ) -> None:
        self.name = observer.candidate.name
        self._outbox = outbox
        self._receipts = receipts
        self._observer = observer
        self._metrics = metrics
        for outcome in ("notified", "failed", "given_up"):
            metrics.deliveries.labels(self.name, outcome)
        self._lease_seconds = lease_seconds
        self._retries = RetryPolicy(base_seconds=timings.event_retry_seconds)
        self._give_up_seconds = timings.event_give_up_seconds
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._trouble = Trouble(
            f"notifying the plugin {self.name} of ends of groups",
            log,
            first_seconds=timings.trouble_seconds,
        )

    @property
    def idle(self) -> bool:
        """Whether it may begin: nothing is under way, and the last failure is some time ago."""
        return (self._task is None or self._task.done()) and not self._trouble.seconds_left

    def begin(self) -> None:
        """Tell everything that is due."""
        if not self._stopping:
            self._task = asyncio.create_task(self._tell_all())

    def stop(self) -> None:
        """Tell nothing after what is being told."""
        self._stopping = True

    async def end(self) -> None:
        """Wait until nothing is under way."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def cancel(self) -> None:
        """Wait for nothing; what is being told is told again when its lease has expired."""
        if self._task is not None:
            self._task.cancel()

    async def _tell_all(self) -> None:
        """Tell one end after the other; after a failure the others wait for a moment, too."""
        try:
            while not self._stopping and await self._tell_next():
                pass
        except Exception as error:
            self._trouble.failed(error, stack=is_unforeseen(error))

    async def _tell_next(self) -> bool:
        delivery = await self._outbox.take(self.name, lease_seconds=self._lease_seconds)
        if delivery is None:
            return False
        try:
            told = await self._hold(delivery, asyncio.create_task(self._tell(delivery)))
        except (ProverError, OSError) as error:
            await self._try_again(delivery, error)
            raise
        self._trouble.passed()
        await self._outbox.done(delivery)
        if told:
            self._count("notified")
        return True

    async def _hold(self, delivery: Delivery, telling: "asyncio.Task[bool]") -> bool:
        """Extend the lease of a delivery until it is made, or takes too long."""
        now = asyncio.get_running_loop().time
        until = now() + HOOK_SECONDS
        try:
            while now() < until:
                await asyncio.wait({telling}, timeout=self._lease_seconds / EXTEND_PART)
                if telling.done():
                    break
                await self._extend(delivery)
            else:
                log.error(
                    "plugin %s: its hook group_ended has not returned after %g s; another worker "
                    "may call it for %s, and this one calls it for no other group until it does",
                    self.name,
                    HOOK_SECONDS,
                    delivery.group_id,
                )
            return await telling
        finally:
            telling.cancel()

    async def _extend(self, delivery: Delivery) -> None:
        # One that is lost is told by another, too: at least once.
        with suppress(StoreError):
            await self._outbox.extend(delivery, lease_seconds=self._lease_seconds)

    async def _tell(self, delivery: Delivery) -> bool:
        """Tell the observer; return whether there was anything left to tell."""
        try:
            receipt = await self._receipts.of_group(delivery.group_id)
        except (ReceiptNotYet, GroupNotFound) as error:
            log.info("%s has not stayed ended, and ends again: %s", delivery.group_id, error)
            return False
        end = GroupEnd(
            event=delivery.number,
            group_id=group_id_of(delivery.group_id),
            namespace=namespace_of(delivery.group_id),
            ended_at_ms=delivery.ended_at_ms,
            receipt=receipt,
            document=document_of(receipt),
        )
        await _in_thread(lambda: self._observer.group_ended(end), f"group observer {self.name}")
        return True

    async def _try_again(self, delivery: Delivery, error: Exception) -> None:
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        stays = await self._outbox.try_again(
            delivery,
            wait_seconds=self._retries.delay_seconds(delivery.tries, jitter),
            give_up_seconds=self._give_up_seconds,
        )
        self._count("failed" if stays else "given_up")
        if not stays:
            log.error(
                "%s: the plugin %s is not notified of its end: given up after %d tries: %s",
                delivery.group_id,
                self.name,
                delivery.tries,
                error,
            )

    def _count(self, outcome: str) -> None:
        self._metrics.deliveries.labels(self.name, outcome).inc()


async def _in_thread(work: Callable[[], None], name: str) -> None:
    """Run something in a thread that does not keep the process alive if it never returns."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:
            failure = error
        # Who does not wait any longer has closed the loop.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    await ended
