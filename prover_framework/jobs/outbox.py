"""Events, and who has still to be told of them.

What makes an event so stores it, in the same transaction. It is numbered after that, by one
transaction at a time: a transaction that began earlier may commit later, so that who reads in the
order of numbers given at the insert would miss events. Where there is one writer at a time there is
no such transaction, and the one that ends a group numbers the event as well. With its number each
observer gets a delivery. A worker takes one under a lease and makes it; the row goes when that is
done.
"""

import secrets
from collections.abc import Sequence
from enum import StrEnum

from attrs import field, frozen

from prover_framework.database.database import Database
from prover_framework.database.engine import Connection, Row, Statements, rows_value

# Events that are numbered in one transaction.
PUBLISH_LIMIT = 100

# An observer that no worker has had for so long is not told any more: its plugin was removed. It
# is as long as a delivery is tried.
FORGET_SECONDS = 7 * 24 * 3600.0

# The lock of those who give numbers.
LOCK = "events"

# `FORGET_SECONDS` by the database's clock.
_FORGET_MS = round(FORGET_SECONDS * 1000)


class EventKind(StrEnum):
    """What has happened."""

    GROUP_ENDED = "group_ended"
    """The last open job of a group has ended; it may have a new life, and end again."""
    SEAL_MADE = "seal_made"
    """A receipt has gained a seal."""


@frozen(kw_only=True)
class Event:
    """Something that has happened.

    Args:
        number: Its place among all events: 1, 2, 3 and so on.
        kind: What.
        group_id: The group.
        job_id: Unique id of the job whose receipt has gained a seal; None: the group's own.
        seal_kind: Kind of the seal.
        at_ms: When, in milliseconds since the Unix epoch by the database's clock.
    """

    number: int
    kind: EventKind = field(converter=EventKind)
    group_id: str
    job_id: str | None
    seal_kind: str | None
    at_ms: int


@frozen(kw_only=True)
class Delivery:
    """The right to tell one observer of one end of a group.

    Args:
        id: Which of the deliveries.
        token: What every later write has to show.
        number: The event's number.
        group_id: The group that has ended.
        ended_at_ms: When, in milliseconds since the Unix epoch by the database's clock.
        tries: How often it was tried, with this time.
    """

    id: int
    token: str
    number: int
    group_id: str
    ended_at_ms: int
    tries: int


@frozen
class Work:
    """What there is to do: events without a number, or deliveries that are due."""

    unpublished: bool
    due: bool


@frozen
class Undelivered:
    """What an observer has still to be told.

    Args:
        observer: Name of its plugin; None: events that have no number yet.
        count: How many events.
        oldest_at: When the oldest was stored, in milliseconds since the Unix epoch.
    """

    observer: str | None
    count: int
    oldest_at: int


NOTE_SEAL = """
INSERT INTO event (kind, group_id, job_id, seal_kind, created_at)
VALUES ('seal_made', ?, (SELECT id FROM job WHERE group_id = ? AND name = ?), ?, NOW_MS)
"""

# Of each observer the first that is due: a server that does not know the observers' names would
# look for one of theirs through all deliveries.
LOOK = """
SELECT EXISTS (SELECT 1 FROM event WHERE number IS NULL) AS unpublished,
    EXISTS (
        SELECT 1 FROM ROWS(?) AS told(name TEXT)
        WHERE (
            SELECT due_at FROM delivery WHERE observer = told.name ORDER BY due_at LIMIT 1
        ) <= (SELECT NOW_MS)
    ) AS due
"""

# Run by one transaction at a time.
PUBLISH = """
WITH fresh AS (
        SELECT id AS fresh_id, ROW_NUMBER() OVER (ORDER BY id) AS place FROM (
            SELECT id FROM event WHERE number IS NULL ORDER BY id LIMIT ?
        ) AS unpublished
    ),
    published AS (SELECT COALESCE(MAX(number), 0) AS last FROM event WHERE number IS NOT NULL)
UPDATE event SET number = last + place FROM fresh, published WHERE id = fresh_id
RETURNING id
"""

