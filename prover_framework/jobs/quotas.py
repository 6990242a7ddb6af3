"""Quotas: a clear refusal while there is still room to finish what is stored."""

import math
import time

from prover_framework.database.database import Database
from prover_framework.database.sizes import size_of
from prover_framework.errors import StoreFull
from prover_framework.settings import Settings

MIB = 2**20

# How long what was found is taken to hold: a refusal may come as late as this, and go as late.
LOOK_SECONDS = 2.0

WHAT_HELPS = '"prover prune" removes what is old, see PROVER_RETENTION_DAYS'


class Quotas:
    """Says whether there is room for further groups.

    Args:
        database: What is looked at.
        settings: How much there may be.
        look_seconds: How long what was found is taken to hold.
    """

    def __init__(
        self, database: Database, settings: Settings, *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._database = database
        self._settings = settings
        self._look_seconds = look_seconds
        self._looked_at = -math.inf
        self._problem: str | None = None

    async def require_room(self) -> None:
        """Require that there is room for one group more.

        Raises:
            StoreFull: There is none, which quota says so, and what to do.
            StoreError: The database cannot be used.
        """
        now = time.monotonic()
        if now - self._looked_at >= self._look_seconds:
            # Those who come meanwhile need not look as well.
            self._looked_at = now
            self._problem = await self._find_problem()
        if self._problem is not None:
            raise StoreFull(self._problem)

    async def _find_problem(self) -> str | None:
        settings = self._settings
        if settings.max_database_mb is None and not self._database.embedded:
            return None
        size = await size_of(self._database)
        if size.disk_free is not None and size.disk_free < settings.min_free_disk_mb * MIB:
            return (
                f"the disk of the database {self._database.name} has {size.disk_free // MIB} MiB "
                f"left, and PROVER_MIN_FREE_DISK_MB wants {settings.min_free_disk_mb}: free some"
            )
        used = size.used - (size.reusable or 0)
        if settings.max_database_mb is not None and used > settings.max_database_mb * MIB:
            return (
                f"the database has {used // MIB} MiB, and PROVER_MAX_DATABASE_MB allows "
                f"{settings.max_database_mb}: {WHAT_HELPS}"
            )
        return None
