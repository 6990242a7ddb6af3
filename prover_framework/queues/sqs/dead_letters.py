"""Dead letters on AWS SQS: the messages of a queue's dead-letter queue.

SQS shows a message only to who receives it. Whoever looks therefore holds what he sees: it is
invisible to others for a while, and given back at the end. Each look counts as a receive, which
is of no consequence in a dead-letter queue that has no redrive policy of its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from prover_framework.errors import QueueError
from prover_framework.queues.base import Letter, LetterFailure, Outgoing, Received
from prover_framework.queues.sqs.client import call, open_client
from prover_framework.queues.sqs.queue import (
    DELETE_LANES,
    MAX_BATCH,
    QUEUE_ATTRIBUTE,
    REASON_ATTRIBUTE,
    SEND_LANES,
    VISIBILITY_LANES,
    SqsQueue,
    no_url,
)
from prover_framework.queues.sqs.status import dead_letter_url

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

log = logging.getLogger(__name__)

# How long letters are invisible to others at the most, should their reader be killed.
HOLD_SECONDS = 120

# A person waits for these calls.
PATIENCE_SECONDS = 30.0


@frozen(kw_only=True)
class Reading:
    """How long dead letters are looked for.

    Args:
        read_seconds: How long, in all: a part of the time that they are invisible for, so that
            some is left for what is decided about them.
        wait_seconds: How long one receive waits, whole seconds. One that waits asks all of SQS's
            servers; one that does not may miss what is there.
    """

    read_seconds: float = 60.0
    wait_seconds: int = 1


USUAL_READING = Reading()


@asynccontextmanager
async def open_dead_letters(
    urls: Mapping[str, str], *, reading: Reading = USUAL_READING
) -> "AsyncIterator[SqsDeadLetters]":
    """Open the dead letters of some queues.

    Args:
        urls: URL of each queue by its name.
        reading: How long letters are looked for.

    Raises:
        QueueError: AWS's configuration in the environment is incomplete.
    """
    async with open_client(SEND_LANES + DELETE_LANES + VISIBILITY_LANES) as client:
        yield SqsDeadLetters(client, urls, reading)


class SqsDeadLetters:
    """Dead letters on SQS; see `prover_framework.queues.base.DeadLetters`.

    Args:
        client: The client.
        urls: URL of each queue by its name.
        reading: How long letters are looked for.
    """

    def __init__(self, client: "SQSClient", urls: Mapping[str, str], reading: Reading) -> None:
        self._client = client
        self._reading = reading
        self._urls = dict(urls)

    @asynccontextmanager
    async def hold(self, queue: str, *, limit: int) -> "AsyncIterator[HeldSqsLetters]":
        """Receive letters until there are no more, the limit is reached, or a minute is over.

        Letters that SQS itself moved here are said to come from ``queue``: it does not tell.

        Raises:
            QueueError: There is no dead-letter queue, or it cannot be read.
        """
        if queue not in self._urls:
            raise QueueError(no_url(queue))
        url = await dead_letter_url(
            self._client, self._urls[queue], queue=queue, seconds=PATIENCE_SECONDS
        )
        if url is None:
            raise QueueError(
                f'queue {queue!r} has no dead-letter queue; "prover queue create" makes one'
            )
        held = HeldSqsLetters(self._client, self._urls, queue, url, self._reading)
        try:
            await held.read(limit)
            yield held
        finally:
            await held.release()


class HeldSqsLetters:
    """Letters that are invisible to others; see `prover_framework.queues.base.HeldLetters`."""

    def __init__(
        self,
        client: "SQSClient",
        urls: Mapping[str, str],
        queue: str,
        dead_url: str,
        reading: Reading,
    ) -> None:
        self._client = client
        self._reading = reading
        self._source = queue
        self._dead_url = dead_url
        # The dead-letter queue is one more queue, under the name that errors call it by.
        self._place = f"dead letters of {queue}"
        self._queue = SqsQueue(
            client, {**urls, self._place: dead_url}, call_seconds=PATIENCE_SECONDS
        )
        self._letters: dict[str, Letter] = {}
        self._held: dict[str, Received] = {}

    @property
    def letters(self) -> Sequence[Letter]:
        """The letters, oldest first."""
        return sorted(self._letters.values(), key=lambda letter: letter.died_at_ms)

    async def read(self, limit: int) -> None:
        """Receive up to ``limit`` letters."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._reading.read_seconds
        while len(self._letters) < limit and loop.time() < deadline:
            receiving = asyncio.create_task(self._receive(limit - len(self._letters)))
            try:
                await asyncio.wait({receiving})
            finally:
                # Also when the reader has lost patience: a receive that is cut off hides what it
                # would have brought.
                messages = await receiving
                self._take_in(messages)
            if not messages:
                return

    async def _receive(self, limit: int) -> "Sequence[MessageTypeDef]":
        answer = await call(
            self._client,
            self._client.receive_message(
                QueueUrl=self._dead_url,
                MaxNumberOfMessages=min(limit, MAX_BATCH),
                WaitTimeSeconds=self._reading.wait_seconds,
                VisibilityTimeout=HOLD_SECONDS,
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=[REASON_ATTRIBUTE, QUEUE_ATTRIBUTE],
            ),
            what="reading the dead letters of",
            queue=self._source,
            seconds=self._reading.wait_seconds + PATIENCE_SECONDS,
        )
        return answer.get("Messages", [])

    def _take_in(self, messages: "Iterable[MessageTypeDef]") -> None:
        for message in messages:
            id_, body = message.get("MessageId", ""), message.get("Body", "")
            sent = message.get("Attributes", {}).get("SentTimestamp", "")
            self._letters[id_] = Letter(
                id=id_,
                queue=_attribute(message, QUEUE_ATTRIBUTE) or self._source,
                body=body,
                reason=_attribute(message, REASON_ATTRIBUTE),
                died_at_ms=int(sent) if sent.isdecimal() else 0,
            )
            # One that comes twice is held under its last receipt handle.
            self._held[id_] = Received(self._place, body, message.get("ReceiptHandle", ""), 1)

    async def redrive(self, letters: Sequence[Letter]) -> list[LetterFailure]:
        """Send letters back to the queue they came from, then remove them."""
        outgoing = [Outgoing(letter.id, letter.queue, letter.body) for letter in letters]
        unsent = {failure.job_id: failure.reason for failure in await self._queue.send(outgoing)}
        left = await self._remove([letter for letter in letters if letter.id not in unsent])
        return [
            *(LetterFailure(id_, reason) for id_, reason in unsent.items()),
            *(
                LetterFailure(id_, f"it was sent back, and is still here as well: {reason}")
                for id_, reason in left.items()
            ),
        ]

    async def drop(self, letters: Sequence[Letter]) -> list[LetterFailure]:
        """Remove letters for good."""
        left = await self._remove(letters)
        return [LetterFailure(id_, reason) for id_, reason in left.items()]

    async def _remove(self, letters: Sequence[Letter]) -> dict[str, str]:
        """Remove letters; return the reasons why some of them are left, by their ids."""
        outcomes = await asyncio.gather(
            *(self._queue.delete(self._held[letter.id]) for letter in letters),
            return_exceptions=True,
        )
        left: dict[str, str] = {}
        for letter, outcome in zip(letters, outcomes, strict=True):
            if isinstance(outcome, QueueError):
                left[letter.id] = str(outcome)
            elif outcome is not None:
                raise outcome
            else:
                del self._letters[letter.id], self._held[letter.id]
        return left

    async def release(self) -> None:
        """Make what is still held visible to others."""
        try:
            await self._queue.change_visibility(list(self._held.values()), 0)
        except QueueError as error:
            log.warning(
                "some of %d dead letters are visible again in %d s only: %s",
                len(self._held),
                HOLD_SECONDS,
                error,
            )
        await self._queue.close()


def _attribute(message: "MessageTypeDef", name: str) -> str | None:
    attributes = message.get("MessageAttributes")
    value = attributes.get(name) if attributes else None
    return value.get("StringValue") if value else None
