"""The attempts at jobs that came to nothing: which worker, when, and why.

The last attempt is in the job itself; of those before it only these records are left.
"""

from collections.abc import Sequence

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.database.engine import Statements, storable

# The newest ones of a job that are kept: more than anybody reads.
MAX_KEPT = 20

NOTE = """
INSERT INTO attempt
    (job_id, number, worker, started_at, ended_at, error_code, error_message, traceback)
VALUES (?, ?, ?, ?, NOW_MS, ?, ?, ?)
RETURNING id
"""

NOTE_LOST = """
INSERT INTO attempt
    (job_id, number, worker, started_at, ended_at, error_code, error_message, traceback)
SELECT id, attempts, COALESCE(worker, ''), COALESCE(started_at, created_at), NOW_MS,
    'worker_lost', 'its worker was lost: the lease has expired', ''
FROM job WHERE id = ANY(?)
"""

PRUNE = f"""
DELETE FROM attempt WHERE job_id = ? AND id NOT IN (
    SELECT id FROM attempt WHERE job_id = ? ORDER BY id DESC LIMIT {MAX_KEPT}
)
RETURNING id
"""  # noqa: S608 - our own

OF_GROUP = """
SELECT attempt.job_id AS job_id, number, attempt.worker AS worker,
    attempt.started_at AS started_at, ended_at, attempt.error_code AS error_code,
    attempt.error_message AS error_message, traceback
FROM attempt JOIN job ON job.id = attempt.job_id
WHERE job.group_id = ? ORDER BY attempt.id
"""


@frozen(kw_only=True)
class Attempt:
    """An attempt at a job that came to nothing; times in milliseconds since the Unix epoch.

    Args:
        job_id: Unique id of the job.
        number: Which of the attempts at the job it was, from 1 on.
        worker: Who made it.
        started_at: When it began.
        ended_at: When it was noted to have ended.
        error_code: Code of its error.
        error_message: Message of its error.
        traceback: Where in the plugin's own files it was raised, a line for each call.
    """

    job_id: str
    number: int
    worker: str
    started_at: int
    ended_at: int = 0
    error_code: str
    error_message: str
    traceback: str


class AttemptStore:
    """Keeps the attempts at jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, attempt: Attempt) -> None:
        """Keep an attempt that has ended now.

        Raises:
            StoreError: The database cannot be used.
        """
        async with self._database.transaction() as connection:
            await connection.fetch(
                NOTE,
                [
                    attempt.job_id,
                    attempt.number,
                    attempt.worker,
                    attempt.started_at,
                    attempt.error_code,
                    storable(attempt.error_message),
                    storable(attempt.traceback),
                ],
            )
            await connection.fetch(PRUNE, [attempt.job_id, attempt.job_id])

    async def of_group(self, group_id: str) -> list[Attempt]:
        """Return the attempts at the jobs of a group, oldest first."""
        return [Attempt(**dict(row)) for row in await self._database.read(OF_GROUP, [group_id])]


async def note_lost(connection: Statements, ids: Sequence[str]) -> None:
    """Keep the attempts of jobs whose workers were lost, before they are freed."""
    await connection.fetch(NOTE_LOST, [ids])
    for job_id in ids:
        await connection.fetch(PRUNE, [job_id, job_id])
