"""How much is used of what operators bound: open jobs, the groups of keys, the database."""

from collections.abc import Mapping

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.database.sizes import DatabaseSize, size_of
from prover_framework.jobs.sql import OPEN_GROUPS_OF_KEYS
from prover_framework.jobs.store import JobStore
from prover_framework.settings import Settings


@frozen(kw_only=True)
class Usage:
    """What is used, and how much may be.

    Args:
        open_jobs: Jobs that have not ended, as far as they are counted: up to one more than may be.
        max_open_jobs: How many there may be.
        groups_of_keys: How many groups with such jobs API keys have, by the ids of the keys; those
            that have none are missing.
        size: What the database takes, and what its disk has left.
        max_database_mb: How large it may be; None where nobody says.
        min_free_disk_mb: What its disk has to have left for further groups.
        retention_days: After how many days what has ended is removed; None: never.
    """

    open_jobs: int
    max_open_jobs: int
    groups_of_keys: Mapping[str, int]
    size: DatabaseSize
    max_database_mb: int | None
    min_free_disk_mb: int
    retention_days: float | None


async def usage_of(database: Database, jobs: JobStore, settings: Settings) -> Usage:
    """Look how much is used.

    Raises:
        StoreError: The database cannot be read.
    """
    rows = await database.read(OPEN_GROUPS_OF_KEYS)
    return Usage(
        open_jobs=await jobs.count_open(settings.max_open_jobs + 1),
        max_open_jobs=settings.max_open_jobs,
        groups_of_keys={str(row["api_key"]): int(row["count"]) for row in rows},
        size=await size_of(database),
        max_database_mb=settings.max_database_mb,
        min_free_disk_mb=settings.min_free_disk_mb,
        retention_days=settings.retention_days,
    )
