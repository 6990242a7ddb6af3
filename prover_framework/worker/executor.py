"""Execute jobs: the slots, and in each of them one computation at a time.

An execution ends in an outcome, whatever happens. What an error means is decided where the step is
called that raised it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import define
from prometheus_client import Histogram

from prover_framework.errors import (
    ComputeError,
    DataNotYet,
    InvalidReturn,
    JobError,
    LeaseLost,
    NotInstalled,
    NotSigned,
    PluginError,
    ProofError,
    RequestError,
    ResultInvalid,
    StoreError,
    TryLater,
)
from prover_framework.jobs.records import Failure, Lease, StoredJob
from prover_framework.metrics import Metrics, Timed
from prover_framework.proofs.proving import Loaded, Proving, unfit
from prover_framework.proofs.service import stored_seals
from prover_framework.sandbox.attachments import TakenIn, take_in
from prover_framework.sandbox.calls import Runner
from prover_framework.sandbox.notes import Listener
from prover_framework.sandbox.slot import NOBODY, HeardSlot, Slot
from prover_framework.tracing import NO_TRACING, Note, Tracing
from prover_framework.worker.attaching import Keeping, Kept
from prover_framework.worker.directories import KeptDirectories
from prover_framework.worker.outcomes import (
    AttemptFailed,
    DataMissing,
    Failed,
    NotComputed,
    Outcome,
    Reason,
    Succeeded,
)
from prover_framework.worker.resources import ResourcePool

log = logging.getLogger(__name__)

# The weight of the newest computation in the mean of how long they take.
MEAN_WEIGHT = 0.2

# The code of a job whose stored parameters do not fit its plugin.
BAD_PARAMETERS = "bad_parameters"

# The code of an error that is nobody's but the framework's own.
INTERNAL_ERROR = "internal_error"


@define(eq=False)
class MeanDuration:
    """How long computations take: a moving mean, in which the newest have the greatest weight.

    Args:
        seconds: The mean; None while nothing is known.
    """

    seconds: float | None = None

    def note(self, seconds: float) -> None:
        """Note how long a computation has taken."""
        before = seconds if self.seconds is None else self.seconds
        self.seconds = before + MEAN_WEIGHT * (seconds - before)

    def forget(self) -> None:
        """Forget what was noted: it has led to a wrong expectation."""
        self.seconds = None


class Execution:
    """The execution of one job, which can be cancelled at any time."""

    def __init__(self, work: Coroutine[Any, Any, Outcome]) -> None:
        self._task = asyncio.create_task(work)
        self._reason = Reason.STOPPED

    def cancel(self, reason: Reason) -> None:
        """Stop it, unless it has ended. A lease that is lost is the reason before all others."""
        if self._reason is not Reason.LEASE_LOST:
            self._reason = reason
        self._task.cancel()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have something called when it has ended."""
        self._task.add_done_callback(lambda _: callback())

    async def wait(self) -> None:
        """Wait until it has ended. Cancelling the call stops the execution, too."""
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait({self._task})
            raise

    @property
    def outcome(self) -> Outcome:
        """What it has ended in; it must have ended."""
        if self._task.cancelled():
            return NotComputed(self._reason)
        return self._task.result()


class _Stage:
    """Counts how long a stage takes, in a span of its own."""

    __slots__ = ("_seconds", "_span")

    def __init__(self, seconds: Histogram, span: AbstractContextManager[Note]) -> None:
        self._seconds = Timed(seconds)
        self._span = span

    def __enter__(self) -> None:
        self._seconds.__enter__()
        self._span.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._span.__exit__(kind, error, traceback)
        self._seconds.__exit__(kind, error, traceback)


