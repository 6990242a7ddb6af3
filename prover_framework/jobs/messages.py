"""The queue message of a job: four fields that others share, and ours beside them."""

import json
import re
from collections.abc import Sequence
from typing import Any, cast

import attrs
from attrs import frozen

from prover_framework.errors import (
    MessageError,
    MessageTooNew,
    Problem,
    RequestError,
)
from prover_framework.model.names import GROUP_ID_KEY
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.serialization.objections import capped
from prover_framework.serialization.types import LongInteger
from prover_framework.text import describe, quote

# The version of our messages. One without a version is of the first.
MESSAGE_VERSION = 1


# Anything else is no id that we ever made, and perhaps nothing that a database can look for.
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


# What other services on the same queue send, and we with it. Whatever else is in a message of
# theirs is ignored.
SHARED_FIELDS = ("job_id", GROUP_ID_KEY, "start_timestamp", "end_timestamp")


SPAN_FIELDS = SHARED_FIELDS[2:]


@frozen(kw_only=True)
class JobMessage:
    """The queue message of one job.

    The first four fields are the format of other services on the same queue; the rest is ours.

    Args:
        job_id: Name of the proof type.
        job_group_id: Id of the group.
        start_timestamp: Unix seconds, of a proof over a range.
        end_timestamp: Unix seconds, of a proof over a range.
        id: Our unique job id; a message of another sender has none.
        version: `MESSAGE_VERSION` of the sender.
        params: All parameters. They only inform: what counts is the stored job.
        request_id: Id of the request that has sent it, for the log.
        traceparent: The span that the job was asked for in, as W3C's header of this name has it.
    """

    job_id: str
    job_group_id: str
    start_timestamp: LongInteger | None = None
    end_timestamp: LongInteger | None = None
    id: str | None = None
    version: int = MESSAGE_VERSION
    params: dict[str, Any] | None = None
    request_id: str | None = None
    traceparent: str | None = None


def dump_message(message: JobMessage) -> str:
    """Write a message; fields without a value are left out."""
    fields = attrs.asdict(message, recurse=False, filter=lambda _, value: value is not None)
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def parse_message(body: str) -> JobMessage:
    """Read a queue message; fields it does not know are ignored.

    Raises:
        MessageError: It is not such a message, and why.
        MessageTooNew: It is of a version that this code does not know.
    """
    try:
        document = parse_json(body.encode("utf-8", "surrogatepass"))
        if not isinstance(document, dict):
            raise MessageError(f"the message must be an object, got {describe(document)}")
        # Others may have fields of these names, too; ours come together.
        if type(document.get("id")) is str and type(document.get("version")) is int:
            known = {field.name for field in attrs.fields(JobMessage)}
            _require_known(cast(int, document["version"]))
        else:
            known = set(SHARED_FIELDS)
        message = structure({k: v for k, v in document.items() if k in known}, JobMessage)
    except RequestError as error:
        raise not_understood(error.problems) from None
    if message.id is not None and not JOB_ID.fullmatch(message.id):
        raise MessageError(f"id: must be the unique id of a job, got {describe(message.id)}")
    return message


def _require_known(version: int) -> None:
    """Require that a message's fields mean what this code takes them for."""
    if version > MESSAGE_VERSION:
        raise MessageTooNew(
            f"version: the message has version {quote(str(version))}, and this worker knows "
            f"versions up to {MESSAGE_VERSION}: update it, or let a newer worker have the message"
        )
    if version < 1:
        raise MessageError(f"version: must be 1 or more, got {describe(version)}")


def not_understood(problems: Sequence[Problem]) -> MessageError:
    """Return the error of a message with these problems."""
    return MessageError(str(RequestError(capped(problems))))
