"""What is attached to results, in the database: files in chunks, each chunk by itself.

An attachment is a draft while it is being stored, under the token of the lease that its job is
computed under. The transaction that stores the result makes attachments of the drafts; nobody reads
them before that. Drafts whose token no job has any more are of an attempt that came to nothing, and
are removed. So no transaction is longer than a chunk, however large a file is.
"""

import secrets
from collections.abc import AsyncIterator

from prover_framework.database.database import Database
from prover_framework.database.engine import rows_value
from prover_framework.errors import LeaseLost
from prover_framework.jobs.records import Lease

# Only under a lease that is held. What has expired by the clock is found out when the result is
# stored: the sweep takes the token of it.
BEGIN = """
INSERT INTO attachment (id, job_id, name, draft_of)
SELECT draft.draft_id, draft.job_id, draft.called, draft.token
FROM ROWS(?) AS draft(draft_id TEXT, job_id TEXT, called TEXT, token TEXT)
    JOIN job ON job.id = draft.job_id
WHERE job.state = 'running' AND job.lease_token = draft.token
RETURNING id
"""

LOCK_DRAFT = """
SELECT id FROM attachment WHERE id = ? AND draft_of = ? AND EXISTS (
    SELECT 1 FROM job WHERE job.id = attachment.job_id AND job.lease_token = attachment.draft_of
)
FOR UPDATE
"""

# The answer to a commit can be lost, and the chunk be there.
ADD = """
INSERT INTO attachment_chunk (attachment_id, number, data) VALUES (?, ?, ?)
ON CONFLICT (attachment_id, number) DO NOTHING RETURNING id
"""

FIND = "SELECT id FROM attachment WHERE job_id = ? AND name = ? AND draft_of IS NULL"

READ = "SELECT data FROM attachment_chunk WHERE attachment_id = ? AND number = ?"

# A token that is gone does not come back, so that nothing of this can be published any more.
# What is being stored now is there for moments: so many drafts are looked at in the order of
# the index that only drafts are in.
LEFT = """
SELECT draft.id FROM (
    SELECT id, job_id, draft_of FROM attachment WHERE draft_of >= ''
    ORDER BY draft_of LIMIT 1000
) AS draft
WHERE NOT EXISTS (
    SELECT 1 FROM job WHERE job.id = draft.job_id AND job.lease_token = draft.draft_of
)
LIMIT ?
"""

# After so many chunks others get their turn to write; a transaction takes milliseconds.
TURN_CHUNKS = 4

# How many chunks are removed at a time; others write in between.
REMOVED_CHUNKS = 8

REMOVE_CHUNKS = f"""
DELETE FROM attachment_chunk WHERE attachment_id = ? AND number IN (
    SELECT number FROM attachment_chunk WHERE attachment_id = ?
    ORDER BY number LIMIT {REMOVED_CHUNKS}
)
RETURNING id
"""  # noqa: S608 - our own

REMOVE = "DELETE FROM attachment WHERE id = ? AND draft_of >= '' RETURNING id"

# How many are looked for at a time.
LEFT_LIMIT = 20


class AttachmentStore:
    """Keeps attachments, and removes what was never finished."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, lease: Lease, name: str) -> str:
        """Begin to store an attachment; return the id of its draft.

        Raises:
            LeaseLost: The lease is no longer held.
            StoreError: The database cannot be used.
        """
        draft_id = secrets.token_hex(16)
        row = {
            "draft_id": draft_id,
            "job_id": lease.job_id,
            "called": name,
            "token": lease.token,
        }
        if not await self._database.write(BEGIN, [rows_value([row])]):
            raise _lost(lease)
        return draft_id

    async def add(self, lease: Lease, draft_id: str, number: int, data: bytes) -> None:
        """Store a chunk of a draft. The same again changes nothing.

        Args:
            lease: The lease that it is stored under.
            draft_id: The draft.
            number: Which chunk of it, from 0 on.
            data: Its bytes.

        Raises:
            LeaseLost: The lease is no longer held.
            StoreError: The database cannot be used.
        """
        async with self._database.transaction() as connection:
            if not await connection.fetch(LOCK_DRAFT, [draft_id, lease.token]):
                raise _lost(lease)
            await connection.fetch(ADD, [draft_id, number, data])
        if number % TURN_CHUNKS == TURN_CHUNKS - 1:
            await self._database.let_others_write()

    async def find(self, job_id: str, name: str) -> str | None:
        """Return the id of an attachment of a job, by the job's unique id; None if it has none.

        Raises:
            StoreError: The database cannot be used.
        """
        rows = await self._database.read(FIND, [job_id, name])
        return str(rows[0]["id"]) if rows else None

    async def chunks(self, attachment_id: str) -> AsyncIterator[bytes]:
        """Read an attachment, chunk by chunk, each when it is asked for.

        Raises:
            StoreError: The database cannot be used.
        """
        number = 0
        while rows := await self._database.read(READ, [attachment_id, number]):
            yield bytes(rows[0]["data"])
            number += 1

    async def remove_left(self) -> None:
        """Remove the drafts of attempts that came to nothing, a few chunks at a time.

        Raises:
            StoreError: The database cannot be used.
        """
        while rows := await self._database.read(LEFT, [LEFT_LIMIT]):
            for row in rows:
                while await self._database.write(REMOVE_CHUNKS, [row["id"], row["id"]]):
                    await self._database.let_others_write()
                await self._database.write(REMOVE, [row["id"]])


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease on job {lease.job_id} is no longer held; nothing was written")
