"""A queue of messages that is a table of the test's own database.

What a worker does with messages is tried with it: it is quick, keeps the order of sending, and its
visibility follows the database's clock, which the test can own. What it has in common with SQS is
held by the contract that both pass (`queue_contract`).
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Self

from attrs import frozen

from prover_framework.database.batching import Batcher
from prover_framework.database.database import Database
from prover_framework.database.engine import rows_value, storable
from prover_framework.errors import StoreError
from prover_framework.queues.base import Outgoing, QueueStatus, Received, SendFailure

# How often a waiting receive looks into the table.
LOOK_SECONDS = 0.025

INSERT = """
INSERT INTO queue_message (queue, body, visible_at, receive_count)
SELECT new.queue, new.body, NOW_MS + new.delay_ms, 0
FROM ROWS(?) AS new(queue TEXT, body TEXT, delay_ms BIGINT)
"""

LOOK = "SELECT id FROM queue_message WHERE queue = ? AND visible_at <= (SELECT NOW_MS) LIMIT 1"

# Two receivers each take what the other has not locked. What is to be taken is chosen once: a
# subquery in its place may be asked again for each row, and choose others.
RECEIVE = """
WITH chosen AS (
    SELECT id FROM queue_message WHERE queue = ? AND visible_at <= (SELECT NOW_MS)
    ORDER BY visible_at, id LIMIT ? FOR UPDATE SKIP LOCKED
)
UPDATE queue_message SET
    visible_at = NOW_MS + ?, receive_count = receive_count + 1,
    receipt_handle = CAST(id AS VARCHAR(20)) || '-' || ?
WHERE id IN (SELECT id FROM chosen)
RETURNING id, body, receipt_handle, receive_count
"""

# Messages by their receipt handles, those that are outdated excepted. There is no index on them, so
# each names its row.
RECEIVED = "id = ANY(?) AND receipt_handle = ANY(?)"

DELETE = f"DELETE FROM queue_message WHERE {RECEIVED} RETURNING id"

CHANGE_VISIBILITY = (
    f"UPDATE queue_message SET visible_at = NOW_MS + ? WHERE {RECEIVED} RETURNING id"
)

BURY = "INSERT INTO dead_letter (queue, body, reason, died_at) VALUES (?, ?, ?, NOW_MS)"

COUNT = """
SELECT COUNT(CASE WHEN visible_at <= NOW_MS THEN 1 END) AS visible,
    COUNT(CASE WHEN visible_at > NOW_MS AND receive_count > 0 THEN 1 END) AS in_flight,
    COUNT(CASE WHEN visible_at > NOW_MS AND receive_count = 0 THEN 1 END) AS later
FROM queue_message WHERE queue = ?
"""

COUNT_DEAD = "SELECT COUNT(*) AS dead FROM dead_letter WHERE queue = ?"

# A statement each; the key counts by itself, which SQLite says in another way.
MAKE_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS queue_message (
        id {key} PRIMARY KEY, queue TEXT, body TEXT, visible_at BIGINT, receive_count INT,
        receipt_handle TEXT
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS dead_letter (
        id {key} PRIMARY KEY, queue TEXT, body TEXT, reason TEXT, died_at BIGINT
    )
    """,
)


@frozen
class Message:
    """A message as it stands in the table."""

    id: int
    queue: str
    body: str
    visible_at: int
    receive_count: int
    receipt_handle: str | None


@frozen
class Dead:
    """A dead letter as it stands in the table."""

    id: int
    queue: str
    body: str
    reason: str
    died_at: int


