"""Dead letters of the queue that is a table: a table as well."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.database.tables import DeadLetter, QueueMessage
from prover_framework.errors import StoreError
from prover_framework.queues.base import Letter, LetterFailure


class EmbeddedDeadLetters:
    """Dead letters in a table; see `prover_framework.queues.base.DeadLetters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def hold(self, queue: str, *, limit: int) -> "AsyncIterator[EmbeddedLetters]":
        """Read letters, oldest first. Nothing needs to hold them: of two who decide, one is late.

        Raises:
            StoreError: The database refused, and why.
        """
        async with self._database.reading() as reader:
            rows = await (
                DeadLetter.filter(queue=queue)
                .using_db(reader)
                .order_by("died_at", "id")
                .limit(limit)
            )
        yield EmbeddedLetters(
            self._database,
            [
                Letter(
                    id=str(row.id),
                    queue=row.queue,
                    body=row.body,
                    reason=row.reason,
                    died_at_ms=row.died_at,
                )
                for row in rows
            ],
        )


@frozen
class EmbeddedLetters:
    """Letters that were read; see `prover_framework.queues.base.HeldLetters`."""

    _database: Database
    letters: Sequence[Letter]

    async def redrive(self, letters: Sequence[Letter]) -> list[LetterFailure]:
        """Move letters to their queue, all of them in one transaction."""
        return await self._take_out(letters, send=True)

    async def drop(self, letters: Sequence[Letter]) -> list[LetterFailure]:
        """Remove letters for good."""
        return await self._take_out(letters, send=False)

    async def _take_out(self, letters: Sequence[Letter], *, send: bool) -> list[LetterFailure]:
        try:
            async with self._database.transaction() as connection:
                wanted = DeadLetter.filter(id__in=[int(letter.id) for letter in letters])
                rows = await wanted.using_db(connection).order_by("id").select_for_update()
                if send:
                    await QueueMessage.bulk_create(
                        [
                            # It has been due ever since.
                            QueueMessage(queue=row.queue, body=row.body, visible_at=row.died_at)
                            for row in rows
                        ],
                        using_db=connection,
                    )
                await wanted.using_db(connection).delete()
        except StoreError as error:
            return [LetterFailure(letter.id, str(error)) for letter in letters]
        found = {str(row.id) for row in rows}
        return [
            LetterFailure(letter.id, "somebody else has redriven or dropped it")
            for letter in letters
            if letter.id not in found
        ]
