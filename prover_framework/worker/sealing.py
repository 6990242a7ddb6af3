"""Make the seals that are due: loops beside the jobs, with processes of their own.

Each kind has loops and slots of its own, so that one that takes an hour delays neither a job nor a
seal of another kind.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from attrs import frozen

from prover_framework.errors import (
    ComputeError,
    DataNotYet,
    GroupNotFound,
    InvalidReturn,
    LeaseLost,
    NotInstalled,
    PluginError,
    ProofError,
    ProverError,
    ReceiptChanged,
    ReceiptMissing,
    ResultInvalid,
    StoreError,
    TryLater,
)
from prover_framework.jobs.seals import SealJobStore, SealLease
from prover_framework.logs import Trouble
from prover_framework.metrics import Metrics
from prover_framework.model.seals import SealState
from prover_framework.proofs.sealing import Made, Sealing
from prover_framework.sandbox.calls import Runner
from prover_framework.sandbox.slot import Slot
from prover_framework.worker.heartbeat import pause_seconds
from prover_framework.worker.loops import is_unforeseen, rest
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

STOPPED = "stopped"
UNFORESEEN = "internal_error"


@frozen
class _NotApplicable:
    """The kind does not apply to the receipt."""


@frozen
class _Failed:
    """No other attempt can come to a seal."""

    code: str
    message: str


@frozen
class _AttemptFailed:
    """Another attempt may come to a seal; the budget says whether there is one."""

    code: str
    message: str


@frozen
class _NotMade:
    """It was not made, nobody is to blame, and this counts as no attempt."""

    code: str
    message: str
    seconds: float = 0.0


_Outcome = Made | _NotApplicable | _Failed | _AttemptFailed | _NotMade


class SealLoops:
    """Takes seals that are due and makes so many of each kind at a time.

    Args:
        sealing: Makes them.
        seals: Where they are.
        stopping: Ends the loops; what is being made then is finished, or cancelled.
        metrics: Counts what becomes of them.
        worker_name: Who holds the leases.
        slots: How many of each kind to make at a time.
        lease_seconds: How long a lease lasts without a sign of life.
        poll_seconds: How often to look for a seal that is due.
        wait_seconds: For how long a seal is put off that this worker lacks something for.
        timings: Waits.
        trace: Log each call of a hook.
    """

    def __init__(
        self,
        sealing: Sealing,
        seals: SealJobStore,
        stopping: asyncio.Event,
        metrics: Metrics,
        *,
        worker_name: str,
        slots: int,
        lease_seconds: float,
        poll_seconds: float,
        wait_seconds: float,
        timings: Timings,
        trace: bool,
    ) -> None:
        self._sealing = sealing
        self._seals = seals
        self._stopping = stopping
        self._metrics = metrics
        self._worker_name = worker_name
        self._slots = slots
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._wait_seconds = wait_seconds
        self._timings = timings
        self._trace = trace
        for kind in sealing.kinds:
            metrics.seals.labels(kind, SealState.FAILED.value)

    async def run(self) -> None:
        """Make seals until the worker stops. Cancelling this releases what is being made."""
        async with asyncio.TaskGroup() as loops:
            for kind in self._sealing.kinds:
                for _ in range(self._slots):
                    loops.create_task(self._run(kind))

    async def _run(self, kind: str) -> None:
        slot = Slot(trace=self._trace)
        trouble = Trouble(f"making seals {kind}", log, first_seconds=self._timings.trouble_seconds)
        try:
            while not self._stopping.is_set():
                wait = 0.0
                try:
                    if not await self._make_next(slot, kind):
                        wait = self._poll_seconds
                except LeaseLost as error:
                    log.warning("%s", error)
                except Exception as error:
                    wait = trouble.failed(error, stack=is_unforeseen(error))
                else:
                    trouble.passed()
                if wait:
                    await rest(self._stopping, wait)
        finally:
            await slot.kill()

    async def _make_next(self, slot: Slot, kind: str) -> bool:
        """Make the seal of a kind that is due; return whether there was one."""
        lease = await self._seals.take(
            kind, worker=self._worker_name, lease_seconds=self._lease_seconds
        )
        if lease is None:
            return False
        making = asyncio.create_task(self._make(slot, lease))
        beating = asyncio.create_task(self._beat(lease, making))
        try:
            await asyncio.wait({making})
            if making.cancelled():
                raise LeaseLost(f"{lease.seal.subject}: it is no longer wanted from this worker")
            await self._insist(lease, making.result())
        except asyncio.CancelledError:
            making.cancel()
            await asyncio.wait({making})
            await self._let_go(lease)
            raise
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        return True

    async def _let_go(self, lease: SealLease) -> None:
        """Return a seal that is not finished; one that cannot be is free when its lease ends."""
        try:
            await self._seals.release(lease, STOPPED, "the worker that made it has stopped")
        except StoreError as error:
            log.warning("%s: is not released: %s", lease.seal.subject, error)

    async def _beat(self, lease: SealLease, making: "asyncio.Task[_Outcome]") -> None:
        """Give signs of life, until the lease is found to be lost."""
        was_heard = True
        while True:
            await asyncio.sleep(pause_seconds(self._lease_seconds, was_heard=was_heard))
            try:
                is_held = await self._seals.extend(lease, lease_seconds=self._lease_seconds)
            except StoreError as error:
                was_heard = False
                log.warning("%s: a sign of life was not heard: %s", lease.seal.subject, error)
                continue
            was_heard = True
            if not is_held:
                making.cancel()
                return

    async def _make(self, runner: Runner, lease: SealLease) -> _Outcome:
        """Make a seal; what comes of it is an outcome, whatever happens."""
        try:
            made = await self._sealing.make(runner, lease.seal)
        except NotInstalled as error:
            return self._put_off(error, self._wait_seconds)
        except DataNotYet as error:
            seconds = error.seconds if isinstance(error, TryLater) else self._wait_seconds
            return self._put_off(error, seconds)
        except (ProofError, ResultInvalid, InvalidReturn) as error:
            return _Failed(error.code, str(error))
        except (ComputeError, PluginError) as error:
            return _AttemptFailed(error.code, str(error))
        except (ReceiptMissing, ReceiptChanged, GroupNotFound, StoreError) as error:
            return self._put_off(error, self._wait_seconds)
        except OSError as error:
            return _NotMade("no_process", str(error), self._timings.trouble_seconds)
        except Exception as error:
            log.exception("%s: a mistake of the framework", lease.seal.subject)
            return _AttemptFailed(UNFORESEEN, f"{type(error).__name__}: {error}")
        return _NotApplicable() if made is None else made

    def _put_off(self, error: ProverError, seconds: float) -> _NotMade:
        return _NotMade(error.code, str(error), seconds)

    async def _insist(self, lease: SealLease, outcome: _Outcome) -> None:
        """Store an outcome, again and again for as long as a lease lasts: it may be an hour's work.

        Signs of life go on meanwhile.
        """
        now = asyncio.get_running_loop().time
        ends = now() + self._lease_seconds
        trouble = Trouble(
            f"storing what came of {lease.seal.subject}",
            log,
            first_seconds=self._timings.trouble_seconds,
            longest_seconds=self._timings.max_settle_wait_seconds,
        )
        store = self._storing(lease, outcome)
        while True:
            try:
                word = await store()
            except LeaseLost:
                raise
            except StoreError as error:
                wait = trouble.failed(error)
                if now() + wait > ends:
                    raise
                await asyncio.sleep(wait)
            else:
                trouble.passed()
                self._metrics.seals.labels(lease.seal.kind, word).inc()
                return

    def _storing(self, lease: SealLease, outcome: _Outcome) -> Callable[[], Awaitable[str]]:
        """Return what stores an outcome, and returns the word for it."""
        match outcome:
            case Made():
                return lambda: self._store_made(lease, outcome)
            case _NotApplicable():
                return lambda: self._store_not_applicable(lease)
            case _Failed():
                return lambda: self._store_failed(lease, outcome)
            case _AttemptFailed():
                return lambda: self._store_attempt(lease, outcome)
            case _NotMade():
                return lambda: self._release(lease, outcome)

    async def _store_made(self, lease: SealLease, made: Made) -> str:
        why = await self._seals.made(lease, made.document, made.refusal)
        if why is not None:
            log.error("%s: failed: %s", lease.seal.subject, why)
            return "failed"
        log.info("%s: made", lease.seal.subject)
        return "made"

    async def _store_not_applicable(self, lease: SealLease) -> str:
        await self._seals.not_applicable(lease)
        return "not_applicable"

    async def _store_failed(self, lease: SealLease, failed: _Failed) -> str:
        await self._seals.fail(lease, failed.code, failed.message)
        log.error("%s: failed: %s", lease.seal.subject, failed.message)
        return "failed"

    async def _store_attempt(self, lease: SealLease, failed: _AttemptFailed) -> str:
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        delay = await self._seals.retry(lease, failed.code, failed.message, jitter=jitter)
        what = "failed" if delay is None else f"again in {delay:.1f} s"
        log.warning("%s: %s: %s", lease.seal.subject, what, failed.message)
        return "failed" if delay is None else "attempt_failed"

    async def _release(self, lease: SealLease, outcome: _NotMade) -> str:
        await self._seals.release(lease, outcome.code, outcome.message, seconds=outcome.seconds)
        log.info("%s: put off: %s", lease.seal.subject, outcome.message)
        return "released"
