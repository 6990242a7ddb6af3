"""The worker: message, lease, inputs, compute, result, acknowledgement.

It knows no proof type. What it computes, and how, comes from the plugins; what counts is the
database, and the queue only says that there may be something to do.
"""

import asyncio
import logging
import os
import random
import secrets
import socket

from attrs import define

from prover_framework.compute.slot import Slot
from prover_framework.errors import (
    ComputeError,
    DataNotYet,
    JobError,
    LeaseLost,
    MessageError,
    PluginError,
    ProofError,
    ProverError,
    RequestError,
    StoreError,
)
from prover_framework.model import DEFAULT_QUEUE
from prover_framework.plugins import Plugins
from prover_framework.proving import Proof, Proving
from prover_framework.queues.base import Queue, Received
from prover_framework.receipts.desk import ReceiptDesk, stored_seals
from prover_framework.service import ProvingService
from prover_framework.settings import Settings
from prover_framework.store.headers import HeaderStore
from prover_framework.store.jobs import (
    Failure,
    JobStore,
    Lease,
    Refusal,
    Refused,
    StoredJob,
)
from prover_framework.wire import parse_message

log = logging.getLogger(__name__)

# SQS's longest poll; the embedded queue keeps to the same rhythm.
POLL_SECONDS = 20.0

# Three chances to be heard before a lease expires.
HEARTBEATS_PER_LEASE = 3

# Jobs that one sweep sends again; the next one comes soon enough for the others.
SWEEP_LIMIT = 100

# Computations that take milliseconds would wait for messages most of the time. So a worker takes
# jobs ahead: as many as it expects to begin within half of this time. What has waited for a slot
# for the whole of it is given back, since others may have one.
AHEAD_SECONDS = 1.0
MAX_AHEAD = 20

# How many places have to be free before messages are received ahead: what a receive brings at most.
RECEIVE_AHEAD = 10

# The weight of the newest computation in the mean of how long they take.
PACE_WEIGHT = 0.2

# A database or queue that is out of order is asked again at this pace.
TROUBLE_SECONDS = 1.0

# A message is hidden for waits up to this long. For longer ones it is deleted, and the sweep sends
# another when the job is due: SQS hides for 12 hours at the most, and counts every receive.
MAX_HIDE_SECONDS = 300.0

# Giving a job back is one write; a database that takes longer will free it when the lease expires.
GIVE_BACK_SECONDS = 5.0

# The code of an error that is nobody's but the framework's own.
INTERNAL_ERROR = "internal_error"


class _NoSlot(Exception):
    """A job that was taken ahead has waited too long for a slot."""


@define(eq=False)
class _Pace:
    """How long computations have taken of late, and what follows for those to come."""

    seconds: float | None = None

    def note(self, seconds: float) -> None:
        """Note how long a computation has taken."""
        before = seconds if self.seconds is None else self.seconds
        self.seconds = before + PACE_WEIGHT * (seconds - before)

    def forget(self) -> None:
        """Forget what was noted: it has led to a wrong expectation."""
        self.seconds = None

    def ahead(self, slots: int) -> int:
        """Return how many jobs to take beyond those that there are slots for."""
        if self.seconds is None:
            return 0
        return int(min(MAX_AHEAD, slots * AHEAD_SECONDS / 2 / max(self.seconds, 1e-6)))


@define(eq=False)
class _Held:
    """A job this worker computes: its lease, its message and the computation.

    Only the computation is ever cancelled. What is then written about the job is written by the
    task that serves its message, which is not.
    """

    lease: Lease
    message: Received
    computing: "asyncio.Task[Proof]"
    lost: bool = False