class TableQueue:
    """Named queues in one table; see `prover_framework.queues.base.Queue`.

    Args:
        database: Where the table is.
        look_seconds: How often a receive that waits looks into it.
    """

    def __init__(
        self,
        database: Database,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._database = database
        self._look_seconds = look_seconds
        # Set, and replaced, by each change of this process that a waiting receive should look at.
        self._changed = asyncio.Event()
        self._interrupted = False
        self._insert: Batcher[Sequence[Outgoing], None] = Batcher(self._insert_all)
        self._remove: Batcher[Received, None] = Batcher(self._remove_all)

    @classmethod
    async def open(cls, database: Database, **waits: float) -> Self:
        """Make the tables, where they are not there, and the queue."""
        key = "INTEGER" if database.embedded else "BIGSERIAL"
        for statement in MAKE_TABLES:
            await database.write(statement.format(key=key))
        return cls(database, **waits)

    async def messages(self) -> list[Message]:
        """Return all messages, oldest first."""
        rows = await self._database.read("SELECT * FROM queue_message ORDER BY id")
        return [Message(**dict(row)) for row in rows]

    async def dead(self) -> list[Dead]:
        """Return the dead letters, oldest first."""
        rows = await self._database.read("SELECT * FROM dead_letter ORDER BY id")
        return [Dead(**dict(row)) for row in rows]

    async def lose_all(self) -> None:
        """Lose all messages, as a queue that is purged does."""
        await self._database.write("DELETE FROM queue_message RETURNING id")

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        """Send messages; all of them or, when the database refuses, none."""
        try:
            await self._insert(messages)
        except StoreError as error:
            return [SendFailure(message.job_id, str(error)) for message in messages]
        return []

    async def _insert_all(self, batches: Sequence[Sequence[Outgoing]]) -> list[None]:
        await self._database.write(
            INSERT,
            [
                rows_value(
                    [
                        {
                            "queue": message.queue,
                            "body": message.body,
                            "delay_ms": round(message.delay_seconds * 1000),
                        }
                        for batch in batches
                        for message in batch
                    ]
                )
            ],
        )
        self._announce()
        return [None] * len(batches)

    async def receive(
        self, queue: str, *, limit: int, wait_seconds: float, visibility_seconds: float
    ) -> list[Received]:
        """Receive messages, oldest first."""
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while True:
            changed = self._changed
            messages = await self._take_visible(queue, limit, visibility_seconds)
            if messages or not await self._news(changed, deadline):
                return messages

    def interrupt(self) -> None:
        """Make receives that wait return, now and from now on."""
        self._interrupted = True
        self._announce()

    async def delete(self, message: Received) -> None:
        """Remove a message."""
        await self._remove(message)

    async def _remove_all(self, messages: Sequence[Received]) -> list[None]:
        await self._database.write(DELETE, _received(messages))
        return [None] * len(messages)

    async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
        """Make messages invisible for ``seconds`` from now."""
        if messages:
            await self._database.write(
                CHANGE_VISIBILITY, [round(seconds * 1000), *_received(messages)]
            )
            self._announce()

    async def bury(self, message: Received, reason: str) -> None:
        """Move a message to the dead letters, in one transaction."""
        async with self._database.transaction() as connection:
            if await connection.fetch(DELETE, _received([message])):
                await connection.fetch(BURY, [message.queue, message.body, storable(reason)])

    async def status(self, queue: str) -> QueueStatus:
        """Count the messages of a queue and its dead letters.

        Raises:
            StoreError: The database refused, and why.
        """
        return await queue_status(self._database, queue)

    async def close(self) -> None:
        """Finish what is under way."""
        await self._insert.drain()
        await self._remove.drain()

    def _announce(self) -> None:
        # A new event for those who look from now on: clearing one event for all receives would
        # take the news from those that have not yet woken up.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _news(self, changed: asyncio.Event, deadline: float) -> bool:
        """Wait until looking again may find something; False when the wait is over."""
        left = deadline - asyncio.get_running_loop().time()
        if self._interrupted or left <= 0:
            return False
        try:
            async with asyncio.timeout(min(self._look_seconds, left)):
                await changed.wait()
        except TimeoutError:
            pass
        return not self._interrupted

    async def _take_visible(
        self, queue: str, limit: int, visibility_seconds: float
    ) -> list[Received]:
        # A look costs no write lock while there is nothing to take; only SQLite has that one lock.
        if self._database.embedded and not await self._database.read(LOOK, [queue]):
            return []
        rows = await self._database.write(
            RECEIVE, [queue, limit, round(visibility_seconds * 1000), secrets.token_hex(6)]
        )
        return [
            Received(queue, row["body"], row["receipt_handle"], row["receive_count"])
            for row in sorted(rows, key=lambda row: row["id"])
        ]


async def queue_status(database: Database, queue: str) -> QueueStatus:
    """Count the messages of a queue and its dead letters.

    Raises:
        StoreError: The database refused, and why.
    """
    (messages,) = await database.read(COUNT, [queue])
    (letters,) = await database.read(COUNT_DEAD, [queue])
    return QueueStatus(
        visible=messages["visible"],
        in_flight=messages["in_flight"],
        delayed=messages["later"],
        dead_letters=letters["dead"],
    )


def _received(messages: Sequence[Received]) -> list[object]:
    """Return the values that `RECEIVED` takes."""
    handles = [message.receipt_handle for message in messages]
    return [[int(handle.partition("-")[0]) for handle in handles], handles]
