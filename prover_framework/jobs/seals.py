"""Seals that are made after their receipts, in the database: each is a job of its own."""

import secrets
from collections.abc import Callable, Sequence

from attrs import field, frozen

from prover_framework.database.batching import Batcher
from prover_framework.database.database import Database
from prover_framework.database.engine import Row, rows_value, storable
from prover_framework.errors import LeaseLost
from prover_framework.jobs.outbox import note_seal
from prover_framework.jobs.seal_sql import (
    ASK_FOR,
    DUE_SEAL,
    END_SEAL,
    EXTEND_SEAL,
    LOCK_SEALS,
    LOSE_SEAL,
    MADE_OF_GROUP,
    MAKE_SEAL,
    RELEASE_SEAL,
    RETRY_SEAL,
    SEAL_FIELDS,
    SEALS_OF_GROUPS,
    TAKE_SEAL,
)
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.seals import SealState

# The code of a seal that cannot go onto its receipt beside the others.
TOO_LARGE = "receipt_too_large"

WORKER_LOST = "worker_lost"


@frozen
class StoredSeal:
    """A seal of a receipt: its kind, and its document as JSON text."""

    kind: str
    document: str


@frozen
class NewSeal:
    """A seal that is to be made after its receipt.

    Args:
        kind: Its kind.
        digest: Digest of the receipt, in hex.
    """

    kind: str
    digest: str


@frozen(kw_only=True)
class StoredSealJob:
    """A seal that is made after its receipt; times in milliseconds since the Unix epoch.

    Args:
        id: Its number.
        group_id: The group.
        job_name: Id in the group of the job whose receipt it is on; empty for that of the group.
        kind: Its kind.
        receipt_digest: What it stands for, in hex.
        state: How far it is.
        attempts: How often it was begun.
        failures: How often that came to an error.
        due_at: From when on a worker may take it; none once it has ended.
        worker: Who has begun it last.
        error_code: Why it failed, or has to wait.
        error_message: The same for people.
        created_at: When it was asked for first.
        started_at: When it was begun last.
        finished_at: When it ended.
    """

    id: int
    group_id: str
    job_name: str
    kind: str
    receipt_digest: str
    state: SealState = field(converter=SealState)
    attempts: int
    failures: int
    due_at: int | None
    worker: str | None
    error_code: str | None
    error_message: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None

    @property
    def subject(self) -> str:
        """What it is, as lines of the log begin."""
        whose = f"{self.group_id} {self.job_name}".strip()
        return f"{whose}: seal {self.kind}"


@frozen
class SealLease:
    """A worker's right to make one seal. The token is what every later write has to show."""

    seal: StoredSealJob
    token: str

    @property
    def key(self) -> list[object]:
        """The values that statements ask for it by."""
        return [self.seal.id, self.token]


@frozen
class MadeSeal:
    """A seal that is made, by whose receipt it is on."""

    job_name: str
    receipt_digest: str
    seal: StoredSeal


