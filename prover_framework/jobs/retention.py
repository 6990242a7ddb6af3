"""Retention: what ended long ago is removed, a little at a time."""

from collections.abc import Awaitable, Callable

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.jobs.removal import EVENTS_AT_ONCE, Place, Removal


@frozen
class Pruned:
    """What pruning has come to.

    Args:
        groups: How many groups were, or would be, removed.
        events: How many events were removed.
    """

    groups: int
    events: int


async def prune(
    database: Database,
    removal: Removal,
    before_ms: int,
    *,
    keep: Callable[[str], Awaitable[None]] | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove groups that ended before a time, and events from before it.

    Each transaction is short, and others write in between. Whatever ends this early, what was
    removed is whole groups.

    Args:
        database: Where they are.
        removal: What removes them.
        before_ms: The time, in milliseconds since the Unix epoch by the database's clock.
        keep: Called with the id of each group before it is removed; an error ends it all.
        dry_run: Only count groups.

    Raises:
        StoreError: The database cannot be used.
    """
    groups = events = 0
    place: Place | None = Place()
    while place is not None:
        found = await removal.old(before_ms, place)
        if dry_run:
            groups += len(found.groups)
        elif found.groups:
            if keep is not None:
                for group_id in found.groups:
                    await keep(group_id)
            groups += len(await removal.remove(found.groups))
        place = found.next
    while not dry_run:
        removed = await removal.remove_old_events(before_ms)
        events += removed
        if removed < EVENTS_AT_ONCE:
            break
        await database.let_others_write()
    return Pruned(groups, events)
