"""Write down how far a computation is, as often as somebody may want to know, and not more often.

A job that says nothing of its progress costs nothing here.
"""

import asyncio
import logging

from prover_framework.errors import StoreError
from prover_framework.jobs.records import Lease, StoredJob
from prover_framework.jobs.store import JobStore
from prover_framework.model.work import Progress

log = logging.getLogger(__name__)

# How long to wait after one write before the next one.
REPORT_SECONDS = 1.0


class Reporter:
    """Writes the newest progress of one execution under its lease.

    Args:
        jobs: Where it is written.
        lease: The lease; without it nothing can be written.
        job: The job.
        seconds: How long to wait between two writes.
    """

    def __init__(
        self, jobs: JobStore, lease: Lease, job: StoredJob, *, seconds: float = REPORT_SECONDS
    ) -> None:
        self.subject = f"{job.group_id} {job.name}"
        self._jobs = jobs
        self._lease = lease
        self._seconds = seconds
        self._newest: Progress | None = None
        self._writing: asyncio.Task[None] | None = None

    def progress(self, progress: Progress) -> None:
        """Have a progress written soon, unless a newer one comes before that."""
        self._newest = progress
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write no more: the execution has ended, and what it was like is of no interest."""
        self._newest = None
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        while (progress := self._newest) is not None:
            self._newest = None
            try:
                await self._jobs.note_progress(self._lease, progress)
            except StoreError as error:
                # There will be another one, and the result does not depend on it.
                log.debug("%s: its progress is not written: %s", self.subject, error)
            await asyncio.sleep(self._seconds)
