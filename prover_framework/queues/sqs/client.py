"""The connection to AWS SQS: made once for the process, and its errors told in our words."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from prover_framework.errors import QueueError, QueueMissing, QueueUnreachable
from prover_framework.queues.sqs.credentials import CREDENTIAL_CODES, RotatingCredentials
from prover_framework.urls import UrlError, parse_http_url, public_http_name

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

T = TypeVar("T")

# SQS's longest long poll.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
MAX_WAIT_SECONDS = 20

# What an answer may take beyond the wait that was asked for.
GRACE_SECONDS = 5.0

# A first packet that takes longer than this does not come; a retry asks another address.
CONNECT_SECONDS = 3.0

# The first try and two more. Beyond that, the caller's own ways of trying again are better: the
# sweep sends what was not sent, and a message that was not deleted comes back.
MAX_ATTEMPTS = 3

# Who AWS's records say it was.
USER_AGENT = "prover-framework"

# Longer error texts of the other side are cut.
MAX_TEXT_LENGTH = 300

MISSING_QUEUE_CODES = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "KmsAccessDenied"})
THROTTLED_CODES = frozenset(
    {
        "KmsThrottled",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
# What the vendor's library raises for an answer that is not in SQS's form, among which are the
# parser's own stumbles over it.
BROKEN_ANSWERS = (ResponseParserError, ValueError, TypeError, AttributeError)

# Everything it is seen to raise when the other side or its configuration is at fault.
FAULTS = (BotoCoreError, ClientError, OSError, *BROKEN_ANSWERS)


@asynccontextmanager
async def open_client(connections: int) -> "AsyncIterator[SQSClient]":
    """Open a client whose endpoint, region and credentials come from where all AWS tools look.

    Args:
        connections: How many calls can be under way at a time; a further one waits.

    Raises:
        QueueError: The configuration is incomplete or contradicts itself.
    """
    config = AioConfig(
        max_pool_connections=connections,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=MAX_WAIT_SECONDS + 2 * GRACE_SECONDS,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        # A seventh of what a call costs: our requests have SQS's form, which SQS checks again,
        # and the library would put its own name together anew for each.
        parameter_validation=False,
        user_agent=USER_AGENT,
    )
    try:
        # botocore reads AWS_DEFAULT_REGION only; every other AWS tool takes AWS_REGION first.
        session, credentials = AioSession(), RotatingCredentials()
        session.register_component("credential_provider", credentials)
        opening = session.create_client(
            "sqs", region_name=os.environ.get("AWS_REGION") or None, config=config
        )
        client = await opening.__aenter__()
        # The types are those of the library that does not await.
        client.meta.events.register_first("needs-retry.sqs", credentials.on_answer)  # type: ignore[arg-type]
    except FAULTS as error:
        raise QueueError(_configuration_fault(error)) from None
    try:
        yield client
    finally:
        await opening.__aexit__(None, None, None)


async def call(
    client: "SQSClient", awaitable: Awaitable[T], *, what: str, queue: str, seconds: float
) -> T:
    """Await a call to SQS for so long, and tell its error in our words.

    Args:
        client: The client that makes the call.
        awaitable: The call.
        what: What it does, as in "sending to" a queue.
        queue: The queue's name.
        seconds: Time for the call, with all its retries.

    Raises:
        QueueError: It failed; `QueueUnreachable` when nobody answered, `QueueMissing` when there is
            no such queue.
    """
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except FAULTS as error:
        # The original stays out of the chain: it may quote the signed request.
        raise _explained(error, client, f"{what} queue {queue!r} failed") from None


def error_code(error: ClientError) -> str:
    """Return the error's code without the prefix that only some of them have."""
    return str(error.response.get("Error", {}).get("Code", "")).rpartition(".")[2]


def entry_fault(entry: Mapping[str, Any]) -> str:
    """Tell why one entry of a batch was refused."""
    code, text = str(entry.get("Code", "no code")), str(entry.get("Message") or "")
    return f"SQS refused it: {code}: {_cut(text)}" if text else f"SQS refused it: {code}"


def _explained(error: Exception, client: "SQSClient", what: str) -> QueueError:
    endpoint = _endpoint(client.meta.endpoint_url)
    if isinstance(error, ClientError):
        kind = QueueMissing if error_code(error) in MISSING_QUEUE_CODES else QueueError
        return kind(f"{what}: {_refusal(error, endpoint)}")
    # An OSError is a timeout of ours, or a socket's trouble.
    if isinstance(error, (ConnectionError, HTTPClientError, OSError)):
        reason = "did not answer in time" if _is_timeout(error) else "cannot be reached"
        return QueueUnreachable(
            f"{what}: {endpoint} {reason}; check the network and AWS_ENDPOINT_URL"
        )
    if isinstance(error, BROKEN_ANSWERS) and not isinstance(error, BotoCoreError):
        return QueueError(
            f"{what}: {endpoint} answered with something that is not SQS's; check AWS_ENDPOINT_URL"
        )
    return QueueError(f"{what}: {_configuration_fault(error)}")


def _is_timeout(error: Exception) -> bool:
    # botocore has one class for each kind of timeout and none for all.
    return isinstance(error, TimeoutError) or type(error).__name__.endswith("TimeoutError")


def _refusal(error: ClientError, endpoint: str) -> str:
    code = error_code(error)
    operation = f"sqs:{error.operation_name.removesuffix('Batch')}"
    if code in MISSING_QUEUE_CODES:
        return (
            f"there is no such queue at {endpoint}; check SQS_QUEUE_URL and AWS_REGION, "
            'or make it with "prover queue create"'
        )
    if code in DENIED_CODES:
        return (
            f"access is denied ({code}); the credentials' policy and the queue's must allow "
            f"{operation}"
        )
    if code in THROTTLED_CODES:
        return f"SQS throttles us ({code}); it goes on by itself when the load is less"
    if code in CREDENTIAL_CODES:
        return (
            f"{endpoint} does not accept the AWS credentials ({code}); check that they are "
            "current and belong to this endpoint"
        )
    text = _cut(str(error.response.get("Error", {}).get("Message", "")))
    return f"{endpoint} answered {code or 'with an error'}{': ' if text else ''}{text}"


def _configuration_fault(error: Exception) -> str:
    if isinstance(error, NoRegionError):
        return "the AWS region is not known; set AWS_REGION, or a region in the AWS profile"
    if isinstance(error, ProfileNotFound):
        return f"{error}; check AWS_PROFILE"
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return (
            "there are no complete AWS credentials; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, an AWS_PROFILE, or give the machine a role"
        )
    if isinstance(error, (CredentialRetrievalError, TokenRetrievalError)):
        return "the AWS credentials cannot be fetched; renew the login or check the role"
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return "the endpoint's address is not valid; AWS_ENDPOINT_URL must be like http://host:port"
    return f"AWS's library reports {type(error).__name__}"


def _endpoint(url: str) -> str:
    """Return the endpoint without what may stand before its host: user and password."""
    try:
        parts = parse_http_url(url)
    except UrlError:
        return "the queue's endpoint"
    return f"{parts.scheme}://{public_http_name(parts)}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}..."