class Executor:
    """Executes as many jobs at a time as it has slots.

    Args:
        proving: The steps of a computation.
        metrics: Counts how long the stages take.
        slots: How many slots to have.
        resources: What the computations share of the machine.
        directories: What computations keep between the attempts at a job.
        keeping: Keeps what they attach to their results.
        prefetch_seconds: How long a job waits for a slot.
        trace: Log each call of a hook in a slot there.
        tracing: Makes a span of each stage.
    """

    def __init__(
        self,
        proving: Proving,
        *,
        metrics: Metrics,
        slots: int,
        resources: ResourcePool,
        directories: KeptDirectories,
        keeping: Keeping,
        prefetch_seconds: float,
        trace: bool,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._tracing = tracing
        self.mean_duration = MeanDuration()
        self._metrics = metrics
        self._proving = proving
        self._resources = resources
        self._directories = directories
        self._keeping = keeping
        self._prefetch_seconds = prefetch_seconds
        self._slots = [Slot(trace=trace) for _ in range(slots)]
        self._free: asyncio.Queue[Slot] = asyncio.Queue()
        # How many jobs wait for one: nobody overtakes them.
        self._waiting = 0
        self._running: set[Execution] = set()
        self._is_stopped = False

    async def start(self) -> None:
        """Start the processes of the slots.

        Raises:
            OSError: This machine has no room for another process.
        """
        for slot in self._slots:
            await slot.start()
            self._free.put_nowait(slot)

    def stop(self) -> None:
        """Cancel all executions, and each that begins after this."""
        self._is_stopped = True
        for execution in self._running:
            execution.cancel(Reason.STOPPED)

    async def close(self) -> None:
        """End the processes of the slots."""
        for slot in self._slots:
            await slot.kill()

    def begin(
        self, job: StoredJob, listener: Listener = NOBODY, lease: Lease | None = None
    ) -> Execution:
        """Begin the execution of a job, which waits for a slot first.

        Args:
            job: The job.
            listener: Who hears what it tells meanwhile.
            lease: The lease that it is executed under; without one nothing can be attached.
        """
        execution = Execution(self._execute(job, listener, lease))
        self._running.add(execution)
        execution.on_end(lambda: self._running.discard(execution))
        if self._is_stopped:
            execution.cancel(Reason.STOPPED)
        return execution

    async def _execute(self, job: StoredJob, listener: Listener, lease: Lease | None) -> Outcome:
        taken = asyncio.get_running_loop().time()
        if missing := self._proving.lacks(job.proof_type, None):
            return NotComputed(Reason.NOT_CAPABLE, missing)
        wanted = self._proving.resources(job.proof_type)
        if not wanted:
            return await self._execute_in_slot(job, listener, lease, taken)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._prefetch_seconds):
                    await stack.enter_async_context(self._resources.taken(wanted))
            except TimeoutError:
                return NotComputed(Reason.NO_RESOURCES)
            return await self._execute_in_slot(job, listener, lease, taken)

    async def _execute_in_slot(
        self, job: StoredJob, listener: Listener, lease: Lease | None, taken: float
    ) -> Outcome:
        with self._stage(job, "slot"):
            slot = await self._free_slot()
        if slot is None:
            self.mean_duration.forget()
            return NotComputed(Reason.NO_SLOT)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            return await self._run(HeardSlot(slot, listener), job, lease, taken)
        except Exception as error:
            # No step foresees it. The job has to end all the same.
            log.exception("%s %s: a mistake of the framework", job.group_id, job.name)
            return AttemptFailed(Failure(INTERNAL_ERROR, f"{type(error).__name__}: {error}"))
        finally:
            self.mean_duration.note(now() - began)
            self._free.put_nowait(slot)

    async def _free_slot(self) -> Slot | None:
        """Wait for a slot; None if none gets free for as long as a job may wait."""
        if not self._waiting and not self._free.empty():
            return self._free.get_nowait()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._prefetch_seconds):
                return await self._free.get()
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1

    async def _run(
        self, slot: Runner, job: StoredJob, lease: Lease | None, since: float
    ) -> Outcome:
        with self._stage(job, "inputs"):
            loaded = await self._load(slot, job, since)
        if not isinstance(loaded, Loaded):
            return loaded
        try:
            async with self._keeping.place(job, loaded) as place:
                with self._stage(job, "compute"), self._lent(job, loaded) as directory:
                    result = await self._proving.compute(slot, loaded, directory, place)
                taken = await take_in(place, loaded.computation.hooks.candidate.name)
                kept = await self._keep(lease, job, taken)
            if not isinstance(kept, Kept):
                return kept
            with self._stage(job, "receipt"):
                proof = self._proving.receipt(loaded, result, taken.stated)
        except DataNotYet as error:
            return _data_missing(error)
        except (ProofError, ComputeError, PluginError) as error:
            return _of_plugin(error)
        except NotSigned as error:
            return NotComputed(Reason.NOT_SIGNED, str(error))
        except OSError as error:
            return NotComputed(Reason.NO_PROCESS, str(error))
        seals = tuple(stored_seals(proof.seals))
        return Succeeded(proof.result, proof.receipt, seals, proof.later, kept.drafts)

    async def _keep(self, lease: Lease | None, job: StoredJob, taken: TakenIn) -> Kept | Outcome:
        """Keep what is attached to a result, before the receipt that states it is written."""
        try:
            return await self._keeping.keep(lease, job, taken)
        except LeaseLost as error:
            return NotComputed(Reason.LEASE_LOST, str(error))
        except StoreError as error:
            return NotComputed(Reason.NOT_KEPT, str(error))

    def _stage(self, job: StoredJob, stage: str) -> "_Stage":
        """Count how long a stage of an execution takes."""
        seconds = self._metrics.stage_seconds.labels(job.proof_type, stage)
        return _Stage(seconds, self._tracing.span(stage))

    def _lent(self, job: StoredJob, loaded: Loaded) -> AbstractContextManager[Path | None]:
        """Lend the directory of a job to its computation, if that asks for one."""
        if loaded.is_long:
            return self._directories.lent(job.id)
        return nullcontext()

    async def _load(self, slot: Runner, job: StoredJob, since: float) -> Loaded | Outcome:
        try:
            read = self._proving.read(job)
        except RequestError as error:
            # They were read when the job was accepted: by another version of the plugin.
            return NotComputed(Reason.NOT_CAPABLE, unfit(job.proof_type, error))
        except (ProofError, PluginError) as error:
            return _of_plugin(error)
        try:
            needs = await self._proving.needs(slot, read)
        except RequestError as error:
            return _bad_parameters(error)
        except DataNotYet as error:
            return _data_missing(error)
        except (ProofError, ComputeError, PluginError) as error:
            return _of_plugin(error)
        except OSError as error:
            return NotComputed(Reason.NO_PROCESS, str(error))
        try:
            return await self._proving.load(read, needs, since)
        except DataNotYet as error:
            return _data_missing(error)
        except (ProofError, ComputeError, PluginError) as error:
            return _of_plugin(error)
        except (StoreError, OSError) as error:
            return NotComputed(Reason.DATA_UNREADABLE, str(error))


def _bad_parameters(error: RequestError) -> Outcome:
    return Failed(Failure(BAD_PARAMETERS, f"its parameters do not fit: {error}"))


def _data_missing(error: DataNotYet) -> Outcome:
    return DataMissing(_failure(error), error.seconds if isinstance(error, TryLater) else None)


def _of_plugin(error: ProofError | ComputeError | PluginError) -> Outcome:
    """Return what it comes to that a plugin refused a job or went wrong."""
    match error:
        case NotInstalled():
            return NotComputed(Reason.NOT_CAPABLE, str(error))
        case ProofError():
            return Failed(_failure(error))
        case ResultInvalid() | InvalidReturn():
            # The same plugin would return the same again.
            return Failed(_failure(error), is_plugins_fault=True)
        case _:
            return AttemptFailed(_failure(error))


def _failure(error: JobError | PluginError) -> Failure:
    traceback = error.traceback if isinstance(error, JobError) else ""
    return Failure(error.code, str(error), traceback)
