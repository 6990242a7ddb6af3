"""What one transaction does to jobs: which it changes, and what follows from that for others."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from prover_framework.database.engine import Row, Statements
from prover_framework.jobs.attempts import note_lost
from prover_framework.jobs.records import StoredJob, Transition, stored_job
from prover_framework.jobs.sql import (
    COUNT_LOSSES,
    EXPIRED,
    FAIL_DEPENDENTS,
    JOBS_BY_ID,
    LOCK_DEPENDENCIES,
    LOCK_GROUPS,
    LOCK_JOBS,
    NOTE_ENDS,
    WAITING_DEPENDENTS,
    WAKE_DEPENDENTS,
)
from prover_framework.model.jobs import FINAL, JobState

# What numbers events within the transaction that stores them, where that may be done.
PublishEvents = Callable[[Statements], Awaitable[object]]

# What makes the receipts of groups that end, within the transaction that ends them. It returns
# those that it has made one for; the others' are made when they are read.
BindGroups = Callable[[Statements, Sequence[str]], Awaitable[frozenset[str]]]


class Changes:
    """What one transaction changes: groups that may end by it, transitions, leases that were lost.

    Where nobody asks for transitions they cost nothing.
    """

    def __init__(self, connection: Statements, *, wanted: bool) -> None:
        self.made: list[Transition] = []
        self.losses = 0
        self.ended: frozenset[str] = frozenset()
        self.bound: frozenset[str] = frozenset()
        self._connection = connection
        self._wanted = wanted
        self._ending: set[str] = set()
        self._locked: set[str] = set()

    def note_ended(self, group_ids: Iterable[str], *, locked: bool = False) -> None:
        """Note the groups of jobs that end, and whether these groups are locked already."""
        groups = set(group_ids)
        self._ending |= groups
        if locked:
            self._locked |= groups

    async def note_ends(
        self, bind: BindGroups | None = None, publish: PublishEvents | None = None
    ) -> None:
        """Store an event for each group of which the last job ends; no job is changed after it.

        Args:
            bind: Makes the receipts of these groups.
            publish: Numbers the events; None where that is done after the transaction.
        """
        if not self._ending:
            return
        groups = sorted(self._ending)
        if self._ending != self._locked:
            await self._connection.fetch(LOCK_GROUPS, [groups])
        noted = await self._connection.fetch(NOTE_ENDS, [groups])
        self.ended = frozenset(row["group_id"] for row in noted)
        if self.ended and bind is not None:
            self.bound = await bind(self._connection, sorted(self.ended))
        if self.ended and publish is not None:
            await publish(self._connection)

    async def before(self, ids: Sequence[str]) -> dict[str, JobState]:
        """Lock jobs that are about to be changed; return their states by id."""
        if not self._wanted:
            return {}
        return states_of(await self._connection.fetch(LOCK_JOBS, [ids]))

    def note_new(self, jobs: Sequence[StoredJob]) -> None:
        """Note jobs that have just been stored."""
        if self._wanted:
            self.made.extend(Transition(None, job, job.created_at) for job in jobs)

    async def note(self, old: Mapping[str, JobState]) -> None:
        """Note those of some jobs that have left the states they were in."""
        if not self._wanted or not old:
            return
        (now,) = await self._connection.fetch("SELECT NOW_MS AS now")
        for job in map(stored_job, await self._connection.fetch(JOBS_BY_ID, [list(old)])):
            if job.state is not old[job.id]:
                self.made.append(Transition(old[job.id], job, now["now"]))

    async def free_expired(self, limit: int, max_losses: int) -> int:
        """Free up to ``limit`` jobs whose workers let the lease expire; return how many."""
        expired = [row["id"] for row in await self._connection.fetch(EXPIRED, [limit])]
        await self.count_losses(expired, max_losses)
        return len(expired)

    async def count_losses(self, ids: Sequence[str], max_losses: int) -> None:
        """Free locked jobs whose workers let the lease expire; end those that lost too many."""
        if ids:
            await note_lost(self._connection, ids)
            values = [max_losses] * 6 + [ids]
            self.note_ended(ended_groups(await self._connection.fetch(COUNT_LOSSES, values)))
            await self.note(dict.fromkeys(ids, JobState.RUNNING))
            await self.update_dependents(ids)
            self.losses += len(ids)

    async def update_dependents(self, ended: Sequence[str]) -> None:
        """Wake or fail the jobs that wait for some that may have ended, and what rests on those."""
        while ended:
            waiting = states_of(await self._connection.fetch(WAITING_DEPENDENTS, [list(ended)]))
            ended = await self._wake_or_fail(waiting)

    async def look_again(self, job_id: str) -> None:
        """Wake or fail a job that has begun to wait if what it rests on has ended meanwhile."""
        if await self._connection.fetch(LOCK_DEPENDENCIES, [job_id]):
            await self.update_dependents(await self._wake_or_fail({job_id: JobState.WAITING}))

    async def _wake_or_fail(self, waiting: Mapping[str, JobState]) -> list[str]:
        """Wake those of some jobs whose dependencies have succeeded; return those that fail."""
        if not waiting:
            return []
        await self._connection.fetch(WAKE_DEPENDENTS, [list(waiting)])
        failed = await self._connection.fetch(FAIL_DEPENDENTS, [list(waiting)])
        self.note_ended(row["group_id"] for row in failed)
        await self.note(waiting)
        return [row["id"] for row in failed]


def states_of(rows: Sequence[Row]) -> dict[str, JobState]:
    """Return the states of some jobs by their ids."""
    return {row["id"]: JobState(row["state"]) for row in rows}


def ended_groups(rows: Sequence[Row]) -> set[str]:
    """Return the groups of those that have ended of some jobs that were changed."""
    return {row["group_id"] for row in rows if row["state"] in FINAL}
