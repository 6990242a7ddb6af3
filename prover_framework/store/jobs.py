"""Job groups, jobs and leases in the database.

Every change of a job's state is one conditional update (a compare-and-set): it names the states
it may start from, and a change under a lease also names the lease's token and requires that the
lease has not expired by the database's clock. What does not match changes nothing.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from attrs import field, frozen
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.expressions import F

from prover_framework.coalesce import Coalescer
from prover_framework.errors import GroupNotFound, LeaseLost
from prover_framework.jobs import CANCELLABLE, FINAL, REDRIVABLE, TAKEABLE, JobState, RetryPolicy
from prover_framework.store.database import Database
from prover_framework.store.engine import Connection
from prover_framework.store.models import Job, JobGroup

# How long a stored job may be without a message before a sweep sends one: longer than a send
# takes, so that the sweep does not repeat one that is under way.
UNSENT_MS = 10_000

# How long a sent message may go unanswered before a sweep sends another. A queue with a backlog
# is slow without having lost anything, so the time doubles with each send, up to a limit.
UNANSWERED_MS = 300_000
MAX_UNANSWERED_DOUBLINGS = 6

# Accepting jobs is what clients wait for, and making an ORM object costs more than its insertion.
INSERT_JOB = """
INSERT INTO job (id, group_id, proof_type, parameters, queue, state, not_before, due_at,
                 created_at, sends, attempts, failures, losses)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)
"""


@frozen
class NewJob:
    """A job to be stored.

    Args:
        id: Its unique id.
        proof_type: Name of the proof type.
        parameters: Its parameters, as canonical JSON text.
        queue: Name of the queue its message goes to.
        delay_seconds: How long no worker may begin it.
    """

    id: str
    proof_type: str
    parameters: str
    queue: str
    delay_seconds: float = 0.0


@frozen
class NewGroup:
    """A group to be stored with its jobs."""

    id: str
    jobs: tuple[NewJob, ...]


@frozen(kw_only=True)
class StoredJob:
    """A job as it stands in the database; times in milliseconds since the Unix epoch."""

    id: str
    group_id: str
    proof_type: str
    parameters: str
    queue: str
    state: JobState
    sends: int
    attempts: int
    failures: int
    losses: int
    not_before: int
    data_deadline: int | None
    lease_until: int | None
    worker: str | None
    error_code: str | None
    error_message: str | None
    result: str | None = field(repr=False)
    created_at: int
    queued_at: int | None
    started_at: int | None
    finished_at: int | None


@frozen
class Submitted:
    """What storing a group came to: its jobs, and whether this call stored them."""

    created: bool
    jobs: tuple[StoredJob, ...]


@frozen
class Lease:
    """A worker's right to one job. The token is what every later write has to show."""

    job_id: str
    token: str


@frozen
class Taken:
    """A worker has the job."""

    lease: Lease
    job: StoredJob


class Refusal(StrEnum):
    """Why a worker does not get a job."""

    UNKNOWN = "unknown"
    FINAL = "final"
    LEASED = "leased"
    NOT_DUE = "not due"
    WAITING = "waiting"


@frozen
class Refused:
    """A worker does not get the job.

    Args:
        refusal: Why.
        retry_in_seconds: When asking again makes sense; None when it never does.
    """

    refusal: Refusal
    retry_in_seconds: float | None = None


@frozen
class Failure:
    """Why a job failed, for programs and for people."""

    code: str
    message: str


@frozen
class Transition:
    """A job has changed its state, and the change is stored.

    Args:
        old: The state it was in; None for a job that is new.
        job: The job as the change left it.
        at_ms: When, by the database's clock.
    """

    old: JobState | None
    job: StoredJob
    at_ms: int


@frozen
class _Success:
    lease: Lease
    result: str


