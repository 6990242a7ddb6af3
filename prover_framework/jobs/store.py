"""Job groups, jobs and leases in the database.

Every change of a job's state is one conditional update (a compare-and-set): it names the states
it may start from, and a change under a lease also names the lease's token and requires that the
lease has not expired by the database's clock. What does not match changes nothing.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from prover_framework.database.batching import Batcher, Company
from prover_framework.database.database import Database
from prover_framework.database.engine import Connection, Row, Statements, rows_value, storable
from prover_framework.errors import DependencyNotYet, GroupNotFound, LeaseLost
from prover_framework.jobs.attempts import AttemptStore
from prover_framework.jobs.changes import (
    BindGroups,
    Changes,
    PublishEvents,
    ended_groups,
    states_of,
)
from prover_framework.jobs.lanes import ReadyLane, Rounds, Turn, in_turn
from prover_framework.jobs.listing import GroupListing
from prover_framework.jobs.news import News
from prover_framework.jobs.records import (
    Failure,
    GroupStage,
    Lease,
    NewGroup,
    NewJob,
    Refusal,
    Refused,
    StoredJob,
    Submitted,
    Taken,
    Transition,
    stored_job,
)
from prover_framework.jobs.removal import Removal
from prover_framework.jobs.seal_sql import QUEUE_FOR_JOBS
from prover_framework.jobs.seals import NewSeal, SealJobStore, StoredSeal
from prover_framework.jobs.sql import (
    CANCEL,
    COLUMNS,
    COUNT_OPEN,
    COUNT_RUNNING,
    COUNT_TAKEABLE,
    DUE,
    ENQUEUE,
    EXTEND,
    FAIL,
    GOING_ON,
    INSERT_DEPENDENCY,
    INSERT_GROUPS,
    INSERT_JOB,
    INSERT_SEALS,
    JOB_OF_NAME,
    JOBS_BY_ID,
    JOBS_OF_GROUPS,
    LEAVE_TO_OTHERS,
    LEAVE_TO_SWEEP,
    LOCK_GROUP,
    LOCK_HELD,
    LOCK_JOBS,
    LOOK_LATER,
    MAKE_READY,
    MARK_SENT,
    NOTE_LEFT,
    NOTE_PROGRESS,
    OPEN_GROUPS_OF_KEY,
    PUBLISH,
    PUT,
    READY_LANES,
    REDRIVE,
    RELEASE,
    RESTED_ON,
    RUNNING_TYPES,
    SUCCEED,
    SUCCEED_AS_LAST,
    SWEEP,
    TAKE,
    TAKE_THESE,
    UNSENT_MS,
    WAKE,
    WAKE_LEFT,
    choose_ready,
    take_ready,
)
from prover_framework.jobs.workers import WorkerStore
from prover_framework.model.jobs import FINAL, JobState, RetryPolicy
from prover_framework.model.names import group_id_of, namespace_of
from prover_framework.model.priorities import lane_of
from prover_framework.model.work import Progress
from prover_framework.queues.base import QueueStatus

T = TypeVar("T")

# To store one result takes a commit and as many statements as to store ten. Where so many come,
# each waits a moment for others; no slot waits with it.
MORE_RESULTS = Company(aim=16, least=4, seconds=0.02)

# How often a worker that wants jobs looks for some, where others take what it has found.
MOST_LOOKS = 3


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
class _Success:
    lease: Lease
    result: str
    receipt: str | None
    seals: Sequence[StoredSeal]
    later: Sequence[NewSeal]
    has_dependents: bool
    attachments: Sequence[str]

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

    def later_rows(self) -> list[dict[str, object]]:
        return [
            {"job_id": self.lease.job_id, "kind": seal.kind, "digest": seal.digest}
            for seal in self.later
        ]


class JobStore:
    """Reads and changes jobs. Durations are in seconds, times in the database are its own.

    Args:
        database: Where they are.
        policy: When to try again, and when to give up.
        on_change: Told the transitions of each transaction once it is committed, if it made any.
            It must return at once.
        by_messages: Whether workers are woken by messages; else the table itself is the queue, and
            they take what is ready by `take_ready`.
        on_losses: Told how many leases were found to have expired, once that is committed.
        bind: Makes the receipts of groups that end by a result, in the same transaction.
        publish: Numbers the events of groups that end, in the same transaction; for a database
            that has one writer at a time, see `prover_framework.jobs.outbox`.
    """

    def __init__(
        self,
        database: Database,
        policy: RetryPolicy,
        on_change: Callable[[Sequence[Transition]], None] | None = None,
        *,
        by_messages: bool = True,
        on_losses: Callable[[int], None] | None = None,
        bind: BindGroups | None = None,
        publish: PublishEvents | None = None,
    ) -> None:
        self.news = News()
        self.attempts = AttemptStore(database)
        self.seals = SealJobStore(database, policy)
        self.listing = GroupListing(database)
        self.removal = Removal(database)
        self.workers = WorkerStore(database)
        self._database = database
        self._policy = policy
        self._on_change = on_change
        # What a job is that has been accepted or redriven.
        self._accepted = JobState.PENDING if by_messages else JobState.QUEUED
        self._on_losses = on_losses
        self._rounds = Rounds()
        self.submit: Batcher[NewGroup, Submitted] = Batcher(self._submit)
        self.mark_sent: Batcher[Sequence[str], None] = Batcher(self._mark_sent)
        self._take: Batcher[_Wish, Taken | Refused] = Batcher(self._take_all)
        self._bind = bind
        self._publish = publish
        # Many may ask at the same time.
        self._find: Batcher[str, tuple[StoredJob, ...]] = Batcher(self._find_all)
        self._succeed: Batcher[_Success, GroupStage | None] = Batcher(
            self._succeed_all, company=MORE_RESULTS
        )

    async def drain(self) -> None:
        """Wait until all that was handed in is committed."""
        for batcher in (self.submit, self.mark_sent, self._take, self._succeed):
            await batcher.drain()

    # Reading

    async def group(self, group_id: str) -> tuple[StoredJob, ...]:
        """Return the jobs of a group, in the order of its request.

        Raises:
            GroupNotFound: There is no such group.
        """
        jobs = await self._find(group_id)
        if not jobs:
            raise GroupNotFound(group_id_of(group_id))
        return jobs

    async def _find_all(self, group_ids: Sequence[str]) -> list[tuple[StoredJob, ...]]:
        found: dict[str, list[StoredJob]] = {group_id: [] for group_id in group_ids}
        for row in await self._database.read(JOBS_OF_GROUPS, [list(found)]):
            found[row["group_id"]].append(stored_job(row))
        jobs = {group_id: tuple(members) for group_id, members in found.items()}
        return [jobs[group_id] for group_id in group_ids]

    async def open_groups(self, api_key: str, most: int) -> int:
        """Return how many groups of an API key have jobs that have not ended, or ``most``."""
        (row,) = await self._database.read(OPEN_GROUPS_OF_KEY, [api_key, most])
        return int(row["count"])

    async def count_open(self, most: int) -> int:
        """Return how many jobs have not ended, or ``most``."""
        (row,) = await self._database.read(COUNT_OPEN, [most])
        return int(row["count"])

    async def ended(self, ids: Sequence[str]) -> frozenset[str]:
        """Return those of some unique ids whose jobs have ended, or are not there."""
        going_on = await self._database.read(GOING_ON, [list(ids)])
        return frozenset(ids) - {row["id"] for row in going_on}

    async def rests_on(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return for each of some jobs the ids of those that it rests on, where there are any."""
        found: dict[str, list[str]] = {}
        for row in await self._database.read(RESTED_ON, [list(ids)]):
            found.setdefault(row["job_id"], []).append(row["rests_on"])
        return found

    # Accepting and sending

    async def _submit(self, groups: Sequence[NewGroup]) -> list[Submitted]:
        # In the order of their ids: of two processes that store the same groups at once, one waits
        # for the other, and not each for the other.
        wanted = sorted({group.id for group in groups})
        fresh = rows_value([_group_row(group_id) for group_id in wanted])

        async def body(connection: Statements, changes: Changes) -> list[Submitted]:
            stored = await connection.fetch(INSERT_GROUPS, [fresh])
            created = {row["id"]: row["created_at"] for row in stored}
            made: dict[str, tuple[StoredJob, ...]] = {}
            edges: list[list[object]] = []
            for group in groups:
                if group.id in created and group.id not in made:
                    at = created[group.id]
                    made[group.id] = tuple([self._new(group, job, at) for job in group.jobs])
                    edges.extend(group.edges())
            jobs = [job for members in made.values() for job in members]
            await connection.run_many(INSERT_JOB, [_row(job) for job in jobs])
            if edges:
                await connection.run_many(INSERT_DEPENDENCY, edges)
            changes.note_new(jobs)
            repeated: dict[str, list[StoredJob]] = {}
            if len(made) < len(groups):
                for row in await connection.fetch(JOBS_OF_GROUPS, [wanted]):
                    repeated.setdefault(row["group_id"], []).append(stored_job(row))
            return [
                Submitted(created=True, jobs=made.pop(group.id))
                if group.id in made
                else Submitted(created=False, jobs=tuple(repeated[group.id]))
                for group in groups
            ]

        submitted, _ = await self._changed_at_once(body)
        self.news.announce()
        return submitted

    async def enqueue(self, group_id: str, job: NewJob) -> StoredJob:
        """Return the job of a group that has this name; store the given one if none has.

        The group is made if it does not exist. Of several who adopt at once, one stores a job and
        all of them get it.
        """
        async with self._changing() as (connection, changes):
            fresh = rows_value([_group_row(group_id)])
            await connection.fetch(INSERT_GROUPS, [fresh])
            group = NewGroup(group_id, (job,))
            new = self._new(group, job, await self._database.now_ms(connection))
            stored = list(map(stored_job, await connection.fetch(ENQUEUE, _row(new))))
            changes.note_new(stored)
            if not stored:
                found = await connection.fetch(JOB_OF_NAME, [group_id, job.name])
                stored = list(map(stored_job, found))
            return stored[0]

    def _new(self, group: NewGroup, job: NewJob, now: int) -> StoredJob:
        state = self._accepted
        return StoredJob(
            id=job.id,
            group_id=group.id,
            name=job.name,
            parameters=job.parameters,
            queue=job.queue,
            state=state,
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
            queued_at=now if state is JobState.QUEUED else None,
            started_at=None,
            finished_at=None,
            dependents=group.dependents(job.name),
            method_version=job.method_version,
            api_key=group.api_key,
            request_id=group.request_id,
            priority=group.priority,
            trace_parent=group.trace_parent,
            lane=lane_of(group.priority, group.api_key),
        )

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
        taken = {row["lease_token"]: stored_job(row) for row in rows}
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
        self, connection: Connection, changes: Changes, wish: _Wish
    ) -> Taken | Refused:
        """Take over a job whose worker is lost, or say why it is not to be had."""
        ids = [wish.job_id]
        now = await self._database.now_ms(connection)
        rows = await connection.fetch(JOBS_BY_ID, [ids])
        if rows and _expired(stored_job(rows[0]), now):
            await changes.count_losses(ids, self._policy.max_losses)
            rows = await connection.fetch(JOBS_BY_ID, [ids])
        if not rows:
            return Refused(Refusal.UNKNOWN)
        job = stored_job(rows[0])
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
        return Taken(wish.lease, stored_job(row))

    async def take_ready(
        self,
        queue: str,
        proof_types: Sequence[str],
        *,
        limit: int,
        worker: str,
        lease_seconds: float,
    ) -> list[Taken]:
        """Give a worker jobs of a queue whose turn it is, where the table is the queue.

        They are of one priority, and fewer than there are where others have to be looked for: who
        has room for more asks again.

        Args:
            queue: Name of the queue.
            proof_types: What the worker can do.
            limit: How many jobs at most.
            worker: Who takes them.
            lease_seconds: For how long.

        Raises:
            StoreError: The database cannot be used.
        """
        # A look costs no write lock while there is nothing to take.
        kinds = rows_value([{"name": name} for name in proof_types])
        for _ in range(MOST_LOOKS):
            found = await self._database.read(READY_LANES, [queue, kinds, queue, queue])
            if not found:
                break
            ready = [ReadyLane(row["kind"], row["place"]) for row in found]
            turn = self._rounds.turn(queue, ready, limit)
            # The other half of a token is a job's own.
            as_whom = [worker, secrets.token_hex(8), round(lease_seconds * 1000)]
            if taken := await self._take_in_turn(queue, turn, limit, as_whom):
                self._rounds.note(queue, turn, [one.job.lane for one in taken])
                return taken
            # Others were faster; what is in other lanes need not wait for the next look.
        return []

    async def _take_in_turn(
        self, queue: str, turn: Turn, limit: int, as_whom: Sequence[object]
    ) -> list[Taken]:
        """Take up to ``limit`` ready jobs of some lanes; return them in the order of their turns.

        Args:
            queue: Name of the queue.
            turn: The lanes.
            limit: How many jobs at most.
            as_whom: The worker, the first half of a token, and milliseconds of the lease.
        """
        chosen: list[object] = [
            value
            for place, name in turn.ranges
            for value in (place, queue, name, turn.lanes[place], turn.most)
        ]
        chosen.append(limit)
        count = len(turn.ranges)
        rows: Sequence[Row]
        if self._on_change is None:
            rows = await self._database.write(take_ready(count), [*chosen, *as_whom])
        else:
            async with self._changing() as (connection, changes):
                ready = await connection.fetch(choose_ready(count), chosen)
                before = await changes.before([row["id"] for row in ready])
                rows = await connection.fetch(TAKE_THESE, [[*before], *as_whom])
                await changes.note(before)
        taken = [Taken(Lease(row["id"], row["lease_token"]), stored_job(row)) for row in rows]
        return in_turn(turn, taken)

    async def queue_status(self, queue: str) -> QueueStatus:
        """Tell how full a queue is that is the table.

        Raises:
            StoreError: The database cannot be used.
        """
        (takeable,) = await self._database.read(COUNT_TAKEABLE, [queue])
        (running,) = await self._database.read(COUNT_RUNNING, [queue])
        return QueueStatus(
            visible=takeable["visible"],
            in_flight=running["in_flight"],
            delayed=takeable["later"],
            dead_letters=0,
        )

    async def extend(self, leases: Sequence[Lease], *, lease_seconds: float) -> list[Lease]:
        """Extend leases by a sign of life; return those that are lost."""
        held = await self._database.beat(
            EXTEND,
            [
                [lease.job_id for lease in leases],
                round(lease_seconds * 1000),
                rows_value([{"job_id": lease.job_id, "token": lease.token} for lease in leases]),
            ],
        )
        still_held = {Lease(row["id"], row["lease_token"]) for row in held}
        return [lease for lease in leases if lease not in still_held]

    async def release(
        self, lease: Lease, *, seconds: float = 0.0, failure: Failure | None = None
    ) -> None:
        """Return a job unfinished and uncounted, for another worker to take.

        Args:
            lease: Its lease.
            seconds: For how long nobody may take it.
            failure: What was missing, to be shown until somebody takes it.

        Raises:
            LeaseLost: The lease was no longer held.
        """
        wanted = {
            "pause": round(seconds * 1000),
            "code": failure.code if failure else None,
            "message": storable(failure.message) if failure else None,
        }
        await self._end_lease(lease, RELEASE, rows_value([wanted]))
        self.news.announce()

    async def note_progress(self, lease: Lease, progress: Progress) -> bool:
        """Note how far the computation under a lease is; return whether the lease is still held.

        Raises:
            StoreError: The database cannot be used.
        """
        told = {
            "job_id": lease.job_id,
            "token": lease.token,
            "done": round(progress.fraction * 1_000_000),
            "doing": storable(progress.text),
        }
        return bool(await self._database.write(NOTE_PROGRESS, [[lease.job_id], rows_value([told])]))

    # Outcomes

    async def succeed(
        self,
        lease: Lease,
        result: str,
        receipt: str | None = None,
        seals: Sequence[StoredSeal] = (),
        *,
        later: Sequence[NewSeal] = (),
        has_dependents: bool = False,
        attachments: Sequence[str] = (),
    ) -> GroupStage:
        """Store the result, its receipt, the seals of that and attachments, or nothing of it.

        Args:
            lease: The lease the computation ran under.
            result: The result, as JSON text.
            receipt: The receipt without its seals, as JSON text.
            seals: Its seals, at most one of each kind.
            later: Seals that are to be made now that it is there, likewise.
            has_dependents: Whether jobs of the group rest on it; those that wait for it are woken.
            attachments: The drafts of what is attached to it, see
                `prover_framework.jobs.attachments.AttachmentStore.begin`.

        Returns:
            How far its group is then.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        success = _Success(lease, result, receipt, seals, later, has_dependents, attachments)
        stage = await self._succeed(success)
        if stage is None:
            raise _lost(lease)
        return stage

    async def _succeed_all(self, successes: Sequence[_Success]) -> list[GroupStage | None]:
        ids = [success.lease.job_id for success in successes]
        if len(set(ids)) < len(ids):
            # Two leases of one job, of which one is lost: what is returned could not tell which.
            return [done for one in successes for done in await self._succeed_all([one])]
        values = [ids, rows_value([success.row() for success in successes])]
        woken = [success.lease.job_id for success in successes if success.has_dependents]

        async def body(connection: Statements, changes: Changes) -> dict[str, str]:
            before = await changes.before(ids)
            stored = await connection.fetch(SUCCEED if woken else SUCCEED_AS_LAST, values)
            groups = {row["id"]: row["group_id"] for row in stored}
            changes.note_ended((row["group_id"] for row in stored), locked=not woken)
            won = [one for one in successes if one.lease.job_id in groups]
            if seals := [row for one in won for row in one.seal_rows()]:
                await connection.fetch(INSERT_SEALS, [rows_value(seals)])
            if later := [row for one in won for row in one.later_rows()]:
                await connection.fetch(QUEUE_FOR_JOBS, [rows_value(later)])
            await _publish(connection, [id_ for one in won for id_ in one.attachments])
            await changes.note(before)
            await changes.update_dependents(woken)
            return groups

        groups, changes = await self._changed_at_once(body, bind=self._bind)
        return [
            _stage(groups[one.lease.job_id], changes) if one.lease.job_id in groups else None
            for one in successes
        ]

    async def fail(self, lease: Lease, failure: Failure) -> None:
        """End a job with an error that no retry can help.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
        """
        ids = [lease.job_id]
        async with self._changing() as (connection, changes):
            before = await changes.before(ids)
            values = [ids, failure.code, storable(failure.message), lease.token]
            failed = await connection.fetch(FAIL, values)
            if not failed:
                raise _lost(lease)
            changes.note_ended(row["group_id"] for row in failed)
            await changes.note(before)
            await changes.update_dependents(ids)

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
            if failed:
                changes.note_ended([job.group_id])
                await changes.update_dependents([job.id])
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
            if failed:
                changes.note_ended([job.group_id])
                await changes.update_dependents([job.id])
            elif failure.code == DependencyNotYet.code:
                await changes.look_again(job.id)
            return not failed

    # Sweeping and operating

    async def sweep(self, limit: int) -> list[StoredJob]:
        """Free expired leases and return the jobs whose message has to be sent (again).

        The jobs are not due for the time that a send takes, so that two sweepers do not both send
        for one. When the send fails, or the sweeper dies before it, they are due after that;
        `mark_sent` gives the message that was sent its time to be answered.
        """
        async with self._changing() as (connection, changes):
            await changes.free_expired(limit, self._policy.max_losses)
            before = states_of(await connection.fetch(DUE, [limit]))
            if not before:
                return []
            swept = await connection.fetch(f"{SWEEP} RETURNING {COLUMNS}", [UNSENT_MS, [*before]])
            await changes.note(before)
            return list(map(stored_job, swept))

    async def make_ready(self, limit: int, lacking: Callable[[str], Failure | None]) -> None:
        """Sweep where the table is the queue: free expired leases, and end waits that are over.

        Args:
            limit: For how many jobs at most of each kind; the next sweep is soon.
            lacking: Says what this worker lacks for jobs of a proof type. They show it when no
                worker has begun them for a while.

        Raises:
            StoreError: The database cannot be used.
        """
        async with self._changing() as (connection, changes):
            freed = await changes.free_expired(limit, self._policy.max_losses)
            due = await connection.fetch(DUE, [limit])
            before = states_of(due)
            if before:
                await connection.fetch(MAKE_READY, [[*before]])
                # Where another worker is at such a job it is not missing.
                running = {row["proof_type"] for row in await connection.fetch(RUNNING_TYPES)}
                for proof_type in sorted({row["proof_type"] for row in due} - running):
                    if missing := lacking(proof_type):
                        ids = [row["id"] for row in due if row["proof_type"] == proof_type]
                        shown = [missing.code, storable(missing.message), ids]
                        await connection.fetch(NOTE_LEFT, shown)
                await connection.fetch(LOOK_LATER, [[*before]])
                await changes.note(before)
        if freed or before:
            self.news.announce()

    async def leave_to_sweep(self, job_id: str) -> None:
        """See to it that a job without a message is sent one when it may begin, and not later."""
        await self._database.write(LEAVE_TO_SWEEP, [job_id])

    async def leave_to_others(
        self, job_ids: Sequence[str], failure: Failure, *, jitter: float
    ) -> None:
        """Let the sweep send messages later for jobs that no worker was able to do.

        Args:
            job_ids: The jobs.
            failure: What was missing. It is shown until somebody takes the job.
            jitter: The part of the wait that is waited, in (0, 1].
        """
        values = [failure.code, storable(failure.message), jitter, list(job_ids)]
        await self._database.write(LEAVE_TO_OTHERS, values)

    async def wake_left(self, code: str, proof_types: Sequence[str]) -> None:
        """Make jobs due that were left to others: a worker has come that may be able to do them.

        Args:
            code: The code that they were left with.
            proof_types: What it can do.
        """
        await self._database.write(WAKE_LEFT, [code, list(proof_types)])

    async def wake_waiting(self) -> int:
        """Make every waiting job due at once, since new headers came; return how many."""
        return len(await self._database.write(WAKE))

    async def cancel(
        self, group_id: str, names: Sequence[str] | None = None
    ) -> tuple[StoredJob, ...]:
        """Cancel the jobs of a group that are not final; return all of them as they are then.

        Args:
            group_id: The group.
            names: Those that it is about, by their ids in the group; None for all.

        Raises:
            GroupNotFound: There is no such group.
        """
        return await self._change_group(group_id, CANCEL, [], names)

    async def redrive(
        self, group_id: str, names: Sequence[str] | None = None
    ) -> tuple[StoredJob, ...]:
        """Give the failed and cancelled jobs of a group a new life, with new budgets.

        Args:
            group_id: The group.
            names: Those that it is about, by their ids in the group; None for all.

        Raises:
            GroupNotFound: There is no such group.
        """
        first = [self._accepted.value, self._accepted is JobState.QUEUED]
        return await self._change_group(group_id, REDRIVE, first, names)

    async def _change_group(
        self,
        group_id: str,
        statement: str,
        values: Sequence[object],
        names: Sequence[str] | None,
    ) -> tuple[StoredJob, ...]:
        async with self._changing() as (connection, changes):
            locked = await connection.fetch(LOCK_GROUP, [group_id])
            wanted = [row["name"] for row in locked] if names is None else list(names)
            changed = await connection.fetch(statement, [*values, group_id, wanted])
            changes.note_ended(ended_groups(changed))
            await changes.note(states_of(locked))
            ended = [row["id"] for row in changed if row["state"] in FINAL]
            await changes.update_dependents(ended)
        self.news.announce()
        return await self.group(group_id)

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
        job = stored_job(rows[0]) if rows else None
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
    async def _changing(self) -> AsyncIterator[tuple[Connection, Changes]]:
        """Run the body in a transaction, and tell what it changed once that is committed."""
        async with self._database.transaction() as connection:
            changes = Changes(connection, wanted=self._on_change is not None)
            yield connection, changes
            await changes.note_ends(publish=self._publish)
        self._tell(changes)

    async def _changed_at_once(
        self,
        body: Callable[[Statements, Changes], Coroutine[Any, Any, T]],
        bind: BindGroups | None = None,
    ) -> tuple[T, Changes]:
        """Do the same for what is done for each job; see `Database.transact`.

        Args:
            body: What is done.
            bind: Makes the receipts of the groups that end by it.

        Returns:
            What the body returns, and what it changed.
        """

        async def change(connection: Statements) -> tuple[T, Changes]:
            changes = Changes(connection, wanted=self._on_change is not None)
            done = await body(connection, changes)
            await changes.note_ends(bind, self._publish)
            return done, changes

        done, changes = await self._database.transact(change)
        self._tell(changes)
        return done, changes

    def _tell(self, changes: Changes) -> None:
        """Tell what a transaction changed that is committed."""
        if self._on_change is not None and changes.made:
            self._on_change(changes.made)
        if self._on_losses is not None and changes.losses:
            self._on_losses(changes.losses)


def _stage(group_id: str, changes: Changes) -> GroupStage:
    """Return how far the group of a job is that has ended in a transaction."""
    if group_id in changes.bound:
        return GroupStage.BOUND
    return GroupStage.ENDED if group_id in changes.ended else GroupStage.OPEN


async def _publish(connection: Statements, draft_ids: Sequence[str]) -> None:
    """Make attachments of drafts: nobody removes them while the leases of their jobs are held."""
    if draft_ids and len(await connection.fetch(PUBLISH, [list(draft_ids)])) < len(draft_ids):
        raise RuntimeError("a draft of an attachment is gone, and the lease of its job was held")


def _expired(job: StoredJob, now: int) -> bool:
    return job.state is JobState.RUNNING and job.lease_until is not None and job.lease_until <= now


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease on job {lease.job_id} is no longer held; nothing was written")


def _row(job: StoredJob) -> list[object]:
    """Return the values of a new job for `INSERT_JOB`."""
    return [
        job.id,
        job.group_id,
        job.name,
        job.proof_type,
        job.parameters,
        job.queue,
        job.state.value,
        job.not_before,
        job.not_before + UNSENT_MS,
        job.created_at,
        job.queued_at,
        job.dependents,
        job.method_version,
        job.namespace,
        job.api_key,
        job.request_id,
        job.priority,
        job.lane,
        job.trace_parent,
    ]


def _group_row(group_id: str) -> dict[str, object]:
    """Return the values of a new group for `INSERT_GROUPS`."""
    return {"group_id": group_id, "space": namespace_of(group_id)}
