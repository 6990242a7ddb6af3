"""Removing groups that have ended, with all that belongs to them.

Each transaction removes few of them, so that no writer waits for long.
"""

from collections.abc import Sequence

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.model.names import MAX_INT64

# Groups that one transaction removes: tens of milliseconds.
GROUPS_AT_ONCE = 20

# Events that one statement removes.
EVENTS_AT_ONCE = 1000

LOCK_JOBS = """
SELECT id, group_id, state, finished_at FROM job WHERE group_id = ANY(?) ORDER BY id FOR UPDATE
"""
LOCK_GROUPS = "SELECT id FROM job_group WHERE id = ANY(?) ORDER BY id FOR UPDATE"
OPEN_SEALS = """
SELECT DISTINCT group_id FROM seal_job
WHERE group_id = ANY(?) AND state IN ('queued', 'making')
"""
DELETE_DEPENDENCIES = "DELETE FROM dependency WHERE job_id = ANY(?)"
# Seals, attempts and attachments go with their jobs and groups.
DELETE_JOBS = "DELETE FROM job WHERE id = ANY(?)"
DELETE_GROUPS = "DELETE FROM job_group WHERE id = ANY(?)"

OLDEST = """
SELECT id, created_at FROM job_group WHERE (created_at, id) > (?, ?) AND created_at < ?
ORDER BY created_at, id LIMIT ?
"""
ENDS = "SELECT group_id, state, finished_at FROM job WHERE group_id = ANY(?)"

# Only what everybody has been notified of goes, and in the order in which it is read. The newest
# stays: the next ones get their numbers after it.
OLD_EVENTS = """
SELECT id, number, created_at FROM event
WHERE number >= 0 AND number < ?
    AND number < (SELECT MAX(number) FROM event WHERE number IS NOT NULL)
ORDER BY number, id LIMIT ?
"""
# The first event that each observer has still to be notified of.
FIRST_TO_DELIVER = """
SELECT (SELECT number FROM delivery WHERE observer = name ORDER BY number LIMIT 1) AS number
FROM observer
"""
DELETE_EVENTS = "DELETE FROM event WHERE id = ANY(?) RETURNING id"


@frozen
class Place:
    """How far the oldest groups have been looked through."""

    created_at: int = -1
    group_id: str = ""


@frozen
class Removed:
    """What a step of pruning has come to.

    Args:
        groups: Ids of the groups that were, or would be, removed.
        next: Where the next step begins; None when there is nothing left to look at.
    """

    groups: tuple[str, ...]
    next: Place | None


class Removal:
    """Removes groups and events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remove(self, group_ids: Sequence[str]) -> frozenset[str]:
        """Remove those of some groups that have ended; return which.

        Raises:
            StoreError: The database cannot be used; what was removed before stays removed.
        """
        removed: set[str] = set()
        for start in range(0, len(group_ids), GROUPS_AT_ONCE):
            removed |= await self._remove(group_ids[start : start + GROUPS_AT_ONCE])
            await self._database.let_others_write()
        return frozenset(removed)

    async def _remove(self, group_ids: Sequence[str]) -> set[str]:
        async with self._database.transaction() as connection:
            jobs = await connection.fetch(LOCK_JOBS, [list(group_ids)])
            going_on = {job["group_id"] for job in jobs if JobState(job["state"]) not in FINAL}
            seals = await connection.fetch(OPEN_SEALS, [list(group_ids)])
            going_on |= {seal["group_id"] for seal in seals}
            wanted = [id_ for id_ in group_ids if id_ not in going_on]
            rows = await connection.fetch(LOCK_GROUPS, [wanted])
            ended = [row["id"] for row in rows]
            ids = [job["id"] for job in jobs if job["group_id"] in set(ended)]
            await connection.fetch(DELETE_DEPENDENCIES, [ids])
            await connection.fetch(DELETE_JOBS, [ids])
            await connection.fetch(DELETE_GROUPS, [ended])
            return set(ended)

    async def old(self, before_ms: int, place: Place) -> Removed:
        """Return the next of the oldest groups that ended before a time, some at once.

        Args:
            before_ms: The time, in milliseconds since the Unix epoch.
            place: Where the step before ended.
        """
        rows = await self._database.read(
            OLDEST, [place.created_at, place.group_id, before_ms, GROUPS_AT_ONCE]
        )
        if not rows:
            return Removed((), None)
        ids = [row["id"] for row in rows]
        jobs = await self._database.read(ENDS, [ids])
        kept = {
            job["group_id"]
            for job in jobs
            if JobState(job["state"]) not in FINAL or (job["finished_at"] or 0) >= before_ms
        }
        last = Place(rows[-1]["created_at"], rows[-1]["id"])
        return Removed(tuple(id_ for id_ in ids if id_ not in kept), last)

    async def remove_old_events(self, before_ms: int, most: int = EVENTS_AT_ONCE) -> int:
        """Remove events from before a time that nobody is still to be notified of.

        Returns:
            How many; repeat it while these are as many as ``most``.
        """
        first = await self._database.read(FIRST_TO_DELIVER)
        below = min(
            (row["number"] for row in first if row["number"] is not None), default=MAX_INT64
        )
        rows = await self._database.read(OLD_EVENTS, [below, most])
        ids = [row["id"] for row in rows if row["created_at"] < before_ms]
        if ids:
            await self._database.write(DELETE_EVENTS, [ids])
        return len(ids)