class _Changes:
    """The transitions of one transaction; where nobody asks for them they cost nothing."""

    def __init__(self, connection: BaseDBAsyncClient, *, wanted: bool) -> None:
        self.made: list[Transition] = []
        self._connection = connection
        self._wanted = wanted

    async def before(self, jobs: Any) -> dict[str, JobState]:
        """Lock the jobs of a query that is about to change them; return their states by id."""
        if not self._wanted:
            return {}
        states = jobs.select_for_update().values_list("id", "state")
        return {job_id: JobState(state) for job_id, state in await states}

    def note_new(self, jobs: Sequence[StoredJob], now: int) -> None:
        """Note jobs that have just been stored."""
        if self._wanted:
            self.made.extend(Transition(None, job, now) for job in jobs)

    async def note(self, old: JobState, ids: Sequence[str], now: int) -> None:
        """Note jobs whose state has just been changed."""
        await self.note_each(dict.fromkeys(ids, old), now)

    async def note_each(self, old: Mapping[str, JobState], now: int) -> None:
        """Note jobs whose state has just been changed from the given one."""
        if self._wanted and old:
            rows = await Job.filter(id__in=list(old)).using_db(self._connection)
            self.made.extend(Transition(old[row.id], _stored(row), now) for row in rows)


class JobStore:
    """Reads and changes jobs. Durations are in seconds, times in the database are its own.

    Args:
        database: Where they are.
        policy: When to try again, and when to give up.
        on_change: Told the transitions of each transaction once it is committed, if it made any.
            It must return at once.
    """

    def __init__(
        self,
        database: Database,
        policy: RetryPolicy,
        on_change: Callable[[Sequence[Transition]], None] | None = None,
    ) -> None:
        self._database = database
        self._policy = policy
        self._on_change = on_change
        self.submit: Coalescer[NewGroup, Submitted] = Coalescer(self._submit)
        self.mark_sent: Coalescer[Sequence[str], None] = Coalescer(self._mark_sent)
        self._take: Coalescer[tuple[str, str, float], Taken | Refused] = Coalescer(self._take_all)
        self._succeed: Coalescer[_Success, bool] = Coalescer(self._succeed_all)

    async def drain(self) -> None:
        """Wait until all that was handed in is committed."""
        for coalescer in (self.submit, self.mark_sent, self._take, self._succeed):
            await coalescer.drain()

    # Reading

    async def group(self, group_id: str) -> tuple[StoredJob, ...]:
        """Return the jobs of a group, in the order of its request.

        Raises:
            GroupNotFound: There is no such group.
        """
        async with self._database.reading() as reader:
            jobs = await Job.filter(group_id=group_id).using_db(reader)
        if not jobs:
            raise GroupNotFound(group_id)
        return tuple(_stored(job) for job in sorted(jobs, key=lambda job: job.id))

    async def groups(
        self, *, state: JobState | None = None, limit: int = 50
    ) -> list[tuple[StoredJob, ...]]:
        """Return the newest groups, or those of the newest with a job in ``state``."""
        async with self._database.reading() as reader:
            query = JobGroup.all().using_db(reader)
            if state is not None:
                query = query.filter(jobs__state=state).distinct()
            rows = await query.order_by("-created_at", "-id").limit(limit)
            jobs = await Job.filter(group_id__in=[row.id for row in rows]).using_db(reader)
        by_group: dict[str, list[StoredJob]] = {row.id: [] for row in rows}
        for job in sorted(jobs, key=lambda job: job.id):
            by_group[job.group_id].append(_stored(job))
        return [tuple(members) for members in by_group.values()]

    # Accepting and sending

    async def _submit(self, groups: Sequence[NewGroup]) -> list[Submitted]:
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            mark = secrets.token_hex(16)
            rows = {group.id: JobGroup(id=group.id, submission=mark, created_at=now)
                    for group in groups}  # fmt: skip
            await JobGroup.bulk_create(rows.values(), ignore_conflicts=True, using_db=connection)
            makers = dict(
                await JobGroup.filter(id__in=list(rows))
                .using_db(connection)
                .values_list("id", "submission")
            )
            made: dict[str, tuple[StoredJob, ...]] = {}
            for group in groups:
                if makers[group.id] == mark and group.id not in made:
                    made[group.id] = tuple(_new(group.id, job, now) for job in group.jobs)
            await connection.run_many(
                INSERT_JOB, [_row(job) for jobs in made.values() for job in jobs]
            )
            changes.note_new([job for jobs in made.values() for job in jobs], now)
            return [
                Submitted(created=True, jobs=made.pop(group.id))
                if group.id in made
                else Submitted(
                    created=False,
                    jobs=tuple(
                        map(
                            _stored,
                            await Job.filter(group_id=group.id).using_db(connection).order_by("id"),
                        )
                    ),
                )
                for group in groups
            ]

    async def _mark_sent(self, batches: Sequence[Sequence[str]]) -> list[None]:
        ids = [job_id for batch in batches for job_id in batch]
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            # A worker may have been faster: then the job is past pending and stays so.
            pending = Job.filter(id__in=ids, state=JobState.PENDING).using_db(connection)
            before = await changes.before(pending)
            held_back = await pending.filter(not_before__gt=now).update(
                state=JobState.QUEUED,
                queued_at=now,
                sends=F("sends") + 1,
                due_at=F("not_before") + UNANSWERED_MS,
            )
            first = await pending.update(
                state=JobState.QUEUED,
                queued_at=now,
                sends=F("sends") + 1,
                due_at=now + UNANSWERED_MS,
            )
            await changes.note_each(before, now)
            if held_back + first < len(ids):
                await self._mark_sent_again(connection, now, ids)
        return [None] * len(batches)

    async def _mark_sent_again(
        self, connection: BaseDBAsyncClient, now: int, ids: Sequence[str]
    ) -> None:
        """Give the messages that a sweep sent their time to be answered."""
        queued = Job.filter(id__in=ids, state=JobState.QUEUED, sends__gt=1, due_at__gt=now)
        for job in await queued.using_db(connection):
            doublings = min(job.sends - 1, MAX_UNANSWERED_DOUBLINGS)
            await (
                Job.filter(id=job.id)
                .using_db(connection)
                .update(due_at=max(now, job.not_before) + (UNANSWERED_MS << doublings))
            )

    # Leases

    async def take(self, job_id: str, *, worker: str, lease_seconds: float) -> Taken | Refused:
        """Give a job to a worker, if it is to be had."""
        return await self._take((job_id, worker, lease_seconds))

    async def _take_all(self, wishes: Sequence[tuple[str, str, float]]) -> list[Taken | Refused]:
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            return [
                await self._take_one(connection, changes, now, job_id, worker, lease_seconds)
                for job_id, worker, lease_seconds in wishes
            ]

    async def _take_one(
        self,
        connection: BaseDBAsyncClient,
        changes: _Changes,
        now: int,
        job_id: str,
        worker: str,
        lease_seconds: float,
    ) -> Taken | Refused:
        job = await Job.get_or_none(id=job_id, using_db=connection)
        if job is not None and _expired(job, now):
            await self._count_loss(connection, changes, job, now)
            job = await Job.get(id=job_id, using_db=connection)
        if job is None:
            return Refused(Refusal.UNKNOWN)
        state = JobState(job.state)
        if state in FINAL:
            return Refused(Refusal.FINAL)
        if state is JobState.RUNNING and job.lease_until is not None:
            return Refused(Refusal.LEASED, (job.lease_until - now) / 1000)
        if state is JobState.WAITING:
            return Refused(Refusal.WAITING)
        if job.not_before > now:
            return Refused(Refusal.NOT_DUE, (job.not_before - now) / 1000)
        token = secrets.token_hex(16)
        taken = await (
            Job.filter(id=job_id, state__in=TAKEABLE)
            .using_db(connection)
            .update(
                state=JobState.RUNNING,
                attempts=F("attempts") + 1,
                lease_token=token,
                lease_until=now + round(lease_seconds * 1000),
                worker=worker,
                started_at=now,
                due_at=None,
                error_code=None,
                error_message=None,
            )
        )
        if not taken:
            return Refused(Refusal.LEASED, lease_seconds)
        await changes.note(state, [job_id], now)
        return Taken(Lease(job_id, token), _stored(job))

    async def extend(self, leases: Sequence[Lease], *, lease_seconds: float) -> list[Lease]:
        """Extend leases by a sign of life; return those that are lost."""
        lost: list[Lease] = []
        async with self._database.transaction() as connection:
            now = await self._database.now_ms(connection)
            for lease in leases:
                until = now + round(lease_seconds * 1000)
                if not await _held(connection, lease, now).update(lease_until=until):
                    lost.append(lease)
        return lost

    async def give_back(self, lease: Lease) -> None:
        """Return a job unfinished and uncounted, for another worker to take at once.

        Raises:
            LeaseLost: The lease was no longer held.
        """
        await self._write(
            lease, state=JobState.QUEUED, attempts=F("attempts") - 1, due_in_ms=UNANSWERED_MS
        )

    # Outcomes

    async def succeed(self, lease: Lease, result: str) -> None:
        """Store the result, as JSON text.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        if not await self._succeed(_Success(lease, result)):
            raise _lost(lease)

    async def _succeed_all(self, successes: Sequence[_Success]) -> list[bool]:
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            stored = [
                bool(
                    await _held(connection, success.lease, now).update(
                        state=JobState.SUCCEEDED,
                        result=success.result,
                        finished_at=now,
                        lease_token=None,
                        lease_until=None,
                    )
                )
                for success in successes
            ]
            ended = [s.lease.job_id for s, done in zip(successes, stored, strict=True) if done]
            await changes.note(JobState.RUNNING, ended, now)
            return stored

    async def fail(self, lease: Lease, failure: Failure) -> None:
        """End a job with an error that no retry can help.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        await self._write(
            lease,
            state=JobState.FAILED,
            error_code=failure.code,
            error_message=failure.message,
            finished=True,
        )

    async def retry(self, lease: Lease, failure: Failure, *, jitter: float) -> float | None:
        """Count a failed computation, and queue the job again while its budget lasts.

        Args:
            lease: The lease the computation ran under.
            failure: How it failed.
            jitter: A random number in [0, 1).

        Returns:
            The seconds until the retry; None when the budget is used up and the job has failed.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            job = await _held(connection, lease, now).first()
            if job is None:
                raise _lost(lease)
            failures = job.failures + 1
            if failures >= self._policy.max_attempts:
                await _held(connection, lease, now).update(
                    state=JobState.FAILED,
                    failures=failures,
                    error_code=failure.code,
                    error_message=f"{failure.message} (failed {failures} times, the limit)",
                    finished_at=now,
                    lease_token=None,
                    lease_until=None,
                )
                await changes.note(JobState.RUNNING, [job.id], now)
                return None
            delay = self._policy.delay_seconds(failures, jitter)
            not_before = now + round(delay * 1000)
            await _held(connection, lease, now).update(
                state=JobState.QUEUED,
                failures=failures,
                error_code=failure.code,
                error_message=failure.message,
                not_before=not_before,
                due_at=not_before + UNSENT_MS,
                lease_token=None,
                lease_until=None,
            )
            await changes.note(JobState.RUNNING, [job.id], now)
            return delay

    async def wait(
        self, lease: Lease, failure: Failure, *, poll_seconds: float, deadline_seconds: float
    ) -> bool:
        """Let a job wait for data, or fail it when it has waited as long as it may.

        Returns:
            Whether it waits.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            job = await _held(connection, lease, now).first()
            if job is None:
                raise _lost(lease)
            deadline = job.data_deadline or now + round(deadline_seconds * 1000)
            ended: dict[str, Any] = {"lease_token": None, "lease_until": None}
            if now >= deadline:
                await _held(connection, lease, now).update(
                    state=JobState.FAILED,
                    error_code=failure.code,
                    error_message=f"{failure.message}; it did not come within the time allowed",
                    finished_at=now,
                    **ended,
                )
                await changes.note(JobState.RUNNING, [job.id], now)
                return False
            again = min(now + round(poll_seconds * 1000), deadline)
            await _held(connection, lease, now).update(
                state=JobState.WAITING,
                # Looking for data in vain is no attempt at computing.
                attempts=F("attempts") - 1,
                error_code=failure.code,
                error_message=failure.message,
                data_deadline=deadline,
                not_before=again,
                due_at=again,
                **ended,
            )
            await changes.note(JobState.RUNNING, [job.id], now)
            return True

    # Sweeping and operating

    async def sweep(self, limit: int) -> list[StoredJob]:
        """Free expired leases and return the jobs whose message has to be sent (again).

        The jobs are not due for the time that a send takes, so that two sweepers do not both send
        for one. When the send fails, or the sweeper dies before it, they are due after that;
        `mark_sent` gives the message that was sent its time to be answered.
        """
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            expired = (
                await Job.filter(state=JobState.RUNNING, lease_until__lte=now)
                .using_db(connection)
                .limit(limit)
            )
            for job in expired:
                await self._count_loss(connection, changes, job, now)
            due = (
                await Job.filter(
                    state__in=(JobState.PENDING, JobState.QUEUED, JobState.WAITING), due_at__lte=now
                )
                .using_db(connection)
                .order_by("due_at")
                .limit(limit)
            )
            ids = [job.id for job in due]
            waiting = Job.filter(id__in=ids, state=JobState.WAITING).using_db(connection)
            before = await changes.before(waiting)
            await waiting.update(state=JobState.QUEUED, queued_at=now)
            await changes.note_each(before, now)
            for job in due:
                await (
                    Job.filter(id=job.id, state__in=TAKEABLE)
                    .using_db(connection)
                    .update(due_at=now + UNSENT_MS, sends=F("sends") + 1)
                )
            fresh = await Job.filter(id__in=ids, state__in=TAKEABLE).using_db(connection)
            return [_stored(job) for job in fresh]

    async def wake_waiting(self) -> int:
        """Make every waiting job due at once, since new headers came; return how many."""
        async with self._database.transaction() as connection:
            now = await self._database.now_ms(connection)
            return await (
                Job.filter(state=JobState.WAITING)
                .using_db(connection)
                .update(not_before=now, due_at=now)
            )

    async def cancel(self, group_id: str) -> tuple[StoredJob, ...]:
        """Cancel the jobs of a group that are not final; return all of them as they are then.

        Raises:
            GroupNotFound: There is no such group.
        """
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            live = Job.filter(group_id=group_id, state__in=CANCELLABLE).using_db(connection)
            before = await changes.before(live)
            await live.update(
                state=JobState.CANCELLED,
                finished_at=now,
                error_code=None,
                error_message=None,
                due_at=None,
                lease_token=None,
                lease_until=None,
            )
            await changes.note_each(before, now)
        return await self.group(group_id)

    async def redrive(self, group_id: str) -> tuple[StoredJob, ...]:
        """Give the failed and cancelled jobs of a group a new life, with new budgets.

        Raises:
            GroupNotFound: There is no such group.
        """
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            ended = Job.filter(group_id=group_id, state__in=REDRIVABLE).using_db(connection)
            before = await changes.before(ended)
            await ended.update(
                state=JobState.PENDING,
                failures=0,
                losses=0,
                not_before=now,
                due_at=now,
                data_deadline=None,
                error_code=None,
                error_message=None,
                finished_at=None,
            )
            await changes.note_each(before, now)
        return await self.group(group_id)

    async def _count_loss(
        self, connection: BaseDBAsyncClient, changes: _Changes, job: Job, now: int
    ) -> None:
        """Free a job whose worker let the lease expire, or end it after too many of them."""
        losses = job.losses + 1
        fields: dict[str, Any] = {"losses": losses, "lease_token": None, "lease_until": None}
        if losses >= self._policy.max_losses:
            fields |= {
                "state": JobState.FAILED,
                "error_code": "worker_lost",
                "error_message": f"its worker was lost {losses} times, the limit; "
                f"the last was {job.worker}",
                "finished_at": now,
            }
        else:
            fields |= {"state": JobState.QUEUED, "not_before": now, "due_at": now}
        freed = await (
            Job.filter(id=job.id, state=JobState.RUNNING, lease_token=job.lease_token)
            .using_db(connection)
            .update(**fields)
        )
        if freed:
            await changes.note(JobState.RUNNING, [job.id], now)

    async def _write(
        self,
        lease: Lease,
        *,
        finished: bool = False,
        due_in_ms: int | None = None,
        **fields: Any,
    ) -> None:
        async with self._changing() as (connection, changes):
            now = await self._database.now_ms(connection)
            if finished:
                fields["finished_at"] = now
            if due_in_ms is not None:
                fields["due_at"] = now + due_in_ms
            if not await _held(connection, lease, now).update(
                lease_token=None, lease_until=None, **fields
            ):
                raise _lost(lease)
            await changes.note(JobState.RUNNING, [lease.job_id], now)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[tuple[Connection, _Changes]]:
        """Run the body in a transaction, and tell what it changed once that is committed."""
        async with self._database.transaction() as connection:
            changes = _Changes(connection, wanted=self._on_change is not None)
            yield connection, changes
        if self._on_change is not None and changes.made:
            self._on_change(changes.made)


