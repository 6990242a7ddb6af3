"""Look at queues on SQS."""

import json
from typing import TYPE_CHECKING

from prover_framework.queues.base import QueueStatus
from prover_framework.queues.sqs.client import call

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType


async def queue_status(client: "SQSClient", url: str, *, queue: str, seconds: float) -> QueueStatus:
    """Count the messages of a queue and its dead letters.

    Raises:
        QueueError: It cannot be looked at.
    """
    found = await attributes(client, url, "All", queue=queue, seconds=seconds)
    dead_url = await dead_letter_url(client, url, queue=queue, seconds=seconds)
    dead = None
    if dead_url is not None:
        counted = await attributes(
            client,
            dead_url,
            "ApproximateNumberOfMessages",
            queue=dead_url.rpartition("/")[2],
            seconds=seconds,
        )
        dead = int(counted["ApproximateNumberOfMessages"])
    return QueueStatus(
        url=url,
        visible=int(found["ApproximateNumberOfMessages"]),
        in_flight=int(found["ApproximateNumberOfMessagesNotVisible"]),
        delayed=int(found["ApproximateNumberOfMessagesDelayed"]),
        dead_letter_url=dead_url,
        dead_letters=dead,
    )


async def attributes(
    client: "SQSClient", url: str, wanted: "QueueAttributeNameType", *, queue: str, seconds: float
) -> dict[str, str]:
    """Read the attributes of a queue.

    Raises:
        QueueError: They cannot be read.
    """
    answer = await call(
        client,
        client.get_queue_attributes(QueueUrl=url, AttributeNames=[wanted]),
        what="reading the attributes of",
        queue=queue,
        seconds=seconds,
    )
    return {str(key): value for key, value in answer.get("Attributes", {}).items()}


async def dead_letter_url(
    client: "SQSClient", url: str, *, queue: str, seconds: float
) -> str | None:
    """Find the dead-letter queue that a queue's redrive policy names.

    Raises:
        QueueError: It could not be found out.
    """
    answer = await call(
        client,
        client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"]),
        what="reading the redrive policy of",
        queue=queue,
        seconds=seconds,
    )
    policy = answer.get("Attributes", {}).get("RedrivePolicy")
    if not policy:
        return None
    # arn:aws:sqs:REGION:ACCOUNT:NAME
    account, name = json.loads(policy)["deadLetterTargetArn"].split(":")[-2:]
    found = await call(
        client,
        client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account),
        what="finding the dead letters of",
        queue=queue,
        seconds=seconds,
    )
    return found["QueueUrl"]
