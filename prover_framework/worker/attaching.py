"""Keep what computations attach to their results: from their files into the database.

That is done while the heartbeat holds the job, before the receipt is written that states it.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from prover_framework.errors import LeaseLost, ResultInvalid, StoreError
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.records import Lease, StoredJob
from prover_framework.logs import Trouble
from prover_framework.model.attachments import CHUNK_BYTES, AttachmentPlace
from prover_framework.proofs.proving import Loaded
from prover_framework.sandbox.attachments import Attached, TakenIn, open_regular

log = logging.getLogger(__name__)

T = TypeVar("T")


@frozen
class Kept:
    """The drafts, in the database, of what was attached to a result."""

    drafts: tuple[str, ...] = ()


class Keeping:
    """Gives computations a place for attachments, and keeps what they put there.

    Args:
        store: Where attachments are kept.
        root: Where the places are, in the directories of their jobs.
        lease_seconds: How long a database that cannot be used is waited for.
        trouble_seconds: How long a failure stands in the log before the next one does.
    """

    def __init__(
        self, store: AttachmentStore, root: Path, *, lease_seconds: float, trouble_seconds: float
    ) -> None:
        self._store = store
        self._root = root
        self._lease_seconds = lease_seconds
        self._trouble_seconds = trouble_seconds

    @asynccontextmanager
    async def place(self, job: StoredJob, loaded: Loaded) -> AsyncIterator[AttachmentPlace | None]:
        """Lend a place to one attempt at a job; None if its proof type attaches nothing.

        What a worker that is killed leaves behind is removed with the directory of the job.

        Raises:
            OSError: There is no room for it.
        """
        if not loaded.attaches:
            yield None
            return
        directory = await asyncio.to_thread(self._make, job.id)
        try:
            yield loaded.limits.attachment_place(Path(directory.name))
        finally:
            await asyncio.to_thread(directory.cleanup)

    def _make(self, job_id: str) -> "tempfile.TemporaryDirectory[str]":
        (self._root / job_id).mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix="attachments-", dir=self._root / job_id, ignore_cleanup_errors=True
        )

    async def keep(self, lease: Lease | None, job: StoredJob, taken: TakenIn) -> Kept:
        """Store what was attached as drafts of the job's attachments.

        Args:
            lease: The lease that the job is computed under.
            job: The job.
            taken: What was attached.

        Raises:
            LeaseLost: The lease is no longer held.
            StoreError: The database could not be used for as long as a lease may last.
            ResultInvalid: A file has changed since it was looked at.
        """
        if not taken.attached:
            return Kept()
        if lease is None:
            raise LeaseLost(f"job {job.id} is computed without a lease: nothing is attached to it")
        drafts = [await self._keep_one(lease, job, each) for each in taken.attached]
        return Kept(tuple(drafts))

    async def _keep_one(self, lease: Lease, job: StoredJob, attached: Attached) -> str:
        draft = await self._insist(job, lambda: self._store.begin(lease, attached.name))
        digest = sha256()
        with await asyncio.to_thread(open_regular, attached.path) as stream:
            number = 0
            while data := await asyncio.to_thread(stream.read, CHUNK_BYTES):
                digest.update(data)
                await self._insist(job, _adding(self._store, lease, draft, number, data))
                number += 1
        if digest.hexdigest() != attached.stated.sha256:
            raise ResultInvalid(f"its attachment {attached.name} has changed after its end")
        return draft

    async def _insist(self, job: StoredJob, attempt: Callable[[], Awaitable[T]]) -> T:
        """Do something that a server may refuse for now, as long as the lease may last."""
        now = asyncio.get_running_loop().time
        ends = now() + self._lease_seconds
        trouble = Trouble(
            f"keeping what is attached to {job.group_id} {job.name}",
            log,
            first_seconds=self._trouble_seconds,
        )
        while True:
            try:
                done = await attempt()
            except LeaseLost:
                raise
            except StoreError as error:
                wait = trouble.failed(error)
                if now() + wait > ends:
                    raise
                await asyncio.sleep(wait)
            else:
                trouble.passed()
                return done


def _adding(
    store: AttachmentStore, lease: Lease, draft: str, number: int, data: bytes
) -> Callable[[], Awaitable[None]]:
    return lambda: store.add(lease, draft, number, data)
