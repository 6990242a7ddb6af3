"""What is posted."""

import json
from datetime import UTC, datetime

from attrs import frozen

from prover_framework import GroupEnd, JobChange


@frozen
class Message:
    """A message to be posted.

    Args:
        id: The same for all tries of this message, and of no other.
        about: What it is about, for the log.
        body: JSON.
    """

    id: str
    about: str
    body: bytes


def message_for(change: JobChange) -> Message:
    """Tell a change in JSON, in the words of the service's API."""
    error = {"code": change.error_code, "message": change.error_message}
    document = {
        "type": f"job.{change.new_state}",
        "timestamp": _iso(change.changed_at_ms),
        "data": {
            "job_group_id": change.group_id,
            "job_id": change.proof_type,
            "id": change.job_id,
            "status": change.new_state,
            "attempts": change.attempts,
            "error": None if change.error_code is None else error,
            "result": change.result,
        },
    }
    return Message(
        # A job can end more than once: an operator may have it tried again.
        id=f"{change.job_id}.{change.changed_at_ms}",
        about=f"{change.group_id} {change.proof_type} {change.new_state}",
        body=json.dumps(document, allow_nan=False).encode(),
    )


def message_of_end(group: GroupEnd) -> Message:
    """Tell the end of a group, with its receipt as the service serves it."""
    document = {
        "type": "group.ended",
        "timestamp": _iso(group.ended_at_ms),
        "data": {
            "job_group_id": group.group_id,
            "status": group.state,
            "jobs": dict(group.states),
            "receipt": group.document,
        },
    }
    return Message(
        # A group can end more than once, each time as another event.
        id=f"{group.group_id}.ended.{group.event}",
        about=f"{group.group_id} ended, {group.state}",
        body=json.dumps(document, allow_nan=False).encode(),
    )


def _iso(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
