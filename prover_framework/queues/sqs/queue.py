"""Queues on AWS SQS, standard and FIFO."""

import asyncio
import hashlib
import logging
import math
import re
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
from attrs import frozen

from prover_framework.database.batching import Batcher
from prover_framework.errors import QueueError, QueueUnreachable
from prover_framework.queues.base import Outgoing, QueueStatus, Received, SendFailure
from prover_framework.queues.sqs.client import call, entry_fault, open_client
from prover_framework.queues.sqs.status import dead_letter_url, queue_status

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        MessageTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

log = logging.getLogger(__name__)

T = TypeVar("T")
Answer = TypeVar("Answer")

# SQS's limits on a batch, a delay and an invisibility.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BATCH = 10
MAX_DELAY_SECONDS = 900
MAX_VISIBILITY_SECONDS = 43_200

# SQS takes 1 MiB for a batch since August 2025, and 256 KiB before that, as emulators still do.
MAX_BATCH_BYTES = 256 * 1024

# The longest wait of a poll. SQS has 20 seconds, but a poll has to be awaited when a worker stops,
# since one that is cut off swallows messages, and containers are killed after ten. A receive that
# finds nothing twelve times a minute costs next to nothing.
MAX_POLL_SECONDS = 5

# All calls but the long poll answer in milliseconds; one that takes this long, retries included,
# is given up. Three of them fit into the default lease.
CALL_SECONDS = 5.0

# How many calls of a kind are under way at a time. Each kind has lanes of its own, so that
# heartbeats (hiding) never stand behind sends or polls. With these, the client's CPU is the limit.
SEND_LANES = 8
DELETE_LANES = 4
VISIBILITY_LANES = 4

# Nobody waits for a deletion, and a call for one message costs as much as one for ten.
DELETE_LINGER_SECONDS = 0.03

# Burying and the look for the dead-letter queue.
SPARE_LANES = 2

# A message that cannot be understood and has no dead-letter queue to go to is looked at again
# after this time: rarely enough to cost nothing, often enough to be told of in the log.
UNBURIED_SECONDS = 900.0

# While a message is moved to the dead letters nobody else should see it. Moving it is two calls.
BURY_SECONDS = 6 * CALL_SECONDS

# Message attributes of a dead letter.
REASON_ATTRIBUTE = "reason"
QUEUE_ATTRIBUTE = "queue"

# SQS's limit is the message's; a reason that needs more is no reason.
MAX_REASON_LENGTH = 1000

# Characters that SQS does not take; one of them would make it refuse a whole batch.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# What SQS calls a receipt handle that another receive has outdated, or whose message is gone or
# visible.
OUTDATED_CODES = frozenset(
    {"InvalidIdFormat", "InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"}
)


class _Outdated(QueueError):
    """A message's receipt handle is outdated: it is gone, visible again, or someone else's."""


@attrs.define(eq=False)
class _Parcel:
    """What one `SqsQueue.send` wants sent.

    Args:
        messages: All of them.
        started: Whether sending has begun.
        given_up: Whether the sender was told that they were not sent.
    """

    messages: Sequence[Outgoing]
    started: bool = False
    given_up: bool = False


@frozen
class _Batch(Generic[T]):
    """What goes into one call.

    Args:
        queue: Name of the queue.
        items: Each with its place in the sequence that the batches were made of.
    """

    queue: str
    items: Sequence[tuple[int, T]]


@asynccontextmanager
async def open_queue(
    urls: Mapping[str, str],
    *,
    dead_letter_urls: Mapping[str, str] | None = None,
    polls: int = 1,
    call_seconds: float = CALL_SECONDS,
) -> "AsyncIterator[SqsQueue]":
    """Open the queues; close them when the body is left.

    Args:
        urls: URL of each queue by its name.
        dead_letter_urls: URL of a queue's dead-letter queue by the queue's name. Without one it
            is found by the queue's redrive policy.
        polls: How many receives wait at a time at the most.
        call_seconds: Time for a call, its retries included, a receive's wait not included.

    Raises:
        QueueError: AWS's configuration in the environment is incomplete.
    """
    connections = polls + SEND_LANES + DELETE_LANES + VISIBILITY_LANES + SPARE_LANES
    async with open_client(connections) as client:
        queue = SqsQueue(client, urls, dead_letter_urls=dead_letter_urls, call_seconds=call_seconds)
        try:
            yield queue
        finally:
            await queue.close()