class Worker:
    """Takes jobs from one queue and computes as many at a time as it has slots."""

    def __init__(
        self,
        settings: Settings,
        plugins: Plugins,
        jobs: JobStore,
        headers: HeaderStore,
        queue: Queue,
        *,
        queue_name: str = DEFAULT_QUEUE,
        receipts: ReceiptDesk | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._settings = settings
        self._plugins = plugins
        self._jobs = jobs
        self._headers = headers
        self._queue = queue
        self._queue_name = queue_name
        self._receipts = receipts
        self._service = ProvingService(plugins, jobs, queue)
        self._proving = Proving(settings, plugins, headers)
        self._slots = [Slot(trace=plugins.trace) for _ in range(settings.worker_slots)]
        # The slots that nothing runs in.
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        self._pace = _Pace()
        # Messages whose computations have not ended, and whether there may be room for another.
        self._in_hand = 0
        self._room = asyncio.Event()
        self._held: set[_Held] = set()
        # Keeps a heartbeat from hiding a message again that the end of its job has just released.
        self._beating = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._giving_back = False

    def stop(self) -> None:
        """Take no more jobs and let `run` come to its end."""
        self._stopping.set()
        self._room.set()
        self._queue.interrupt()

    async def run(self) -> None:
        """Work until `stop` is called, then finish or give back what is held."""
        log.info("worker %s: %d slots, queue %s", self.name, len(self._slots), self._queue_name)
        upkeep = [asyncio.create_task(self._heartbeats()), asyncio.create_task(self._sweeps())]
        try:
            for slot in self._slots:
                await slot.start()
                self._free.put_nowait(slot)
            await self._receive_until_stopped()
            await self._let_finish()
        finally:
            await self._give_back()
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
            for slot in self._slots:
                await slot.kill()
            await self._service.close()
        log.info("worker %s: stopped", self.name)

    # Taking

    async def _receive_until_stopped(self) -> None:
        while limit := await self._places():
            messages: list[Received] = []
            try:
                messages = await self._queue.receive(
                    self._queue_name,
                    limit=limit,
                    wait_seconds=POLL_SECONDS,
                    visibility_seconds=self._settings.lease_seconds,
                )
                if self._stopping.is_set():
                    await self._queue.hide(messages, 0)
                    return
            except (ProverError, OSError) as error:
                log.error("receiving failed: %s", error)
                await self._rest(TROUBLE_SECONDS)
            except Exception:
                # Whatever it is, a worker that ends itself over it helps no one.
                log.exception("receiving failed")
                await self._rest(TROUBLE_SECONDS)
            for message in messages:
                self._in_hand += 1
                task = asyncio.create_task(self._serve(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _places(self) -> int:
        """Wait until it is time to receive; return for how many there is room, 0 when stopping."""
        slots = len(self._slots)
        while not self._stopping.is_set():
            places = slots + self._pace.ahead(slots) - self._in_hand
            if places > 0 and (self._in_hand < slots or places >= RECEIVE_AHEAD):
                return places
            self._room.clear()
            await self._room.wait()
        return 0

    async def _serve(self, message: Received) -> None:
        try:
            await self._handle(message)
        except LeaseLost as error:
            log.warning("%s", error)
        except (ProverError, OSError) as error:
            # The message comes back by itself, and the lease expires.
            log.error("a job could not be handled for now: %s", error)
        except Exception:
            log.exception("a job could not be handled")

    async def _handle(self, message: Received) -> None:
        """Have the job of a message computed, then see to the rest without a place."""
        try:
            computed = await self._compute(message)
        finally:
            self._in_hand -= 1
            self._room.set()
        if computed is not None:
            await self._settle_in_the_end(*computed)
            await self._compose(computed[1])

    async def _compute(self, message: Received) -> tuple[_Held, StoredJob] | None:
        """Take the job of a message and wait for its computation; None if it is not to be had."""
        try:
            job_id = await self._job_id(message)
        except MessageError as error:
            log.warning("a message goes to the dead letters: %s", error)
            await self._queue.bury(message, str(error))
            return None
        taken = await self._jobs.take(
            job_id, worker=self.name, lease_seconds=self._settings.lease_seconds
        )
        if isinstance(taken, Refused):
            await self._set_aside(message, job_id, taken)
            return None
        held = _Held(taken.lease, message, asyncio.create_task(self._prove(taken.job)))
        self._held.add(held)
        try:
            if self._giving_back:
                held.computing.cancel()
            await asyncio.wait({held.computing})
            async with self._beating:
                self._held.discard(held)
        except asyncio.CancelledError:
            held.computing.cancel()
            await asyncio.wait({held.computing})
            raise
        return held, taken.job

    async def _prove(self, job: StoredJob) -> Proof:
        try:
            async with asyncio.timeout(AHEAD_SECONDS):
                slot = await self._free.get()
        except TimeoutError:
            raise _NoSlot from None
        now = asyncio.get_running_loop().time
        began = now()
        try:
            return await self._proving.prove(slot, job)
        finally:
            self._pace.note(now() - began)
            self._free.put_nowait(slot)

    async def _job_id(self, message: Received) -> str:
        """Return the unique id of the job that a message is about, whoever sent it."""
        parsed = parse_message(message.body)
        if parsed.id is not None:
            return parsed.id
        return await self._service.adopt(parsed, self._queue_name)

    async def _set_aside(self, message: Received, job_id: str, refused: Refused) -> None:
        if refused.refusal is Refusal.UNKNOWN:
            await self._queue.bury(message, f"there is no job {job_id} in the database")
        elif refused.retry_in_seconds is None:
            # The job is final, or waits for data and will be sent again when that is due.
            await self._queue.delete(message)
        elif refused.refusal is Refusal.NOT_DUE and refused.retry_in_seconds > MAX_HIDE_SECONDS:
            await self._jobs.leave_to_sweep(job_id)
            await self._queue.delete(message)
        else:
            await self._queue.hide([message], refused.retry_in_seconds)

    # Working

    async def _settle_in_the_end(self, held: _Held, job: StoredJob) -> None:
        """Settle, and try again while the database is out of order and the lease may last.

        What took minutes to compute is not thrown away because a server starts anew.
        """
        now = asyncio.get_running_loop().time
        ends = now() + self._settings.lease_seconds
        while True:
            try:
                await self._settle(held, job)
            except LeaseLost:
                raise
            except StoreError as error:
                if now() + TROUBLE_SECONDS > ends:
                    raise
                log.warning("%s %s: not stored yet: %s", job.group_id, job.proof_type, error)
                await asyncio.sleep(TROUBLE_SECONDS)
            else:
                return

    async def _settle(self, held: _Held, job: StoredJob) -> None:
        """Write down what came of a computation, then let go of its message."""
        lease = held.lease
        if held.computing.cancelled():
            await self._let_go(held, job)
            return
        try:
            proof = held.computing.result()
            await self._jobs.succeed(lease, proof.result, proof.receipt, stored_seals(proof.seals))
            log.info("%s %s: succeeded", job.group_id, job.proof_type)
        except _NoSlot:
            self._pace.forget()
            await self._let_go(held, job)
            return
        except DataNotYet as error:
            await self._jobs.wait(
                lease,
                _failure(error),
                poll_seconds=self._settings.data_poll_seconds,
                deadline_seconds=self._settings.data_deadline_seconds,
            )
            log.info("%s %s: waits: %s", job.group_id, job.proof_type, error)
        except ProofError as error:
            await self._jobs.fail(lease, _failure(error))
            log.warning("%s %s: failed: %s", job.group_id, job.proof_type, error)
        except RequestError as error:
            await self._jobs.fail(
                lease, Failure("bad_parameters", f"its parameters do not fit: {error}")
            )
            log.warning("%s %s: failed: %s", job.group_id, job.proof_type, error)
        except (ComputeError, PluginError) as error:
            if await self._retry(held, job, Failure(error.code, str(error))):
                return
        except StoreError as error:
            if error is not held.computing.exception():
                raise
            # Its data could not be read. That is no fault of the job's or of its plugin's.
            await self._let_go(held, job, rest_seconds=TROUBLE_SECONDS)
            return
        except OSError:
            # This machine has no room for another process. The lease expires, and the loss is
            # counted.
            raise
        except Exception as error:
            log.exception("%s %s: a mistake of the framework", job.group_id, job.proof_type)
            what = f"{type(error).__name__}: {error}"
            if await self._retry(held, job, Failure(INTERNAL_ERROR, what)):
                return
        await self._queue.delete(held.message)

    async def _compose(self, job: StoredJob) -> None:
        """Make the receipt of a group whose last job this was; it is made when read otherwise."""
        if self._receipts is None:
            return
        try:
            await self._receipts.note_end(job.group_id)
        except (ProverError, OSError) as error:
            log.error("%s: its receipt is not made yet: %s", job.group_id, error)

    async def _let_go(self, held: _Held, job: StoredJob, *, rest_seconds: float = 0.0) -> None:
        """Give back a job that was not computed, unless it is not ours any more."""
        if held.lost:
            log.info("%s %s: stopped, it is no longer wanted", job.group_id, job.proof_type)
            return
        await self._jobs.give_back(held.lease)
        await self._queue.hide([held.message], rest_seconds)
        log.info("%s %s: given back", job.group_id, job.proof_type)

    async def _retry(self, held: _Held, job: StoredJob, failure: Failure) -> bool:
        """Count a failed attempt; return whether its message was kept for another."""
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        delay = await self._jobs.retry(held.lease, failure, jitter=jitter)
        what = "failed" if delay is None else f"again in {delay:.1f} s"
        log.warning("%s %s: %s: %s", job.group_id, job.proof_type, what, failure.message)
        if delay is None or delay > MAX_HIDE_SECONDS:
            return False
        await self._queue.hide([held.message], delay)
        return True

    # Looking after

    async def _heartbeats(self) -> None:
        """Show signs of life for all that is held, and stop the work on what is lost."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / HEARTBEATS_PER_LEASE)
            try:
                async with self._beating:
                    await self._beat(list(self._held))
            except (ProverError, OSError) as error:
                log.error("a heartbeat failed: %s", error)
            except Exception:
                # Without heartbeats every job of this worker would be lost.
                log.exception("a heartbeat failed")

    async def _beat(self, held: list[_Held]) -> None:
        if not held:
            return
        lost = await self._jobs.extend(
            [h.lease for h in held], lease_seconds=self._settings.lease_seconds
        )
        for h in held:
            if h.lease in lost:
                # Cancelled, or taken over: the computation is of no more use.
                h.lost = True
                h.computing.cancel()
        await self._queue.hide(
            [h.message for h in held if not h.lost], self._settings.lease_seconds
        )

    async def _sweeps(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._service.send(await self._jobs.sweep(SWEEP_LIMIT))
            except (ProverError, OSError) as error:
                log.error("a sweep failed: %s", error)
            except Exception:
                log.exception("a sweep failed")
            await self._rest(self._settings.sweep_seconds)

    async def _let_finish(self) -> None:
        if self._tasks:
            log.info(
                "worker %s: stopping, %d jobs have %g s to finish",
                self.name,
                len(self._tasks),
                self._settings.stop_seconds,
            )
            await asyncio.wait(self._tasks, timeout=self._settings.stop_seconds)

    async def _give_back(self) -> None:
        """Stop all computations and give back their jobs."""
        self._giving_back = True
        for held in self._held:
            held.computing.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GIVE_BACK_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _failure(error: JobError) -> Failure:
    return Failure(error.code, str(error))
