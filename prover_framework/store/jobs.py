"""Job groups, jobs and leases in the database.

Every change of a job's state is one conditional update (a compare-and-set): it names the states
it may start from, and a change under a lease also names the lease's token and requires that the
lease has not expired by the database's clock. What does not match changes nothing.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import attrs
from attrs import field, frozen

from prover_framework.coalesce import Coalescer
from prover_framework.errors import GroupNotFound, LeaseLost
from prover_framework.jobs import FINAL, JobState, RetryPolicy
from prover_framework.store.database import Database
from prover_framework.store.engine import Connection, Row, rows_value, storable
from prover_framework.store.job_statements import (
    ADOPT,
    CANCEL,
    COLUMNS,
    COUNT_LOSSES,
    DUE,
    EXPIRED,
    EXTEND,
    FAIL,
    FIELDS,
    GIVE_BACK,
    INSERT_GROUPS,
    INSERT_JOB,
    INSERT_SEALS,
    JOB_OF_TYPE,
    JOBS_BY_ID,
    JOBS_OF_GROUPS,
    LEAVE_TO_SWEEP,
    LOCK_GROUP,
    LOCK_HELD,
    LOCK_JOBS,
    MARK_SENT,
    NEWEST_GROUPS,
    NEWEST_GROUPS_WITH,
    PUT,
    REDRIVE,
    SUCCEED,
    SWEEP,
    TAKE,
    UNSENT_MS,
    WAKE,
)


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
    state: JobState = field(converter=JobState)
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
    receipt: str | None = field(repr=False)
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
class _Wish:
    """A worker's wish for a job, and the token that it gets with it."""

    job_id: str
    worker: str
    lease_ms: int
    token: str = field(factory=lambda: secrets.token_hex(16))

    @property
    def lease(self) -> Lease:
        return Lease(self.job_id, self.token)

    def row(self) -> dict[str, object]:
        return {
            "job_id": self.job_id,
            "token": self.token,
            "holder": self.worker,
            "lease_ms": self.lease_ms,
        }


@frozen
class StoredSeal:
    """A seal of a receipt: its kind, and its document as JSON text."""

    kind: str
    document: str


@frozen
class _Success:
    lease: Lease
    result: str
    receipt: str | None
    seals: Sequence[StoredSeal]

    def row(self) -> dict[str, object]:
        return {
            "job_id": self.lease.job_id,
            "token": self.lease.token,
            "outcome": self.result,
            "evidence": self.receipt,
        }

    def seal_rows(self) -> list[dict[str, object]]:
        return [
            {"job_id": self.lease.job_id, "kind": seal.kind, "document": seal.document}
            for seal in self.seals
        ]