FAN_OUT = f"""
INSERT INTO delivery (number, observer, group_id, created_at, tries, due_at)
SELECT number, name, group_id, created_at, 0, NOW_MS FROM event, observer
WHERE event.id = ANY(?) AND kind = 'group_ended' AND seen_at > NOW_MS - {_FORGET_MS}
ORDER BY number
"""  # noqa: S608 - a number of ours

AFTER = """
SELECT number, kind, group_id, job_id, seal_kind, created_at FROM event
WHERE number > ? ORDER BY number LIMIT ?
"""

# The index has them in order.
LAST = "SELECT COALESCE(MAX(number), 0) AS last FROM event WHERE number IS NOT NULL"

REGISTER = """
INSERT INTO observer (name, seen_at) SELECT name, NOW_MS FROM ROWS(?) AS here(name TEXT)
WHERE TRUE ON CONFLICT (name) DO UPDATE SET seen_at = NOW_MS
"""

# What kills its worker is tried more and more rarely, too.
HOLD = "due_at = NOW_MS + ? * {tries}"

TAKE = f"""
UPDATE delivery SET {HOLD.format(tries="(tries + 1)")}, lease_token = ?, tries = tries + 1
WHERE id = (
    SELECT id FROM delivery WHERE observer = ? AND due_at <= (SELECT NOW_MS)
    ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, lease_token, number, group_id, created_at, tries
"""  # noqa: S608 - of parts of ours

EXTEND = f"""
UPDATE delivery SET {HOLD.format(tries="tries")} WHERE id = ? AND lease_token = ? RETURNING id
"""  # noqa: S608 - as above

DONE = "DELETE FROM delivery WHERE id = ? AND lease_token = ? RETURNING id"

AGAIN = """
UPDATE delivery SET due_at = NOW_MS + ?, lease_token = NULL
WHERE id = ? AND lease_token = ? AND created_at > NOW_MS - ?
RETURNING id
"""

# Read as a whole: it holds nothing but what is to be counted.
UNDELIVERED = """
SELECT observer, COUNT(*) AS count, MIN(created_at) AS oldest FROM delivery GROUP BY observer
"""

UNPUBLISHED = """
SELECT NULL AS observer, COUNT(*) AS count, MIN(created_at) AS oldest
FROM event WHERE number IS NULL
"""


async def publish_in(connection: Statements) -> int:
    """Do what `Outbox.publish` does in a transaction that no other one writes beside.

    Raises:
        StoreError: The database refused.
    """
    rows = await connection.fetch(PUBLISH, [PUBLISH_LIMIT])
    if rows:
        await connection.fetch(FAN_OUT, [[row["id"] for row in rows]])
    return len(rows)


