"""Open the database that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds, Clock
from prover_framework.settings import Settings


def make_database(
    settings: Settings, bounds: Bounds | None = None, clock: Clock | None = None
) -> Database:
    """Return the database that the settings name, yet to be opened."""
    return Database(settings.database_url or settings.sqlite_path.absolute(), clock, bounds)


@asynccontextmanager
async def open_database(
    settings: Settings, bounds: Bounds | None = None, clock: Clock | None = None
) -> AsyncIterator[Database]:
    """Open the database and require that its schema is this version's.

    Args:
        settings: They name it.
        bounds: How long it may take; None: as long as commands need.
        clock: Stands in for the database's own clock.

    Raises:
        SchemaMismatch: It is not, and what to do; an empty embedded database gets its tables.
        StoreError: The database cannot be used.
    """
    async with make_database(settings, bounds, clock) as database:
        await database.require_schema()
        yield database
