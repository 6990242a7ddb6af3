"""Settle what an execution has ended in: write the outcome, then see to the message.

These are two steps, and only the one that failed is tried again.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import frozen

from prover_framework.errors import LeaseLost, QueueError, StoreError
from prover_framework.jobs.attempts import Attempt
from prover_framework.jobs.records import Failure, GroupStage, StoredJob
from prover_framework.jobs.store import JobStore
from prover_framework.logs import Trouble
from prover_framework.model.jobs import JobState
from prover_framework.worker.incapable import not_capable, spread
from prover_framework.worker.intake import Claim, Intake
from prover_framework.worker.loops import is_unforeseen
from prover_framework.worker.outcomes import (
    AttemptFailed,
    DataMissing,
    Failed,
    NotComputed,
    Outcome,
    Reason,
    Succeeded,
    outcome_word,
)
from prover_framework.worker.timings import Timings

log = logging.getLogger(__name__)

T = TypeVar("T")


@frozen
class _Delete:
    """The message is not needed any more, or the sweep sends another.

    Args:
        stage: How far the job's group is; None where that has to be looked up.
    """

    stage: GroupStage | None = None


@frozen
class _ChangeVisibility:
    """The message is to come back after some seconds."""

    seconds: float


@frozen
class _LeaveToOthers:
    """The message, and the job after it, is left to workers that lack nothing."""

    missing: str


@frozen
class _Leave:
    """The message comes back when its visibility timeout ends."""


_MessageStep = _Delete | _LeaveToOthers | _ChangeVisibility | _Leave


class Settling:
    """Writes outcomes under their leases, and lets go of the messages.

    Args:
        jobs: Where outcomes are written.
        intake: What sees to their messages.
        worker_name: Who holds the leases.
        lease_seconds: How long a lease lasts. No step is tried for longer than that.
        data_poll_seconds: How often a job that waits for data looks again.
        data_deadline_seconds: How long it waits before it fails.
        timings: Waits.
    """

    def __init__(
        self,
        jobs: JobStore,
        intake: Intake,
        *,
        worker_name: str,
        lease_seconds: float,
        data_poll_seconds: float,
        data_deadline_seconds: float,
        timings: Timings,
    ) -> None:
        self._jobs = jobs
        self._intake = intake
        self._worker_name = worker_name
        self._lease_seconds = lease_seconds
        self._data_poll_seconds = data_poll_seconds
        self._data_deadline_seconds = data_deadline_seconds
        self._timings = timings

    async def settle(self, claim: Claim, outcome: Outcome) -> GroupStage | None:
        """Write an outcome, then see to the message; try each again while the lease may last.

        What took minutes to compute is not thrown away because a server starts anew, and what is
        written is not written again because its message cannot be deleted.

        Returns:
            How far the job's group is after it; None where that has to be looked up.

        Raises:
            LeaseLost: The lease was no longer held; nothing was written.
            StoreError: The database could not be used for as long as the lease may have lasted.
        """
        ends = asyncio.get_running_loop().time() + self._lease_seconds
        attempts = 0

        async def write() -> _MessageStep:
            nonlocal attempts
            attempts += 1
            try:
                return await self._write(claim, outcome)
            except LeaseLost:
                # The answer to a commit can be lost, and the commit be done.
                if attempts > 1 and (step := await self._written_before(claim, outcome)):
                    return step
                raise

        step = await self._insist("storing the outcome", claim.job, ends, write)
        await self._let_go_of_message(claim, step, ends)
        if isinstance(outcome, Failed | AttemptFailed):
            await self._keep_attempt(claim.job, outcome.failure)
        return step.stage if isinstance(step, _Delete) else None

    async def _keep_attempt(self, job: StoredJob, failure: Failure) -> None:
        """Keep an attempt that came to nothing, for whoever looks for the reason."""
        try:
            await self._jobs.attempts.note(
                Attempt(
                    job_id=job.id,
                    number=job.attempts,
                    worker=self._worker_name,
                    started_at=job.started_at or job.created_at,
                    error_code=failure.code,
                    error_message=failure.message,
                    traceback=failure.traceback,
                )
            )
        except StoreError as error:
            log.error(
                "%s %s: the record of its attempt is not kept: %s",
                job.group_id,
                job.name,
                error,
            )

    # Writing

    async def _write(self, claim: Claim, outcome: Outcome) -> _MessageStep:
        """Write an outcome; return what is to be done with the message."""
        lease, job = claim.lease, claim.job
        match outcome:
            case Succeeded():
                stage = await self._jobs.succeed(
                    lease,
                    outcome.result,
                    outcome.receipt,
                    outcome.seals,
                    later=outcome.later,
                    has_dependents=job.dependents > 0,
                    attachments=outcome.attachments,
                )
                _tell(claim, outcome, "succeeded")
                return _Delete(stage)
            case DataMissing(failure, seconds):
                await self._jobs.wait(
                    lease,
                    failure,
                    poll_seconds=self._data_poll_seconds if seconds is None else seconds,
                    deadline_seconds=self._data_deadline_seconds,
                )
                _tell(claim, outcome, f"waits: {failure.message}")
                return _Delete()
            case Failed(failure, is_plugins_fault):
                await self._jobs.fail(lease, failure)
                level = logging.ERROR if is_plugins_fault else logging.WARNING
                _tell(claim, outcome, f"failed: {failure.message}{failure.where}", level)
                return _Delete()
            case AttemptFailed():
                return await self._retry(claim, outcome)
            case NotComputed():
                return await self._release(claim, outcome)

    async def _retry(self, claim: Claim, outcome: AttemptFailed) -> _MessageStep:
        """Count a failed attempt; the message is kept for another one that is soon."""
        failure = outcome.failure
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        delay = await self._jobs.retry(claim.lease, failure, jitter=jitter)
        what = "failed" if delay is None else f"again in {delay:.1f} s"
        told = f"{what}: {failure.message}{failure.where}"
        _tell(claim, outcome, told, logging.WARNING)
        if delay is None or delay > self._timings.max_invisible_seconds:
            return _Delete()
        return _ChangeVisibility(delay)

    async def _release(self, claim: Claim, outcome: NotComputed) -> _MessageStep:
        """Release a job that was not computed, unless it is not ours any more."""
        match outcome.reason:
            case Reason.LEASE_LOST:
                _tell(claim, outcome, "stopped, it is no longer wanted")
                return _Leave()
            case Reason.NO_PROCESS:
                # The lease expires, and the loss is counted: no job ends all workers for ever.
                return _Leave()
            case Reason.NOT_CAPABLE:
                seconds = self._intake.incapable_seconds(claim.job)
                missing = not_capable(outcome.detail)
                await self._jobs.release(claim.lease, seconds=seconds, failure=missing)
                return _LeaveToOthers(outcome.detail)
            case Reason.NO_SLOT | Reason.STOPPED:
                seconds = 0.0
            case Reason.NO_RESOURCES:
                # Another worker may have some free; this one will not within a moment.
                seconds = spread(self._timings.resources_seconds)
            case Reason.DATA_UNREADABLE | Reason.NOT_SIGNED | Reason.NOT_KEPT:
                # That is no fault of the job's or of its plugin's.
                seconds = self._timings.trouble_seconds
        await self._jobs.release(claim.lease, seconds=seconds)
        _tell(claim, outcome, f"released: {outcome}")
        return _ChangeVisibility(seconds)

    async def _written_before(self, claim: Claim, outcome: Outcome) -> _MessageStep | None:
        """Tell what is to be done with the message if an attempt before has written the outcome.

        Returns:
            None if what is stored is not what this worker wanted to write.
        """
        job = claim.job
        stored = next(
            (one for one in await self._jobs.group(job.group_id) if one.id == job.id), None
        )
        if stored is None or stored.worker != self._worker_name:
            return None
        if not _is_outcome(stored, outcome, before=job):
            return None
        log.info("%s %s: %s, at an attempt before", stored.group_id, stored.name, stored.state)
        # A job that is queued says itself when it is due; its message comes back and is seen to.
        return _Leave() if stored.state is JobState.QUEUED else _Delete()

    # The message

    async def _let_go_of_message(self, claim: Claim, step: _MessageStep, ends: float) -> None:
        """Do the message's step. What cannot be done is left to its next delivery."""
        job = claim.job
        what = "removing" if isinstance(step, _Delete) else "releasing"
        try:
            await self._insist(
                f"{what} the message", job, ends, lambda: self._do_message_step(claim, step)
            )
        except Exception as error:
            # The outcome is written all the same.
            log.error(
                "%s %s: its outcome is stored; %s the message is left to its next delivery: %s",
                job.group_id,
                job.name,
                what,
                error,
                exc_info=error if is_unforeseen(error) else None,
            )

    async def _do_message_step(self, claim: Claim, step: _MessageStep) -> None:
        match step:
            case _Delete():
                await self._intake.delete(claim)
            case _ChangeVisibility(seconds):
                await self._intake.put_back(claim, seconds)
            case _LeaveToOthers(missing):
                await self._intake.leave_to_others(claim, missing)
            case _Leave():
                pass

    async def _insist(
        self, what: str, job: StoredJob, ends: float, attempt: Callable[[], Awaitable[T]]
    ) -> T:
        """Do something that a server may refuse for now, until it is done or time is over."""
        now = asyncio.get_running_loop().time
        trouble = Trouble(
            f"{what} of {job.group_id} {job.name}",
            log,
            first_seconds=self._timings.trouble_seconds,
            longest_seconds=self._timings.max_settle_wait_seconds,
        )
        while True:
            try:
                done = await attempt()
            except LeaseLost:
                raise
            except (StoreError, QueueError) as error:
                wait = trouble.failed(error)
                if now() + wait > ends:
                    raise
                await asyncio.sleep(wait)
            else:
                trouble.passed()
                return done


def _tell(claim: Claim, outcome: Outcome, what: str, level: int = logging.INFO) -> None:
    """Write the line of a job whose execution has ended."""
    job, seconds = claim.job, claim.seconds
    log.log(
        level,
        "%s %s: %s (%.2f s)",
        job.group_id,
        job.name,
        what,
        seconds,
        extra={
            "attempt": job.attempts,
            "outcome": outcome_word(outcome),
            "seconds": round(seconds, 3),
        },
    )


def _is_outcome(stored: StoredJob, outcome: Outcome, *, before: StoredJob) -> bool:
    """Tell whether a job as it is stored has come to an outcome."""
    match outcome:
        case Succeeded():
            return stored.state is JobState.SUCCEEDED and stored.result == outcome.result
        case Failed(failure):
            return stored.state is JobState.FAILED and stored.error_code == failure.code
        case DataMissing(failure, _):
            is_there = stored.state in (JobState.WAITING, JobState.FAILED)
            return is_there and stored.error_code == failure.code
        case AttemptFailed():
            is_there = stored.state in (JobState.QUEUED, JobState.FAILED)
            return is_there and stored.failures == before.failures + 1
        case NotComputed():
            return stored.state is JobState.QUEUED and stored.losses == before.losses
