"""Seals and composed receipts in the database; a proof's receipt stands in the row of its job."""

from collections.abc import Sequence

from attrs import frozen

from prover_framework.database.batching import Batcher
from prover_framework.database.database import Database
from prover_framework.database.engine import Statements, rows_value
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.seal_sql import QUEUE_FOR_GROUPS, RENEW
from prover_framework.jobs.seals import StoredSeal
from prover_framework.jobs.sql import RESTED_ON, one_of
from prover_framework.model.jobs import CANCELLABLE
from prover_framework.model.seals import OF_GROUP

SEALS = "SELECT job_id, kind, document FROM seal WHERE job_id = ANY(?) ORDER BY id"

UNENDED = f"SELECT DISTINCT group_id FROM job WHERE group_id = ANY(?) AND {one_of(CANCELLABLE)}"  # noqa: S608

COMPOSED = "SELECT receipt FROM job_group WHERE id = ?"

# One that somebody else has stored meanwhile stays.
KEEP = """
UPDATE job_group SET receipt = document
FROM ROWS(?) AS made(group_id TEXT, document TEXT, instead_of TEXT)
WHERE id = group_id AND id = ANY(?)
    AND (receipt IS NULL AND instead_of IS NULL OR receipt = instead_of)
RETURNING id
"""


@frozen
class WantedSeals:
    """The seals that are to be made on the receipt of a group.

    Args:
        digest: Digest of the receipt.
        kinds: Their kinds.
    """

    digest: bytes
    kinds: Sequence[str]


@frozen
class BoundReceipt:
    """The receipt of a group, to be stored.

    Args:
        group_id: The group.
        document: Its receipt, as JSON text.
        instead_of: The receipt that it takes the place of, if any.
        wanted: Seals that are to be made on it.
    """

    group_id: str
    document: str
    instead_of: str | None = None
    wanted: WantedSeals | None = None

    def seal_rows(self) -> list[dict[str, object]]:
        """Return the seals that are wanted, for `prover_framework.jobs.seal_sql`."""
        if self.wanted is None:
            return []
        digest = self.wanted.digest.hex()
        return [
            {"group_id": self.group_id, "job_name": OF_GROUP, "kind": kind, "digest": digest}
            for kind in self.wanted.kinds
        ]

    def row(self) -> dict[str, object]:
        """Return its values for `KEEP`."""
        return {
            "group_id": self.group_id,
            "document": self.document,
            "instead_of": self.instead_of,
        }


class ReceiptStore:
    """Reads seals and composed receipts, and keeps one composed receipt for each group."""

    def __init__(self, database: Database) -> None:
        self.attachments = AttachmentStore(database)
        self._database = database
        self._keep: Batcher[BoundReceipt, bool] = Batcher(self._keep_all)
        self._has_ended: Batcher[str, bool] = Batcher(self._have_ended)

    async def drain(self) -> None:
        """Wait until all that was handed in is committed."""
        await self._keep.drain()

    async def seals(self, job_ids: Sequence[str]) -> dict[str, tuple[StoredSeal, ...]]:
        """Return the seals of jobs' receipts by job id, the oldest first.

        Raises:
            StoreError: The database cannot be read.
        """
        found: dict[str, tuple[StoredSeal, ...]] = dict.fromkeys(job_ids, ())
        for row in await self._database.read(SEALS, [list(job_ids)]) if job_ids else ():
            found[row["job_id"]] += (StoredSeal(row["kind"], row["document"]),)
        return found

    async def rested_on(self, job_ids: Sequence[str]) -> list[str]:
        """Return the ids of the jobs that some jobs rest on.

        Raises:
            StoreError: The database cannot be read.
        """
        return [row["rests_on"] for row in await self._database.read(RESTED_ON, [list(job_ids)])]

    async def has_ended(self, group_id: str) -> bool:
        """Tell whether every job of a group has ended.

        Raises:
            StoreError: The database cannot be read.
        """
        return await self._has_ended(group_id)

    async def _have_ended(self, group_ids: Sequence[str]) -> list[bool]:
        rows = await self._database.read(UNENDED, [sorted(set(group_ids))])
        going_on = {row["group_id"] for row in rows}
        return [group_id not in going_on for group_id in group_ids]

    async def composed(self, group_id: str) -> str | None:
        """Return the composed receipt of a group, as JSON text, if there is one.

        Raises:
            StoreError: The database cannot be read.
        """
        for row in await self._database.read(COMPOSED, [group_id]):
            text: str | None = row["receipt"]
            return text
        return None

    async def keep(
        self,
        group_id: str,
        text: str,
        *,
        instead_of: str | None = None,
        wanted: WantedSeals | None = None,
    ) -> bool:
        """Store the composed receipt of a group; return whether nobody else has meanwhile.

        Seals on the receipt that it takes the place of are to be made anew.

        Args:
            group_id: The group.
            text: Its receipt, as JSON text.
            instead_of: The receipt that it takes the place of, if any.
            wanted: Seals that are to be made on it.

        Raises:
            StoreError: The database refused.
        """
        return await self._keep(BoundReceipt(group_id, text, instead_of, wanted))

    async def _keep_all(self, wishes: Sequence[BoundReceipt]) -> list[bool]:
        # Of two wishes for one group the first counts, as it would if they came one by one.
        first = {wish.group_id: wish for wish in reversed(wishes)}
        if all(wish.wanted is None for wish in wishes):
            rows = await self._database.write(KEEP, _values(list(first.values())))
            ids = frozenset(row["id"] for row in rows)
        else:
            async with self._database.transaction() as connection:
                ids = await keep_receipts(connection, list(first.values()))
        return [first[wish.group_id] is wish and wish.group_id in ids for wish in wishes]


async def keep_receipts(connection: Statements, wishes: Sequence[BoundReceipt]) -> frozenset[str]:
    """Store receipts of groups, one of each, in a transaction; return the groups that have them.

    Raises:
        StoreError: The database refused.
    """
    kept = frozenset(row["id"] for row in await connection.fetch(KEEP, _values(wishes)))
    by_group = {wish.group_id: wish for wish in wishes}
    await _queue_seals(connection, [by_group[group_id] for group_id in sorted(kept)])
    return kept


def _values(wishes: Sequence[BoundReceipt]) -> list[object]:
    """Return the values of `KEEP`."""
    return [rows_value([wish.row() for wish in wishes]), [wish.group_id for wish in wishes]]


async def _queue_seals(connection: Statements, kept: Sequence[BoundReceipt]) -> None:
    """Queue the seals of receipts that were just stored."""
    renewed = [
        {"group_id": one.group_id, "digest": one.wanted.digest.hex()}
        for one in kept
        if one.instead_of is not None and one.wanted is not None
    ]
    if renewed:
        await connection.fetch(RENEW, [rows_value(renewed), [row["group_id"] for row in renewed]])
    if fresh := [row for one in kept for row in one.seal_rows()]:
        await connection.fetch(QUEUE_FOR_GROUPS, [rows_value(fresh)])