class Outbox:
    """Events in the database, and the deliveries of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Events

    async def publish(self) -> int:
        """Give numbers to events that have none, and deliveries to observers; return how many.

        Raises:
            StoreError: The database cannot be used.
        """
        async with self._database.transaction() as connection:
            await connection.lock(LOCK)
            return await publish_in(connection)

    async def events_after(self, number: int, limit: int) -> list[Event]:
        """Return the events that come after one, in the order of their numbers.

        Events have no gaps and come in this order for every reader, so that who goes on from the
        last number misses none. An event is there once it is published, which workers do.

        Args:
            number: The number of the last event that is known; 0 for none.
            limit: How many to return at the most.

        Raises:
            StoreError: The database cannot be used.
        """
        return list(map(_event, await self._database.read(AFTER, [number, limit])))

    async def last_number(self) -> int:
        """Return the number of the last event; 0 where there is none.

        Raises:
            StoreError: The database cannot be used.
        """
        (row,) = await self._database.read(LAST)
        return int(row["last"])

    # Deliveries

    async def register(self, observers: Sequence[str]) -> None:
        """Have observers told of what is published from now on: there is a worker with them.

        Raises:
            StoreError: The database cannot be used.
        """
        # In order: two workers must not each wait for the other.
        here = rows_value([{"name": name} for name in sorted(observers)])
        await self._database.write(REGISTER, [here])

    async def look(self, observers: Sequence[str]) -> Work:
        """Tell what there is to do for a worker with some observers.

        Raises:
            StoreError: The database cannot be used.
        """
        names = rows_value([{"name": name} for name in observers])
        (row,) = await self._database.read(LOOK, [names])
        return Work(bool(row["unpublished"]), bool(row["due"]))

    async def take(self, observer: str, *, lease_seconds: float) -> Delivery | None:
        """Take a delivery to an observer that is due, the longest due first.

        Nobody else gets it for the time of the lease, and for longer with each try.

        Raises:
            StoreError: The database cannot be used.
        """
        token = secrets.token_hex(16)
        values = [round(lease_seconds * 1000), token, observer]
        rows = await self._database.write(TAKE, values)
        return _delivery(rows[0]) if rows else None

    async def extend(self, delivery: Delivery, *, lease_seconds: float) -> bool:
        """Hold a delivery for longer; return whether it was still held.

        Raises:
            StoreError: The database cannot be used.
        """
        values = [round(lease_seconds * 1000), delivery.id, delivery.token]
        return bool(await self._database.beat(EXTEND, values))

    async def done(self, delivery: Delivery) -> bool:
        """Remove a delivery that was made; return whether it was still held.

        Raises:
            StoreError: The database cannot be used.
        """
        return bool(await self._database.write(DONE, [delivery.id, delivery.token]))

    async def try_again(
        self, delivery: Delivery, *, wait_seconds: float, give_up_seconds: float
    ) -> bool:
        """Leave a delivery for another try; return False if it was given up instead.

        Args:
            delivery: What could not be made.
            wait_seconds: How long nobody tries.
            give_up_seconds: How long after the event it is given up.

        Raises:
            StoreError: The database cannot be used.
        """
        values = [
            round(wait_seconds * 1000),
            delivery.id,
            delivery.token,
            round(give_up_seconds * 1000),
        ]
        # One that somebody else holds by now is that one's to give up.
        return bool(await self._database.write(AGAIN, values)) or not await self.done(delivery)

    async def undelivered(self) -> tuple[Undelivered, ...]:
        """Return what observers have still to be told.

        Raises:
            StoreError: The database cannot be used.
        """
        rows = [
            *await self._database.read(UNPUBLISHED),
            *await self._database.read(UNDELIVERED),
        ]
        return tuple(
            Undelivered(row["observer"], row["count"], row["oldest"])
            for row in rows
            if row["count"]
        )


async def note_seal(
    connection: Connection, *, group_id: str, job_name: str, seal_kind: str
) -> None:
    """Store that a receipt has gained a seal, in the transaction that stores the seal.

    Args:
        connection: Where that transaction runs.
        group_id: The group.
        job_name: Id in the group of the job whose receipt it is; empty: the group's own.
        seal_kind: Kind of the seal.

    Raises:
        StoreError: The database refused.
    """
    await connection.fetch(NOTE_SEAL, [group_id, group_id, job_name, seal_kind])


def _event(row: Row) -> Event:
    number, kind, group_id, job_id, seal_kind, created_at = row
    return Event(
        number=number,
        kind=kind,
        group_id=group_id,
        job_id=job_id,
        seal_kind=seal_kind,
        at_ms=created_at,
    )


def _delivery(row: Row) -> Delivery:
    id_, token, number, group_id, created_at, tries = row
    return Delivery(
        id=id_,
        token=token,
        number=number,
        group_id=group_id,
        ended_at_ms=created_at,
        tries=tries,
    )
