"""Making queues on SQS, and emptying them."""

import json
from typing import TYPE_CHECKING

from attrs import frozen

from prover_framework.errors import QueueMissing
from prover_framework.queues.sqs.client import call
from prover_framework.queues.sqs.status import attributes, dead_letter_url

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

DEAD_SUFFIX = "-dead"
FIFO_SUFFIX = ".fifo"

# The longest that SQS keeps a message: a job must not lose its message over a long holiday.
RETENTION_SECONDS = 14 * 86_400

# SQS's maximum. Every message that is given back counts as received once more, so a low number
# would bury sound jobs; how often a job is tried is counted in the database.
MAX_RECEIVE_COUNT = 1000

# A person waits for these calls, perhaps for an emulator that has just been started.
PATIENCE_SECONDS = 30.0


@frozen
class CreatedQueue:
    """A queue that is there now.

    Args:
        url: Its URL.
        dead_letter_url: URL of its dead-letter queue; None when its redrive policy names one that
            cannot be found.
        notes: In what an existing queue differs from one that would be made now.
    """

    url: str
    dead_letter_url: str | None
    notes: tuple[str, ...] = ()


async def create_queue(client: "SQSClient", name: str, *, fifo: bool = False) -> CreatedQueue:
    """Make a queue and its dead-letter queue, or complete them.

    A queue that exists keeps its settings: only a missing redrive policy is added.

    Args:
        client: The client.
        name: Name of the queue; ``.fifo`` is appended to a FIFO queue's if it is missing.
        fifo: Whether it is a FIFO queue; a name that ends with ``.fifo`` says so, too.

    Raises:
        QueueError: SQS refuses it.
    """
    fifo = fifo or name.endswith(FIFO_SUFFIX)
    base = name.removesuffix(FIFO_SUFFIX)
    suffix = FIFO_SUFFIX if fifo else ""
    attributes: dict[QueueAttributeNameType, str] = {
        "MessageRetentionPeriod": str(RETENTION_SECONDS)
    }
    if fifo:
        # Each job is a message group of its own, which this mode turns into throughput.
        attributes |= {
            "FifoQueue": "true",
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
        }
    dead_name = f"{base}{DEAD_SUFFIX}{suffix}"
    dead_url = await _find(client, dead_name) or await _make(client, dead_name, attributes)
    dead_arn = (await _attributes(client, dead_url, "QueueArn"))["QueueArn"]
    redrive: dict[QueueAttributeNameType, str] = {
        "RedrivePolicy": json.dumps(
            {"deadLetterTargetArn": dead_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
        )
    }
    name = f"{base}{suffix}"
    url = await _find(client, name)
    if url is None:
        return CreatedQueue(await _make(client, name, attributes | redrive), dead_url)
    found = await _attributes(client, url, "All")
    policy = json.loads(found.get("RedrivePolicy") or "{}")
    if not policy:
        await call(
            client,
            client.set_queue_attributes(QueueUrl=url, Attributes=redrive),
            what="adding the redrive policy to",
            queue=name,
            seconds=PATIENCE_SECONDS,
        )
        return CreatedQueue(url, dead_url, _notes(found, MAX_RECEIVE_COUNT))
    notes = _notes(found, int(policy["maxReceiveCount"]))
    if policy["deadLetterTargetArn"] == dead_arn:
        return CreatedQueue(url, dead_url, notes)
    notes = (*notes, f"its dead letters go to {policy['deadLetterTargetArn']}")
    try:
        return CreatedQueue(
            url, await dead_letter_url(client, url, queue=name, seconds=PATIENCE_SECONDS), notes
        )
    except QueueMissing:
        return CreatedQueue(url, None, (*notes, "which does not exist"))


async def purge_queue(client: "SQSClient", url: str, *, name: str) -> None:
    """Remove all messages of a queue, which takes SQS up to a minute.

    Raises:
        QueueError: SQS refuses it, such as a second time within a minute.
    """
    await call(
        client,
        client.purge_queue(QueueUrl=url),
        what="purging",
        queue=name,
        seconds=PATIENCE_SECONDS,
    )


def _notes(found: dict[str, str], max_receive_count: int) -> tuple[str, ...]:
    notes: list[str] = []
    if max_receive_count < MAX_RECEIVE_COUNT:
        notes.append(
            f"its maxReceiveCount is {max_receive_count}, {MAX_RECEIVE_COUNT} is better: each "
            "message that a worker gives back counts"
        )
    retention = int(found.get("MessageRetentionPeriod", RETENTION_SECONDS))
    if retention < RETENTION_SECONDS:
        notes.append(
            f"it keeps messages for {retention / 86_400:g} days, "
            f"{RETENTION_SECONDS // 86_400} are better"
        )
    return tuple(notes)


async def _find(client: "SQSClient", name: str) -> str | None:
    try:
        found = await call(
            client,
            client.get_queue_url(QueueName=name),
            what="looking for",
            queue=name,
            seconds=PATIENCE_SECONDS,
        )
    except QueueMissing:
        return None
    return found["QueueUrl"]


async def _make(
    client: "SQSClient", name: str, attributes: "dict[QueueAttributeNameType, str]"
) -> str:
    made = await call(
        client,
        client.create_queue(QueueName=name, Attributes=attributes),
        what="making",
        queue=name,
        seconds=PATIENCE_SECONDS,
    )
    return made["QueueUrl"]


async def _attributes(
    client: "SQSClient", url: str, wanted: "QueueAttributeNameType"
) -> dict[str, str]:
    name = url.rpartition("/")[2]
    return await attributes(client, url, wanted, queue=name, seconds=PATIENCE_SECONDS)