class SqsQueue:
    """Named queues on SQS; see `prover_framework.queues.base.Queue`.

    Args:
        client: The one client of the process.
        urls: URL of each queue by its name.
        dead_letter_urls: URL of a queue's dead-letter queue by the queue's name.
        call_seconds: Time for a call, its retries included, a receive's wait not included.
    """

    def __init__(
        self,
        client: "SQSClient",
        urls: Mapping[str, str],
        *,
        dead_letter_urls: Mapping[str, str] | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._client = client
        self._urls = dict(urls)
        self._dead_letter_urls = dict(dead_letter_urls or {})
        self._call_seconds = call_seconds
        self._interrupted = False
        # What the receives that wait will be answered with.
        self._waiting: set[asyncio.Future[list[Received]]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._send_lanes = asyncio.Semaphore(SEND_LANES)
        self._delete_lanes = asyncio.Semaphore(DELETE_LANES)
        self._hide_lanes = asyncio.Semaphore(VISIBILITY_LANES)
        self._spare_lanes = asyncio.Semaphore(SPARE_LANES)
        self._send_together: Batcher[_Parcel, list[SendFailure]] = Batcher(self._send_all)
        self._delete_together: Batcher[Received, QueueError | None] = Batcher(
            self._delete_all, linger_seconds=DELETE_LINGER_SECONDS
        )

    # Sending

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        """Send messages, in batches that are shared with other sends of the same moment.

        A message that is reported as failed may have been sent all the same, when its answer was
        lost. A longer delay than SQS has is cut to SQS's; FIFO queues have none.
        """
        if not messages:
            return []
        parcel = _Parcel(messages)
        sending = asyncio.create_task(self._send_together(parcel))
        await asyncio.wait({sending}, timeout=self._call_seconds)
        if not parcel.started:
            # Those before it hang. It would wait as long, and then fare no better.
            parcel.given_up = True
            sending.cancel()
            return _all_failed(messages, "the queue does not answer, earlier messages still wait")
        return await sending

    async def _send_all(self, parcels: Sequence[_Parcel]) -> list[list[SendFailure]]:
        failures: list[list[SendFailure]] = [[] for _ in parcels]
        sendable: list[tuple[int, Outgoing]] = []
        for place, parcel in enumerate(parcels):
            if parcel.given_up:
                continue
            parcel.started = True
            for message in parcel.messages:
                if reason := self._unsendable(message):
                    failures[place].append(SendFailure(message.job_id, reason))
                else:
                    sendable.append((place, message))
        batches = _batches(sendable, lambda m: m.queue, lambda m: len(m.body.encode()))
        answers = await _in_lanes(self._send_lanes, batches, self._send_batch)
        for batch, answer in zip(batches, answers, strict=True):
            for index, (place, message) in enumerate(batch.items):
                reason = str(answer) if isinstance(answer, QueueError) else answer.get(index)
                if reason is not None:
                    failures[place].append(SendFailure(message.job_id, reason))
        return failures

    def _unsendable(self, message: Outgoing) -> str | None:
        """Tell why a message cannot go into a batch, where others would suffer from it."""
        if message.queue not in self._urls:
            return no_url(message.queue)
        if not message.body or FORBIDDEN.search(message.body):
            return "SQS takes no message that is empty or has control characters"
        return None

    async def _send_batch(self, batch: _Batch[Outgoing]) -> dict[int, str]:
        """Send a batch; return the reasons of the entries that failed, by their index in it."""
        url = self._urls[batch.queue]
        entry = _fifo_entry if _is_fifo(url) else _standard_entry
        answer = await self._call(
            self._client.send_message_batch(
                QueueUrl=url,
                Entries=[entry(str(index), m) for index, (_, m) in enumerate(batch.items)],
            ),
            what="sending to",
            queue=batch.queue,
        )
        sent = {success.get("Id") for success in answer.get("Successful", [])}
        refused = {fault.get("Id"): entry_fault(fault) for fault in answer.get("Failed", [])}
        return {
            index: refused.get(str(index), "SQS did not confirm it")
            for index in range(len(batch.items))
            if str(index) not in sent
        }

    # Receiving

    async def receive(
        self, queue: str, *, limit: int, wait_seconds: float, visibility_seconds: float
    ) -> list[Received]:
        """Receive messages with one long poll: at the most 10 of them, and waiting at most 5 s.

        Raises:
            QueueError: The queue cannot be used as it is.
        """
        url = self._url(queue)
        if self._interrupted:
            return []
        answer: asyncio.Future[list[Received]] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        self._in_background(
            self._poll(
                answer,
                queue,
                url,
                limit=min(limit, MAX_BATCH),
                wait_seconds=_whole_seconds(wait_seconds, MAX_POLL_SECONDS),
                visibility_seconds=_whole_seconds(visibility_seconds, MAX_VISIBILITY_SECONDS),
            )
        )
        try:
            return await answer
        except asyncio.CancelledError:
            # The answer may have come in the same moment, and then nobody else has it.
            if not answer.cancelled() and answer.exception() is None:
                self._in_background(self._release(queue, answer.result()))
            raise
        finally:
            self._waiting.discard(answer)

    async def _poll(
        self,
        answer: "asyncio.Future[list[Received]]",
        queue: str,
        url: str,
        *,
        limit: int,
        wait_seconds: int,
        visibility_seconds: int,
    ) -> None:
        """Poll to the end, whoever still waits for it: a poll that is cut off swallows messages."""
        try:
            response = await call(
                self._client,
                self._client.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=limit,
                    WaitTimeSeconds=wait_seconds,
                    VisibilityTimeout=visibility_seconds,
                    MessageSystemAttributeNames=["ApproximateReceiveCount"],
                ),
                what="receiving from",
                queue=queue,
                seconds=wait_seconds + self._call_seconds,
            )
            messages = [_received(queue, message) for message in response.get("Messages", [])]
        except Exception as error:
            # Whatever it is: who waits must not wait for ever.
            if answer.done():
                log.debug("a poll that nobody waits for any more failed: %s", error)
            else:
                answer.set_exception(error)
            return
        if answer.done():
            await self._release(queue, messages)
        else:
            answer.set_result(messages)

    async def _release(self, queue: str, messages: Sequence[Received]) -> None:
        """Give back messages that nobody waits for any more."""
        try:
            await self.change_visibility(messages, 0)
        except QueueError as error:
            log.warning(
                "%d messages of queue %s come back late only: %s", len(messages), queue, error
            )

    def interrupt(self) -> None:
        """Make receives that wait return, now and from now on.

        What their polls still bring is given to the next receiver at once.
        """
        self._interrupted = True
        for answer in self._waiting:
            if not answer.done():
                answer.set_result([])

    # What becomes of a received message

    async def delete(self, message: Received) -> None:
        """Remove a message, in a batch that is shared with other deletions of the same moment.

        Raises:
            QueueError: It could not be removed, and comes back.
        """
        error = await self._delete_together(message)
        if error is not None and not isinstance(error, _Outdated):
            raise error

    async def _delete_all(self, messages: Sequence[Received]) -> list[QueueError | None]:
        return await _work_off(self._delete_lanes, messages, self._delete_batch)

    async def _delete_batch(self, batch: _Batch[Received]) -> dict[int, QueueError]:
        answer = await self._call(
            self._client.delete_message_batch(
                QueueUrl=self._url(batch.queue),
                Entries=[
                    {"Id": str(index), "ReceiptHandle": message.receipt_handle}
                    for index, (_, message) in enumerate(batch.items)
                ],
            ),
            what="deleting from",
            queue=batch.queue,
        )
        return _faults(answer.get("Failed", []), f"deleting from queue {batch.queue!r}")

    async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
        """Make messages invisible for ``seconds`` from now, in whole seconds, 12 hours at most.

        Raises:
            QueueError: Some of them could not be hidden; the others are.
        """
        for error in await self._change_visibility(messages, seconds):
            if error is not None and not isinstance(error, _Outdated):
                raise error

    async def _change_visibility(
        self, messages: Sequence[Received], seconds: float
    ) -> list[QueueError | None]:
        timeout = _whole_seconds(seconds, MAX_VISIBILITY_SECONDS)

        async def hide_batch(batch: _Batch[Received]) -> dict[int, QueueError]:
            answer = await self._call(
                self._client.change_message_visibility_batch(
                    QueueUrl=self._url(batch.queue),
                    Entries=[
                        {
                            "Id": str(index),
                            "ReceiptHandle": message.receipt_handle,
                            "VisibilityTimeout": timeout,
                        }
                        for index, (_, message) in enumerate(batch.items)
                    ],
                ),
                what="hiding messages of",
                queue=batch.queue,
            )
            return _faults(answer.get("Failed", []), f"hiding messages of queue {batch.queue!r}")

        return await _work_off(self._hide_lanes, messages, hide_batch)

    async def bury(self, message: Received, reason: str) -> None:
        """Move a message to the dead-letter queue, with the reason as an attribute.

        It is deleted only when the dead-letter queue has it. Without a dead-letter queue it stays
        where it is, hidden for a while. Nothing is done to a message that is no longer held.

        Raises:
            QueueError: It could not be moved, and comes back.
        """
        async with self._spare_lanes:
            url = await self._dead_letter_url(message.queue)
            # Who holds it no longer must not bury it, and who does must have time to.
            (error,) = await self._change_visibility(
                [message], UNBURIED_SECONDS if url is None else BURY_SECONDS
            )
            if isinstance(error, _Outdated):
                return
            if error is not None:
                raise error
            if url is None:
                log.error(
                    "queue %s has no dead-letter queue, so a message that cannot be understood "
                    'stays in it (%s); "prover queue create" makes one',
                    message.queue,
                    reason,
                )
                return
            await self._send_dead_letter(url, message, reason)
        await self.delete(message)

    async def _send_dead_letter(self, url: str, message: Received, reason: str) -> None:
        # A copy that is sent twice is better than one that is taken for another and dropped.
        unique = hashlib.sha256(message.receipt_handle.encode()).hexdigest()
        entry: SendMessageBatchRequestEntryTypeDef = {"Id": "0", "MessageBody": message.body}
        if len(message.body.encode()) < MAX_BATCH_BYTES - 8 * MAX_REASON_LENGTH:
            # A larger one may be at the limit already. The log has its reason.
            entry["MessageAttributes"] = {
                REASON_ATTRIBUTE: {"DataType": "String", "StringValue": _clean(reason)},
                QUEUE_ATTRIBUTE: {"DataType": "String", "StringValue": message.queue},
            }
        if _is_fifo(url):
            entry["MessageGroupId"] = entry["MessageDeduplicationId"] = unique
        answer = await self._call(
            self._client.send_message_batch(QueueUrl=url, Entries=[entry]),
            what="sending to the dead letters of",
            queue=message.queue,
        )
        if not answer.get("Successful"):
            fault = [entry_fault(fault) for fault in answer.get("Failed", [])]
            raise QueueError(
                f"sending to the dead letters of queue {message.queue!r} failed: "
                f"{fault[0] if fault else 'SQS did not confirm it'}"
            )

    async def _dead_letter_url(self, queue: str) -> str | None:
        """Find a queue's dead-letter queue; once found, it is remembered."""
        if queue not in self._dead_letter_urls:
            url = await dead_letter_url(
                self._client, self._url(queue), queue=queue, seconds=self._call_seconds
            )
            if url is None:
                return None
            self._dead_letter_urls[queue] = url
        return self._dead_letter_urls[queue]

    async def status(self, queue: str) -> QueueStatus:
        """Count the messages of a queue and its dead letters; SQS's counts are approximate.

        Raises:
            QueueError: It cannot be looked at.
        """
        return await queue_status(
            self._client, self._url(queue), queue=queue, seconds=self._call_seconds
        )

    async def close(self) -> None:
        """Wait for polls, which may take 5 s, give back what they bring, and finish the rest."""
        self.interrupt()
        while self._background:
            await asyncio.wait(self._background)
        await self._send_together.drain()
        await self._delete_together.drain()

    def _url(self, queue: str) -> str:
        try:
            return self._urls[queue]
        except KeyError:
            raise QueueError(no_url(queue)) from None

    async def _call(self, awaitable: Awaitable[T], *, what: str, queue: str) -> T:
        return await call(
            self._client, awaitable, what=what, queue=queue, seconds=self._call_seconds
        )

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _work_off(
    lanes: asyncio.Semaphore,
    messages: Sequence[Received],
    work: Callable[[_Batch[Received]], Awaitable[dict[int, QueueError]]],
) -> list[QueueError | None]:
    """Work on received messages in batches; return for each what went wrong with it."""
    outcomes: list[QueueError | None] = [None] * len(messages)
    batches = _batches(list(enumerate(messages)), lambda m: m.queue)
    for batch, answer in zip(batches, await _in_lanes(lanes, batches, work), strict=True):
        for index, (place, _) in enumerate(batch.items):
            outcomes[place] = answer if isinstance(answer, QueueError) else answer.get(index)
    return outcomes


async def _in_lanes(
    lanes: asyncio.Semaphore,
    batches: Sequence[_Batch[T]],
    work: Callable[[_Batch[T]], Awaitable[Answer]],
) -> list[Answer | QueueError]:
    """Work on batches, as many at a time as there are lanes, and return the answers in order.

    When one finds the endpoint unreachable, those not yet begun are spared the same wait.
    """
    trouble: QueueUnreachable | None = None

    async def take(batch: _Batch[T]) -> Answer | QueueError:
        nonlocal trouble
        async with lanes:
            if trouble is not None:
                return trouble
            try:
                return await work(batch)
            except QueueUnreachable as error:
                trouble = error
                return error
            except QueueError as error:
                return error

    return await asyncio.gather(*map(take, batches))


def _batches(
    items: Sequence[tuple[int, T]],
    queue_of: Callable[[T], str],
    size_of: Callable[[T], int] = lambda _: 0,
) -> list[_Batch[T]]:
    """Cut items into batches that SQS takes, each for one queue."""
    batches: list[_Batch[T]] = []
    filling: dict[str, tuple[int, list[tuple[int, T]]]] = {}
    for place, item in items:
        queue, size = queue_of(item), size_of(item)
        filled, batch = filling.get(queue, (0, []))
        if not batch or len(batch) == MAX_BATCH or filled + size > MAX_BATCH_BYTES:
            filled, batch = 0, []
            batches.append(_Batch(queue, batch))
        batch.append((place, item))
        filling[queue] = filled + size, batch
    return batches


def _standard_entry(id_: str, message: Outgoing) -> "SendMessageBatchRequestEntryTypeDef":
    return {
        "Id": id_,
        "MessageBody": message.body,
        "DelaySeconds": _whole_seconds(message.delay_seconds, MAX_DELAY_SECONDS),
    }


def _fifo_entry(id_: str, message: Outgoing) -> "SendMessageBatchRequestEntryTypeDef":
    """Make an entry whose order matters to no other job and that is not sent twice by a retry."""
    return {
        "Id": id_,
        "MessageBody": message.body,
        "MessageGroupId": message.job_id,
        "MessageDeduplicationId": f"{message.job_id}-{message.sends}",
    }


def _received(queue: str, message: "MessageTypeDef") -> Received:
    count = message.get("Attributes", {}).get("ApproximateReceiveCount", "1")
    return Received(
        queue,
        message.get("Body", ""),
        message.get("ReceiptHandle", ""),
        int(count) if count.isdecimal() else 1,
    )


def _faults(failed: "Iterable[BatchResultErrorEntryTypeDef]", what: str) -> dict[int, QueueError]:
    faults: dict[int, QueueError] = {}
    for fault in failed:
        # The prefix and the suffix are on some codes of some servers.
        code = fault.get("Code", "").rpartition(".")[2].removesuffix("Exception")
        outdated = code in OUTDATED_CODES
        kind = _Outdated if outdated else QueueError
        faults[int(fault["Id"])] = kind(f"{what} failed: {entry_fault(fault)}")
    return faults


def _all_failed(messages: Sequence[Outgoing], reason: str) -> list[SendFailure]:
    return [SendFailure(message.job_id, reason) for message in messages]


def no_url(queue: str) -> str:
    """Say that the settings have no URL for a queue."""
    return f"queue {queue!r} has no URL; the settings must map its name to one"


def _is_fifo(url: str) -> bool:
    return url.endswith(".fifo")


def _whole_seconds(seconds: float, maximum: int) -> int:
    """Round up, since waiting too briefly would waste a receive, into what SQS takes."""
    return min(maximum, max(0, math.ceil(seconds)))


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)[:MAX_REASON_LENGTH] or "no reason was given"