def _held(connection: BaseDBAsyncClient, lease: Lease, now: int) -> Any:
    """Select the job if, and only if, the lease is valid."""
    return Job.filter(
        id=lease.job_id,
        state=JobState.RUNNING,
        lease_token=lease.token,
        lease_until__gt=now,
    ).using_db(connection)


def _expired(job: Job, now: int) -> bool:
    return job.state == JobState.RUNNING and job.lease_until is not None and job.lease_until <= now


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease on job {lease.job_id} is no longer held; nothing was written")


def _new(group_id: str, job: NewJob, now: int) -> StoredJob:
    return StoredJob(
        id=job.id,
        group_id=group_id,
        proof_type=job.proof_type,
        parameters=job.parameters,
        queue=job.queue,
        state=JobState.PENDING,
        sends=0,
        attempts=0,
        failures=0,
        losses=0,
        not_before=now + round(job.delay_seconds * 1000),
        data_deadline=None,
        lease_until=None,
        worker=None,
        error_code=None,
        error_message=None,
        result=None,
        created_at=now,
        queued_at=None,
        started_at=None,
        finished_at=None,
    )


def _row(job: StoredJob) -> list[Any]:
    """Return the values of a new job for `INSERT_JOB`."""
    return [
        job.id,
        job.group_id,
        job.proof_type,
        job.parameters,
        job.queue,
        job.state.value,
        job.not_before,
        job.not_before + UNSENT_MS,
        job.created_at,
    ]


def _stored(job: Job) -> StoredJob:
    return StoredJob(
        id=job.id,
        group_id=job.group_id,
        proof_type=job.proof_type,
        parameters=job.parameters,
        queue=job.queue,
        state=JobState(job.state),
        sends=job.sends,
        attempts=job.attempts,
        failures=job.failures,
        losses=job.losses,
        not_before=job.not_before,
        data_deadline=job.data_deadline,
        lease_until=job.lease_until,
        worker=job.worker,
        error_code=job.error_code,
        error_message=job.error_message,
        result=job.result,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
