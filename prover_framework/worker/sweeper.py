"""Sweeps: send again what is overdue, and free the leases of workers that are lost."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.records import Failure
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.logs import Trouble
from prover_framework.model.jobs import NOT_CAPABLE
from prover_framework.worker.directories import CLEAN_SECONDS, KeptDirectories
from prover_framework.worker.incapable import not_capable
from prover_framework.worker.loops import is_unforeseen, rest

log = logging.getLogger(__name__)

# Jobs that one sweep sends again; the next one comes soon enough for the others.
SWEEP_LIMIT = 100


class Sweeper:
    """Sweeps again and again until the worker stops.

    Args:
        jobs: Where jobs are.
        service: What sends their messages.
        proof_types: What this worker can do: such jobs need not wait longer because no other could.
        lacks: Says what this worker lacks for a proof type, parameters apart.
        directories: What jobs that have ended elsewhere have left on this machine.
        attachments: What attempts that came to nothing have left of them in the database.
        stopping: Ends the sweeps.
        by_messages: Whether messages wake workers; else the table of jobs is the queue.
        sweep_seconds: How long to wait between two of them.
        trouble_seconds: How long to wait at least after one that failed.
    """

    def __init__(
        self,
        jobs: JobStore,
        service: ProvingService,
        proof_types: Sequence[str],
        lacks: Callable[[str, None], str | None],
        directories: KeptDirectories,
        attachments: AttachmentStore,
        stopping: asyncio.Event,
        *,
        by_messages: bool,
        sweep_seconds: float,
        trouble_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._service = service
        self._proof_types = proof_types
        self._directories = directories
        self._attachments = attachments
        self._cleaned_at = -math.inf
        self._stopping = stopping
        self._by_messages = by_messages
        self._lacks = lacks
        self._sweep_seconds = sweep_seconds
        self._trouble = Trouble("a sweep", log, first_seconds=trouble_seconds)

    async def run(self) -> None:
        """Sweep until the worker stops."""
        is_first = True
        while not self._stopping.is_set():
            wait = self._sweep_seconds
            try:
                if is_first:
                    await self._jobs.wake_left(NOT_CAPABLE, self._proof_types)
                    is_first = False
                await self.sweep()
                await self._clean()
            except Exception as error:
                wait = max(wait, self._trouble.failed(error, stack=is_unforeseen(error)))
            else:
                self._trouble.passed()
            await rest(self._stopping, wait)

    async def _clean(self) -> None:
        now = time.monotonic()
        if now - self._cleaned_at >= CLEAN_SECONDS:
            self._cleaned_at = now
            await self._directories.clean()
            await self._attachments.remove_left()

    async def sweep(self) -> None:
        """Free leases that have expired, and see to it that workers find the jobs that are due.

        Raises:
            StoreError: The database cannot be used.
        """
        if self._by_messages:
            await self._service.send(await self._jobs.sweep(SWEEP_LIMIT))
        else:
            await self._jobs.make_ready(SWEEP_LIMIT, self._lacking)

    def _lacking(self, proof_type: str) -> Failure | None:
        missing = self._lacks(proof_type, None)
        return not_capable(missing) if missing else None
