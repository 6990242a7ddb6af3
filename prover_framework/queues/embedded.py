"""A queue that is a table in the same database: nothing to install, nothing to configure.

Receivers that wait are woken by what their own process sends. What other processes send they find
by looking: on SQLite 25 ms later at the most, on PostgreSQL, which keeps no mark of changes, and
for messages that become visible by time alone, a quarter of a second later.
"""

import asyncio
import secrets
from collections.abc import Sequence

from tortoise.queryset import QuerySet

from prover_framework.coalesce import Coalescer
from prover_framework.errors import StoreError
from prover_framework.queues.base import Outgoing, Received, SendFailure
from prover_framework.store.database import Database
from prover_framework.store.engine import storable
from prover_framework.store.models import DeadLetter, QueueMessage

# How often a waiting receive asks whether another process has committed something. The question
# is answered from shared memory; at this pace it costs about half a percent of a core.
POLL_SECONDS = 0.025

# How often it looks into the table all the same, for messages that become visible by time alone.
LOOK_SECONDS = 0.25

INSERT = "INSERT INTO queue_message (queue, body, visible_at, receive_count) VALUES (?, ?, ?, 0)"


class EmbeddedQueue:
    """Named queues in one table; see `prover_framework.queues.base.Queue`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Set, and replaced, by each change of this process that a waiting receive should look at.
        self._changed = asyncio.Event()
        self._interrupted = False
        self._insert: Coalescer[Sequence[Outgoing], None] = Coalescer(self._insert_all)
        self._remove: Coalescer[Received, None] = Coalescer(self._remove_all)

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        """Send messages; all of them or, when the database refuses, none."""
        try:
            await self._insert(messages)
        except StoreError as error:
            return [SendFailure(message.job_id, str(error)) for message in messages]
        return []

    async def _insert_all(self, batches: Sequence[Sequence[Outgoing]]) -> list[None]:
        async with self._database.transaction() as connection:
            now = await self._database.now_ms(connection)
            await connection.run_many(
                INSERT,
                [
                    [message.queue, message.body, now + round(message.delay_seconds * 1000)]
                    for batch in batches
                    for message in batch
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
            mark = await self._database.change_mark()
            messages = await self._take_visible(queue, limit, visibility_seconds)
            if messages or not await self._news(changed, mark, deadline):
                return messages

    def interrupt(self) -> None:
        """Make receives that wait return, now and from now on."""
        self._interrupted = True
        self._announce()

    async def delete(self, message: Received) -> None:
        """Remove a message."""
        await self._remove(message)

    async def _remove_all(self, messages: Sequence[Received]) -> list[None]:
        async with self._database.transaction() as connection:
            await _received(messages).using_db(connection).delete()
        return [None] * len(messages)

    async def hide(self, messages: Sequence[Received], seconds: float) -> None:
        """Make messages invisible for ``seconds`` from now."""
        if not messages:
            return
        async with self._database.transaction() as connection:
            now = await self._database.now_ms(connection)
            await (
                _received(messages)
                .using_db(connection)
                .update(visible_at=now + round(seconds * 1000))
            )
        self._announce()

    async def bury(self, message: Received, reason: str) -> None:
        """Move a message to the dead letters, in one transaction."""
        async with self._database.transaction() as connection:
            now = await self._database.now_ms(connection)
            if await _received([message]).using_db(connection).delete():
                await DeadLetter.create(
                    queue=message.queue,
                    body=message.body,
                    reason=storable(reason),
                    died_at=now,
                    using_db=connection,
                )

    async def close(self) -> None:
        """Finish what is under way."""
        await self._insert.drain()
        await self._remove.drain()

    def _announce(self) -> None:
        # A new event for those who look from now on: clearing one event for all receives would
        # take the news from those that have not yet woken up.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _news(self, changed: asyncio.Event, mark: int, deadline: float) -> bool:
        """Wait until looking again may find something; False when the wait is over."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + LOOK_SECONDS
        while not self._interrupted:
            now = loop.time()
            if now >= deadline:
                return False
            if now >= look_at or changed.is_set():
                return True
            if await self._database.change_mark() != mark:
                return True
            try:
                async with asyncio.timeout(min(POLL_SECONDS, deadline - now)):
                    await changed.wait()
            except TimeoutError:
                continue
        return False

    async def _take_visible(
        self, queue: str, limit: int, visibility_seconds: float
    ) -> list[Received]:
        # A look at the table costs no write lock while there is nothing to take.
        async with self._database.reading() as reader:
            now = await self._database.now_ms(reader)
            visible = QueueMessage.filter(queue=queue, visible_at__lte=now)
            if not await visible.using_db(reader).exists():
                return []
        async with self._database.transaction() as connection:
            now = await self._database.now_ms(connection)
            # Of two receivers each takes what the other has not locked. SQLite locks no rows: there
            # nobody else writes meanwhile.
            rows = (
                await QueueMessage.filter(queue=queue, visible_at__lte=now)
                .using_db(connection)
                .select_for_update(skip_locked=True)
                .order_by("visible_at", "id")
                .limit(limit)
            )
            received: list[Received] = []
            for row in rows:
                row.receipt = f"{row.id}-{secrets.token_hex(6)}"
                row.visible_at = now + round(visibility_seconds * 1000)
                row.receive_count += 1
                received.append(Received(row.queue, row.body, row.receipt, row.receive_count))
            if rows:
                await QueueMessage.bulk_update(
                    rows, fields=["receipt", "visible_at", "receive_count"], using_db=connection
                )
            return received


def _received(messages: Sequence[Received]) -> QuerySet[QueueMessage]:
    """Select messages by their receipts, those that are outdated excepted."""
    receipts = [message.receipt for message in messages]
    # The table has no index on receipts, so each names its row.
    ids = [int(receipt.partition("-")[0]) for receipt in receipts]
    return QueueMessage.filter(id__in=ids, receipt__in=receipts)