class _Changes:
    """The transitions of one transaction; where nobody asks for them they cost nothing."""

    def __init__(self, connection: Connection, *, wanted: bool) -> None:
        self.made: list[Transition] = []
        self._connection = connection
        self._wanted = wanted

    async def before(self, ids: Sequence[str]) -> dict[str, JobState]:
        """Lock jobs that are about to be changed; return their states by id."""
        if not self._wanted:
            return {}
        return _states(await self._connection.fetch(LOCK_JOBS, [ids]))

    def note_new(self, jobs: Sequence[StoredJob]) -> None:
        """Note jobs that have just been stored."""
        if self._wanted:
            self.made.extend(Transition(None, job, job.created_at) for job in jobs)

    async def note(self, old: Mapping[str, JobState]) -> None:
        """Note those of some jobs that have left the states they were in."""
        if not self._wanted or not old:
            return
        (now,) = await self._connection.fetch("SELECT NOW_MS AS now")
        for job in map(_stored, await self._connection.fetch(JOBS_BY_ID, [list(old)])):
            if job.state is not old[job.id]:
                self.made.append(Transition(old[job.id], job, now["now"]))


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
        self._take: Coalescer[_Wish, Taken | Refused] = Coalescer(self._take_all)
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
        rows = await self._database.read(JOBS_OF_GROUPS, [[group_id]])
        if not rows:
            raise GroupNotFound(group_id)
        return tuple(map(_stored, rows))

    async def groups(
        self, *, state: JobState | None = None, limit: int = 50
    ) -> list[tuple[StoredJob, ...]]:
        """Return the newest groups, or those of the newest with a job in ``state``."""
        if state is None:
            found = await self._database.read(NEWEST_GROUPS, [limit])
        else:
            found = await self._database.read(NEWEST_GROUPS_WITH, [state, limit])
        jobs = await self._database.read(JOBS_OF_GROUPS, [[row["id"] for row in found]])
        by_group: dict[str, list[StoredJob]] = {row["id"]: [] for row in found}
        for job in map(_stored, jobs):
            by_group[job.group_id].append(job)
        return [tuple(members) for members in by_group.values()]

    # Accepting and sending

    async def _submit(self, groups: Sequence[NewGroup]) -> list[Submitted]:
        async with self._changing() as (connection, changes):
            # In the order of their ids: of two processes that store the same groups at once, one
            # waits for the other, and not each for the other.
            wanted = sorted({group.id for group in groups})
            fresh = [{"group_id": group_id} for group_id in wanted]
            stored = await connection.fetch(
                INSERT_GROUPS, [secrets.token_hex(16), rows_value(fresh)]
            )
            created = {row["id"]: row["created_at"] for row in stored}
            made: dict[str, tuple[StoredJob, ...]] = {}
            for group in groups:
                if group.id in created and group.id not in made:
                    at = created[group.id]
                    made[group.id] = tuple(_new(group.id, job, at) for job in group.jobs)
            jobs = [job for members in made.values() for job in members]
            await connection.run_many(INSERT_JOB, [_row(job) for job in jobs])
            changes.note_new(jobs)
            repeated: dict[str, list[StoredJob]] = {}
            if len(made) < len(groups):
                for row in await connection.fetch(JOBS_OF_GROUPS, [wanted]):
                    repeated.setdefault(row["group_id"], []).append(_stored(row))
            return [
                Submitted(created=True, jobs=made.pop(group.id))
                if group.id in made
                else Submitted(created=False, jobs=tuple(repeated[group.id]))
                for group in groups
            ]

    async def adopt(self, group_id: str, job: NewJob) -> StoredJob:
        """Return the job of a group that has this proof type; store the given one if none has.

        The group is made if it does not exist. Of several who adopt at once, one stores a job and
        all of them get it.
        """
        async with self._changing() as (connection, changes):
            fresh = rows_value([{"group_id": group_id}])
            await connection.fetch(INSERT_GROUPS, [secrets.token_hex(16), fresh])
            new = _new(group_id, job, await self._database.now_ms(connection))
            stored = list(map(_stored, await connection.fetch(ADOPT, _row(new))))
            changes.note_new(stored)
            if not stored:
                found = await connection.fetch(JOB_OF_TYPE, [group_id, job.proof_type])
                stored = list(map(_stored, found))
            return stored[0]

    async def _mark_sent(self, batches: Sequence[Sequence[str]]) -> list[None]:
        ids = [job_id for batch in batches for job_id in batch]
        await self._change(ids, MARK_SENT, [ids])
        return [None] * len(batches)

    # Leases

    async def take(self, job_id: str, *, worker: str, lease_seconds: float) -> Taken | Refused:
        """Give a job to a worker, if it is to be had."""
        return await self._take(_Wish(job_id, worker, round(lease_seconds * 1000)))

    async def _take_all(self, wishes: Sequence[_Wish]) -> list[Taken | Refused]:
        ids = [wish.job_id for wish in wishes]
        values = [ids, rows_value([wish.row() for wish in wishes])]
        rows = await self._change(ids, TAKE, values, COLUMNS)
        taken = {row["lease_token"]: _stored(row) for row in rows}
        others = [wish for wish in wishes if wish.token not in taken]
        answers: dict[str, Taken | Refused] = {}
        if others:
            async with self._changing() as (connection, changes):
                # All of them at once and in order: two workers must not each hold what the other
                # waits for.
                await connection.fetch(LOCK_JOBS, [[wish.job_id for wish in others]])
                for wish in others:
                    answers[wish.token] = await self._take_one(connection, changes, wish)
        return [
            Taken(wish.lease, taken[wish.token]) if wish.token in taken else answers[wish.token]
            for wish in wishes
        ]

    async def _take_one(
        self, connection: Connection, changes: _Changes, wish: _Wish
    ) -> Taken | Refused:
        """Take over a job whose worker is lost, or say why it is not to be had."""
        ids = [wish.job_id]
        now = await self._database.now_ms(connection)
        rows = await connection.fetch(JOBS_BY_ID, [ids])
        if rows and _expired(_stored(rows[0]), now):
            await self._count_losses(connection, changes, ids)
            rows = await connection.fetch(JOBS_BY_ID, [ids])
        if not rows:
            return Refused(Refusal.UNKNOWN)
        job = _stored(rows[0])
        if job.state in FINAL:
            return Refused(Refusal.FINAL)
        if job.state is JobState.RUNNING and job.lease_until is not None:
            return Refused(Refusal.LEASED, (job.lease_until - now) / 1000)
        if job.state is JobState.WAITING:
            return Refused(Refusal.WAITING)
        if job.not_before > now:
            return Refused(Refusal.NOT_DUE, (job.not_before - now) / 1000)
        (row,) = await connection.fetch(
            f"{TAKE} RETURNING {COLUMNS}", [ids, rows_value([wish.row()])]
        )
        await changes.note({job.id: job.state})
        return Taken(wish.lease, _stored(row))

    async def extend(self, leases: Sequence[Lease], *, lease_seconds: float) -> list[Lease]:
        """Extend leases by a sign of life; return those that are lost."""
        held = await self._database.write(
            EXTEND,
            [
                [lease.job_id for lease in leases],
                round(lease_seconds * 1000),
                rows_value([{"job_id": lease.job_id, "token": lease.token} for lease in leases]),
            ],
        )
        tokens = {row["lease_token"] for row in held}
        return [lease for lease in leases if lease.token not in tokens]

    async def give_back(self, lease: Lease) -> None:
        """Return a job unfinished and uncounted, for another worker to take at once.

        Raises:
            LeaseLost: The lease was no longer held.
        """
        await self._end_lease(lease, GIVE_BACK)

    # Outcomes

    async def succeed(
        self,
        lease: Lease,
        result: str,
        receipt: str | None = None,
        seals: Sequence[StoredSeal] = (),
    ) -> None:
        """Store the result, its receipt and the seals of that, all together or nothing.

        Args:
            lease: The lease the computation ran under.
            result: The result, as JSON text.
            receipt: The receipt without its seals, as JSON text.
            seals: Its seals, at most one of each kind.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        if not await self._succeed(_Success(lease, result, receipt, seals)):
            raise _lost(lease)

    async def _succeed_all(self, successes: Sequence[_Success]) -> list[bool]:
        ids = [success.lease.job_id for success in successes]
        if len(set(ids)) < len(ids):
            # Two leases of one job, of which one is lost: what is returned could not tell which.
            return [done for one in successes for done in await self._succeed_all([one])]
        values = [ids, rows_value([success.row() for success in successes])]
        if not any(success.seals for success in successes):
            stored = await self._change(ids, SUCCEED, values)
            ended = {row["id"] for row in stored}
            return [success.lease.job_id in ended for success in successes]
        async with self._changing() as (connection, changes):
            before = await changes.before(ids)
            stored = await connection.fetch(f"{SUCCEED} RETURNING id", values)
            ended = {row["id"] for row in stored}
            done = [success.lease.job_id in ended for success in successes]
            seals = [
                row
                for success, stored_now in zip(successes, done, strict=True)
                if stored_now
                for row in success.seal_rows()
            ]
            await connection.fetch(INSERT_SEALS, [rows_value(seals)])
            await changes.note(before)
            return done

    async def fail(self, lease: Lease, failure: Failure) -> None:
        """End a job with an error that no retry can help.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        await self._end_lease(lease, FAIL, failure.code, storable(failure.message))

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
            now, job = await self._held(connection, lease)
            failures = job.failures + 1
            failed = failures >= self._policy.max_attempts
            delay = self._policy.delay_seconds(failures, jitter)
            not_before = now + round(delay * 1000)
            suffix = f" (failed {failures} times, the limit)" if failed else ""
            await self._put(
                connection,
                attrs.evolve(
                    job,
                    state=JobState.FAILED if failed else JobState.QUEUED,
                    failures=failures,
                    error_code=failure.code,
                    error_message=f"{failure.message}{suffix}",
                    not_before=job.not_before if failed else not_before,
                    finished_at=now if failed else None,
                ),
                due_at=None if failed else not_before + UNSENT_MS,
            )
            await changes.note({job.id: job.state})
            return None if failed else delay

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
            now, job = await self._held(connection, lease)
            deadline = job.data_deadline or now + round(deadline_seconds * 1000)
            failed = now >= deadline
            again = min(now + round(poll_seconds * 1000), deadline)
            suffix = "; it did not come within the time allowed" if failed else ""
            await self._put(
                connection,
                attrs.evolve(
                    job,
                    state=JobState.FAILED if failed else JobState.WAITING,
                    # Looking for data in vain is no attempt at computing.
                    attempts=job.attempts if failed else job.attempts - 1,
                    error_code=failure.code,
                    error_message=f"{failure.message}{suffix}",
                    data_deadline=deadline,
                    not_before=job.not_before if failed else again,
                    finished_at=now if failed else None,
                ),
                due_at=None if failed else again,
            )
            await changes.note({job.id: job.state})
            return not failed

    # Sweeping and operating

    async def sweep(self, limit: int) -> list[StoredJob]:
        """Free expired leases and return the jobs whose message has to be sent (again).

        The jobs are not due for the time that a send takes, so that two sweepers do not both send
        for one. When the send fails, or the sweeper dies before it, they are due after that;
        `mark_sent` gives the message that was sent its time to be answered.
        """
        async with self._changing() as (connection, changes):
            expired = await connection.fetch(EXPIRED, [limit])
            await self._count_losses(connection, changes, [row["id"] for row in expired])
            before = _states(await connection.fetch(DUE, [limit]))
            if not before:
                return []
            swept = await connection.fetch(f"{SWEEP} RETURNING {COLUMNS}", [UNSENT_MS, [*before]])
            await changes.note(before)
            return list(map(_stored, swept))

    async def leave_to_sweep(self, job_id: str) -> None:
        """See to it that a job without a message is sent one when it may begin, and not later."""
        await self._database.write(LEAVE_TO_SWEEP, [job_id])

    async def wake_waiting(self) -> int:
        """Make every waiting job due at once, since new headers came; return how many."""
        return len(await self._database.write(WAKE))

    async def cancel(self, group_id: str) -> tuple[StoredJob, ...]:
        """Cancel the jobs of a group that are not final; return all of them as they are then.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._change_group(group_id, CANCEL)

    async def redrive(self, group_id: str) -> tuple[StoredJob, ...]:
        """Give the failed and cancelled jobs of a group a new life, with new budgets.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._change_group(group_id, REDRIVE)

    async def _change_group(self, group_id: str, statement: str) -> tuple[StoredJob, ...]:
        async with self._changing() as (connection, changes):
            before = _states(await connection.fetch(LOCK_GROUP, [group_id]))
            await connection.fetch(statement, [group_id])
            await changes.note(before)
        return await self.group(group_id)

    async def _count_losses(
        self, connection: Connection, changes: _Changes, ids: Sequence[str]
    ) -> None:
        """Free locked jobs whose workers let the lease expire; end those that lost too many."""
        if ids:
            await connection.fetch(COUNT_LOSSES, [self._policy.max_losses] * 6 + [ids])
            await changes.note(dict.fromkeys(ids, JobState.RUNNING))

    async def _change(
        self, ids: Sequence[str], statement: str, values: Sequence[object], columns: str = "id"
    ) -> Sequence[Row]:
        """Change jobs by one statement; return columns of those that it changed."""
        statement = f"{statement} RETURNING {columns}"
        if self._on_change is None:
            return await self._database.write(statement, values)
        async with self._changing() as (connection, changes):
            before = await changes.before(ids)
            rows = await connection.fetch(statement, values)
            await changes.note(before)
            return rows

    async def _end_lease(self, lease: Lease, statement: str, *values: object) -> None:
        ids = [lease.job_id]
        if not await self._change(ids, statement, [ids, *values, lease.token]):
            raise _lost(lease)

    async def _held(self, connection: Connection, lease: Lease) -> tuple[int, StoredJob]:
        """Lock a job and return it with the time, provided that the lease is valid then."""
        rows = await connection.fetch(LOCK_HELD, [lease.job_id, lease.token])
        now = await self._database.now_ms(connection)
        job = _stored(rows[0]) if rows else None
        if job is None or job.lease_until is None or job.lease_until <= now:
            raise _lost(lease)
        return now, job

    async def _put(self, connection: Connection, job: StoredJob, *, due_at: int | None) -> None:
        """Write what has become of a locked job whose lease ends."""
        await connection.fetch(
            PUT,
            [
                job.state,
                job.attempts,
                job.failures,
                job.error_code,
                storable(job.error_message or ""),
                job.data_deadline,
                job.not_before,
                due_at,
                job.finished_at,
                job.id,
            ],
        )

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[tuple[Connection, _Changes]]:
        """Run the body in a transaction, and tell what it changed once that is committed."""
        async with self._database.transaction() as connection:
            changes = _Changes(connection, wanted=self._on_change is not None)
            yield connection, changes
        if self._on_change is not None and changes.made:
            self._on_change(changes.made)


def _states(rows: Sequence[Row]) -> dict[str, JobState]:
    return {row["id"]: JobState(row["state"]) for row in rows}


def _expired(job: StoredJob, now: int) -> bool:
    return job.state is JobState.RUNNING and job.lease_until is not None and job.lease_until <= now


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
        receipt=None,
        created_at=now,
        queued_at=None,
        started_at=None,
        finished_at=None,
    )


def _row(job: StoredJob) -> list[object]:
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


def _stored(row: Row) -> StoredJob:
    return StoredJob(**dict(zip(FIELDS, row, strict=False)))