class SealJobStore:
    """Reads and changes seals that are made after their receipts.

    Args:
        database: Where they are.
        policy: When to try again, and when to give up.
    """

    def __init__(self, database: Database, policy: RetryPolicy) -> None:
        self._database = database
        self._policy = policy
        self._find: Batcher[str, tuple[StoredSealJob, ...]] = Batcher(self._find_all)

    # Reading

    async def of_group(self, group_id: str) -> tuple[StoredSealJob, ...]:
        """Return the seals of one group; see `of_groups`.

        Raises:
            StoreError: The database cannot be read.
        """
        return await self._find(group_id)

    async def _find_all(self, group_ids: Sequence[str]) -> list[tuple[StoredSealJob, ...]]:
        found: dict[str, list[StoredSealJob]] = {group_id: [] for group_id in group_ids}
        for seal in await self.of_groups(list(found)):
            found[seal.group_id].append(seal)
        return [tuple(found[group_id]) for group_id in group_ids]

    async def of_groups(self, group_ids: Sequence[str]) -> list[StoredSealJob]:
        """Return the seals of groups and their jobs, in the order in which they were asked for.

        Raises:
            StoreError: The database cannot be read.
        """
        return list(map(_stored, await self._database.read(SEALS_OF_GROUPS, [list(group_ids)])))

    async def made_of(self, group_id: str) -> list[MadeSeal]:
        """Return the seals of a group and its jobs that are made so far.

        Raises:
            StoreError: The database cannot be read.
        """
        return [
            MadeSeal(
                row["job_name"], row["receipt_digest"], StoredSeal(row["kind"], row["document"])
            )
            for row in await self._database.read(MADE_OF_GROUP, [group_id])
        ]

    # Asking

    async def ask(self, group_id: str, digests: dict[str, bytes], kind: str) -> int:
        """Ask for seals of a kind; return how many are to be made because of that.

        What is made or under way stays so, and what has failed is begun anew.

        Args:
            group_id: The group.
            digests: The digests of the receipts, by the job's name; "" for that of the group.
            kind: The kind.

        Raises:
            StoreError: The database refused.
        """
        rows = [
            {"group_id": group_id, "job_name": name, "kind": kind, "digest": digest.hex()}
            for name, digest in digests.items()
        ]
        return len(await self._database.write(ASK_FOR, [rows_value(rows)]))

    # Leases

    async def take(self, kind: str, *, worker: str, lease_seconds: float) -> SealLease | None:
        """Take a seal of a kind that is due, if there is one.

        Raises:
            StoreError: The database cannot be used.
        """
        for found in map(_stored, await self._database.read(DUE_SEAL, [kind, kind])):
            losses = found.attempts - found.failures
            if found.state is SealState.MAKING and losses >= self._policy.max_losses:
                await self._lose(found, losses)
                continue
            token = secrets.token_hex(16)
            values = [worker, token, round(lease_seconds * 1000), found.id]
            for row in await self._database.write(TAKE_SEAL, values):
                return SealLease(_stored(row), token)
        return None

    async def _lose(self, seal: StoredSealJob, losses: int) -> None:
        message = f"its worker was lost {losses} times, the limit; the last was {seal.worker}"
        await self._database.write(LOSE_SEAL, [WORKER_LOST, message, seal.id])

    async def extend(self, lease: SealLease, *, lease_seconds: float) -> bool:
        """Extend a lease by a sign of life; return whether it is still held.

        Raises:
            StoreError: The database cannot be used.
        """
        values = [round(lease_seconds * 1000), *lease.key]
        return bool(await self._database.beat(EXTEND_SEAL, values))

    # Outcomes

    async def made(
        self,
        lease: SealLease,
        document: str,
        refusal: Callable[[Sequence[StoredSeal]], str | None],
    ) -> str | None:
        """Store a seal: the one place where one becomes made.

        Args:
            lease: The lease under which it was made.
            document: The seal, as JSON text.
            refusal: Says why it does not go onto its receipt beside the other seals that are made
                by now; None where it does.

        Returns:
            Why it does not, and is stored as failed; None when it is made.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
            StoreError: The database refused.
        """
        seal = lease.seal
        async with self._database.transaction() as connection:
            rows = await connection.fetch(LOCK_SEALS, [seal.group_id, seal.job_name])
            if not any(row["lease_token"] == lease.token for row in rows):
                raise _lost(lease)
            others = [
                StoredSeal(row["kind"], row["document"])
                for row in rows
                if row["state"] == SealState.MADE
            ]
            if (why := refusal(others)) is not None:
                ended = [SealState.FAILED.value, TOO_LARGE, why, 1]
                await connection.fetch(END_SEAL, [*ended, *lease.key])
                return why
            await connection.fetch(MAKE_SEAL, [document, *lease.key])
            await note_seal(
                connection,
                group_id=seal.group_id,
                job_name=seal.job_name,
                seal_kind=seal.kind,
            )
            return None

    async def not_applicable(self, lease: SealLease) -> None:
        """End a seal of a kind that does not apply to its receipt.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
            StoreError: The database refused.
        """
        await self._end(lease, END_SEAL, [SealState.NOT_APPLICABLE.value, None, None, 0])

    async def fail(self, lease: SealLease, code: str, message: str) -> None:
        """End a seal with an error that no retry can help, given by its code and in a sentence.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
            StoreError: The database refused.
        """
        values = [SealState.FAILED.value, code, storable(message), 1]
        await self._end(lease, END_SEAL, values)

    async def retry(
        self, lease: SealLease, code: str, message: str, *, jitter: float
    ) -> float | None:
        """Count a failed attempt, and queue the seal again while its budget lasts.

        Args:
            lease: The lease.
            code: Code of the error.
            message: The error, in a sentence.
            jitter: A random number in [0, 1).

        Returns:
            The seconds until the retry; None when the seal has failed for good.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
            StoreError: The database refused.
        """
        failures = lease.seal.failures + 1
        if failures >= self._policy.max_attempts:
            await self.fail(lease, code, f"{message} (failed {failures} times, the limit)")
            return None
        delay = self._policy.delay_seconds(failures, jitter)
        values = [code, storable(message), round(delay * 1000)]
        await self._end(lease, RETRY_SEAL, values)
        return delay

    async def release(
        self, lease: SealLease, code: str, message: str, *, seconds: float = 0.0
    ) -> None:
        """Return a seal unmade and uncounted.

        Args:
            lease: The lease.
            code: Code of the reason.
            message: The reason, which is shown until somebody takes it.
            seconds: For how long nobody is to take it.

        Raises:
            LeaseLost: The lease was no longer held; nothing was stored.
            StoreError: The database refused.
        """
        values = [code, storable(message), round(seconds * 1000)]
        await self._end(lease, RELEASE_SEAL, values)

    async def _end(self, lease: SealLease, statement: str, values: Sequence[object]) -> None:
        if not await self._database.write(statement, [*values, *lease.key]):
            raise _lost(lease)


def _lost(lease: SealLease) -> LeaseLost:
    return LeaseLost(f"the lease on {lease.seal.subject} is no longer held; nothing was written")


def _stored(row: Row) -> StoredSealJob:
    return StoredSealJob(**dict(zip(SEAL_FIELDS, row, strict=False)))
