"""How large a database is, and how much room its disk has."""

import shutil
from pathlib import Path

from attrs import frozen

from prover_framework.database.database import Database


@frozen(kw_only=True)
class DatabaseSize:
    """Sizes in bytes.

    Args:
        used: What the database takes.
        reusable: How much of that holds nothing and is written to before it grows; None where the
            server knows that alone.
        disk_free: What is free on its disk; None where that is a server's.
    """

    used: int
    reusable: int | None = None
    disk_free: int | None = None


async def size_of(database: Database) -> DatabaseSize:
    """Ask how large a database is; it costs no look at any table.

    Raises:
        StoreError: The database cannot be used.
    """
    if not database.embedded:
        (row,) = await database.read("SELECT pg_database_size(current_database()) AS bytes")
        return DatabaseSize(used=row["bytes"])
    sizes = {}
    for name in ("page_size", "page_count", "freelist_count"):
        ((sizes[name],),) = await database.read(f"PRAGMA {name}")
    return DatabaseSize(
        used=sizes["page_size"] * sizes["page_count"],
        reusable=sizes["page_size"] * sizes["freelist_count"],
        disk_free=shutil.disk_usage(Path(database.name).parent).free,
    )
