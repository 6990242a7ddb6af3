"""A worker removes what is older than the operator wants to keep."""

import asyncio
import logging

from prover_framework.database.database import Database
from prover_framework.jobs.removal import Removal
from prover_framework.jobs.retention import prune
from prover_framework.logs import Trouble
from prover_framework.worker.loops import is_unforeseen, rest

log = logging.getLogger(__name__)

# How often it looks: what is kept an hour too long harms nobody.
PRUNE_SECONDS = 3600.0

DAY_MS = 86_400_000


class RetentionLoop:
    """Prunes again and again until the worker stops; see `prune`.

    Args:
        database: Where it prunes.
        days: How many days what has ended is kept.
        stopping: Ends the loop.
    """

    def __init__(self, database: Database, days: float, stopping: asyncio.Event) -> None:
        self._database = database
        self._removal = Removal(database)
        self._days = days
        self._stopping = stopping
        self._trouble = Trouble("pruning", log, first_seconds=1.0)

    async def run(self) -> None:
        """Prune until the worker stops."""
        while not self._stopping.is_set():
            wait = PRUNE_SECONDS
            try:
                before = await self._database.now_ms() - round(self._days * DAY_MS)
                pruned = await prune(self._database, self._removal, before)
                if pruned.groups or pruned.events:
                    log.info(
                        "removed %d groups and %d events older than %g days",
                        pruned.groups,
                        pruned.events,
                        self._days,
                    )
            except Exception as error:
                wait = self._trouble.failed(error, stack=is_unforeseen(error))
            else:
                self._trouble.passed()
            await rest(self._stopping, wait)
