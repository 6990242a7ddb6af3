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
from typing import cast

from attrs import frozen

from prover_framework.commitments import derive_seed, fees_hash
from prover_framework.compute.frames import Task
from prover_framework.compute.slot import Slot
from prover_framework.errors import (
    ComputeError,
    DataNotYet,
    JobError,
    LeaseLost,
    MessageError,
    PluginError,
    ProofError,
    RequestError,
    StoreError,
)
from prover_framework.jsontext import Json, dump_json, parse_json
from prover_framework.model import DEFAULT_QUEUE, HourlySeries, Inputs, Limits
from prover_framework.plugins import Plugins, ProofHooks
from prover_framework.queues.base import Queue, Received
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
    Taken,
)
from prover_framework.wire import parse_message, structure, unstructure

log = logging.getLogger(__name__)

# SQS's longest poll; the embedded queue keeps to the same rhythm.
POLL_SECONDS = 20.0

# Three chances to be heard before a lease expires.
HEARTBEATS_PER_LEASE = 3

# Jobs that one sweep sends again; the next one comes soon enough for the others.
SWEEP_LIMIT = 100

# A database or queue that is out of order is asked again at this pace.
TROUBLE_SECONDS = 1.0


@frozen(eq=False)
class _Held:
    """A job this worker holds: its lease, its message, and the task that works on it."""

    lease: Lease
    message: Received
    task: "asyncio.Task[None]"


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
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._settings = settings
        self._plugins = plugins
        self._jobs = jobs
        self._headers = headers
        self._queue = queue
        self._queue_name = queue_name
        self._service = ProvingService(plugins, jobs, queue)
        self._slots = [Slot() for _ in range(settings.worker_slots)]
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        self._held: dict[str, _Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Take no more jobs and let `run` come to its end."""
        self._stopping.set()
        self._queue.interrupt()

    async def run(self) -> None:
        """Work until `stop` is called, then finish or give back what is held."""
        log.info("worker %s: %d slots, queue %s", self.name, len(self._slots), self._queue_name)
        for slot in self._slots:
            await slot.start()
            self._free.put_nowait(slot)
        beat = asyncio.create_task(self._heartbeats())
        sweep = asyncio.create_task(self._sweeps())
        try:
            await self._receive_until_stopped()
            await self._finish_or_give_back()
        finally:
            for task in (beat, sweep, *self._tasks):
                task.cancel()
            await asyncio.gather(beat, sweep, *self._tasks, return_exceptions=True)
            for slot in self._slots:
                await slot.kill()
        log.info("worker %s: stopped", self.name)

    # Taking

    async def _receive_until_stopped(self) -> None:
        while not self._stopping.is_set():
            slots = await self._free_slots()
            if not slots:
                break
            try:
                messages = await self._queue.receive(
                    self._queue_name,
                    limit=len(slots),
                    wait_seconds=POLL_SECONDS,
                    visibility_seconds=self._settings.lease_seconds,
                )
            except (StoreError, OSError) as error:
                log.error("receiving failed: %s", error)
                messages = []
                await self._rest(TROUBLE_SECONDS)
            for slot in slots[len(messages) :]:
                self._free.put_nowait(slot)
            for slot, message in zip(slots, messages, strict=False):
                task = asyncio.create_task(self._serve(slot, message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _free_slots(self) -> list[Slot]:
        """Wait for a free slot and take it with all others that are free."""
        free = asyncio.create_task(self._free.get())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({free, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stopping.is_set():
            free.cancel()
            return []
        slots = [free.result()]
        while not self._free.empty():
            slots.append(self._free.get_nowait())
        return slots

    async def _serve(self, slot: Slot, message: Received) -> None:
        try:
            await self._handle(slot, message)
        except (StoreError, OSError) as error:
            # The message comes back by itself, and the lease expires.
            log.error("a job could not be handled for now: %s", error)
        except Exception:
            log.exception("a job could not be handled")
        finally:
            self._free.put_nowait(slot)

    async def _handle(self, slot: Slot, message: Received) -> None:
        try:
            job_id = _job_id(message)
        except MessageError as error:
            log.warning("a message goes to the dead letters: %s", error)
            await self._queue.bury(message, str(error))
            return
        taken = await self._jobs.take(
            job_id, worker=self.name, lease_seconds=self._settings.lease_seconds
        )
        if isinstance(taken, Refused):
            await self._set_aside(message, job_id, taken)
            return
        work = asyncio.create_task(self._work(slot, taken, message))
        held = _Held(taken.lease, message, work)
        self._held[taken.lease.job_id] = held
        try:
            await asyncio.shield(asyncio.wait({work}))
        finally:
            if self._held.get(taken.lease.job_id) is held:
                del self._held[taken.lease.job_id]
        if not work.cancelled() and (trouble := work.exception()):
            raise trouble

    async def _set_aside(self, message: Received, job_id: str, refused: Refused) -> None:
        if refused.refusal is Refusal.UNKNOWN:
            await self._queue.bury(message, f"there is no job {job_id} in the database")
        elif refused.retry_in_seconds is None:
            # The job is final, or waits for data and will be sent again when that is due.
            await self._queue.delete(message)
        else:
            await self._queue.hide([message], refused.retry_in_seconds)

    # Working

    async def _work(self, slot: Slot, taken: Taken, message: Received) -> None:
        lease, job = taken.lease, taken.job
        try:
            try:
                await self._jobs.succeed(lease, dump_json(await self._result(slot, job)))
                log.info("%s %s: succeeded", job.group_id, job.proof_type)
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
            except (ComputeError, PluginError) as error:
                delay = await self._retry(lease, job, Failure(error.code, str(error)))
                if delay is not None:
                    await self._queue.hide([message], delay)
                    return
            except RequestError as error:
                await self._jobs.fail(
                    lease, Failure("bad_parameters", f"its parameters do not fit: {error}")
                )
        except LeaseLost:
            log.warning(
                "%s %s: the lease is lost, nothing was written", job.group_id, job.proof_type
            )
            return
        await self._queue.delete(message)

    async def _retry(self, lease: Lease, job: StoredJob, failure: Failure) -> float | None:
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        delay = await self._jobs.retry(lease, failure, jitter=jitter)
        what = "failed" if delay is None else f"again in {delay:.1f} s"
        log.warning("%s %s: %s: %s", job.group_id, job.proof_type, what, failure.message)
        return delay

    async def _result(self, slot: Slot, job: StoredJob) -> Json:
        hooks = self._plugins.for_type(job.proof_type)
        proof_type = hooks.proof_type
        form = cast(dict[str, Json], parse_json(job.parameters.encode()))
        parameters = structure(cast(Json, form), proof_type.parameters)
        series = await self._headers.hourly_series(hooks.inputs(parameters).hourly_base_fee)
        series_hash = fees_hash(series.felts())
        seed = derive_seed(proof_type.name, proof_type.version, parameters, series, series_hash)
        limits = self._limits(hooks)
        task = Task(
            module=hooks.candidate.module,
            parameters=form,
            inputs=Inputs(hourly_base_fee=series),
            seed=seed.hex(),
            memory_bytes=limits.memory_bytes,
        )
        result = await slot.run(task, seconds=limits.seconds)
        evidence = unstructure(_evidence(proof_type.version, series, series_hash, seed))
        return cast(Json, {**result, "evidence": evidence})

    def _limits(self, hooks: ProofHooks) -> Limits:
        own = hooks.proof_type.limits
        memory = self._settings.compute_memory_mb
        return Limits(
            seconds=self._settings.compute_seconds or own.seconds,
            memory_bytes=own.memory_bytes if memory is None else memory * 2**20,
        )

    # Looking after

    async def _heartbeats(self) -> None:
        """Show signs of life for all that is held, and stop the work on what is lost."""
        period = self._settings.lease_seconds / HEARTBEATS_PER_LEASE
        while True:
            await asyncio.sleep(period)
            held = list(self._held.values())
            if not held:
                continue
            try:
                lost = await self._jobs.extend(
                    [h.lease for h in held], lease_seconds=self._settings.lease_seconds
                )
                kept = [h for h in held if h.lease not in lost]
                await self._queue.hide([h.message for h in kept], self._settings.lease_seconds)
            except (StoreError, OSError) as error:
                log.error("a heartbeat failed: %s", error)
                continue
            for h in held:
                if h.lease in lost:
                    # Cancelled, or taken over: the computation is of no more use.
                    h.task.cancel()

    async def _sweeps(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._service.send(await self._jobs.sweep(SWEEP_LIMIT))
            except (StoreError, OSError) as error:
                log.error("a sweep failed: %s", error)
            await self._rest(self._settings.sweep_seconds)

    async def _finish_or_give_back(self) -> None:
        """Let running jobs finish for a while, then give back what is left."""
        if self._tasks:
            log.info(
                "worker %s: stopping, %d jobs have %g s to finish",
                self.name,
                len(self._tasks),
                self._settings.stop_seconds,
            )
            await asyncio.wait(self._tasks, timeout=self._settings.stop_seconds)
        for held in list(self._held.values()):
            held.task.cancel()
            await asyncio.wait({held.task})
            try:
                await self._jobs.give_back(held.lease)
                await self._queue.hide([held.message], 0)
            except StoreError as error:
                log.warning("a job could not be given back: %s", error)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


@frozen(kw_only=True)
class Evidence:
    """What a result was made from, so that others can check it; stored with the result.

    Args:
        version: Version of the proof type's method.
        chain_id: Id of the chain.
        simulated: Whether the chain is a simulation; such a number settles nothing.
        series_kind: ``blocks``, or ``hourly`` for a fee file with one row for each hour.
        first_hour: Unix timestamp at which the first hour used begins.
        last_hour: Unix timestamp at which the last hour used begins.
        hours: How many hours were used.
        first_block: Number of the first block used.
        last_block: Number of the last block used.
        blocks: How many blocks were used.
        fees_hash: The on-chain store's hash of the hourly fees, eight big-endian u32.
        seed: The derived seed, in hex.
    """

    version: str
    chain_id: int
    simulated: bool
    series_kind: str
    first_hour: int
    last_hour: int
    hours: int
    first_block: int
    last_block: int
    blocks: int
    fees_hash: tuple[int, ...]
    seed: str


def _evidence(version: str, series: HourlySeries, series_hash: bytes, seed: bytes) -> Evidence:
    return Evidence(
        version=version,
        chain_id=series.chain_id,
        simulated=series.simulated,
        series_kind=series.kind.value,
        first_hour=series.first_hour,
        last_hour=series.last_hour,
        hours=len(series),
        first_block=series.first_block,
        last_block=series.last_block,
        blocks=sum(series.counts),
        fees_hash=tuple(int.from_bytes(series_hash[i : i + 4]) for i in range(0, 32, 4)),
        seed=seed.hex(),
    )


def _job_id(message: Received) -> str:
    parsed = parse_message(message.body)
    if parsed.id is None:
        raise MessageError("id: is required")
    return parsed.id


def _failure(error: JobError) -> Failure:
    return Failure(error.code, str(error))
