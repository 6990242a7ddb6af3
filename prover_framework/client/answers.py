"""Answers of the HTTP API as the framework's types, and refusals as its errors."""

import json
from typing import Any, TypeVar, get_args

import cattrs

from prover_framework.errors import (
    GroupNotFound,
    Problem,
    ProverError,
    RequestError,
    ServiceRefused,
    WorkerNotFound,
)
from prover_framework.serialization.json_text import Json
from prover_framework.text import one_line

T = TypeVar("T")


def read(body: bytes, cls: type[T]) -> T:
    """Read an answer; what a newer service says besides is passed over.

    Raises:
        ServiceRefused: It is not what such a service answers.
    """
    try:
        document = json.loads(body)
        if cls is dict and isinstance(document, dict):
            return document  # type: ignore[return-value]
        return _converter.structure(document, cls)
    except (ValueError, RecursionError, cattrs.BaseValidationError) as error:
        raise ServiceRefused(
            f"this is no answer of such a service ({one_line(str(error))}); is the URL right?"
        ) from None


def refusal(status: int, body: bytes) -> tuple[str, str | None]:
    """Return the message of an answer that is no success, and the group that it is about."""
    try:
        document = json.loads(body)
        group_id = document["job_group_id"]
        return str(document["message"]), None if group_id is None else str(group_id)
    except (ValueError, RecursionError, KeyError, TypeError):
        return f"status {status}: {one_line(body[:500].decode('utf-8', 'replace'))}", None


def error_of(status: int, message: str, group_id: str | None) -> ProverError:
    """Return the error for a refusal: the same that the service would raise here, where known."""
    if status == 400:
        return RequestError([Problem("", message)], group_id)
    if status == 404 and group_id is not None:
        return GroupNotFound(group_id)
    if status == 404 and message.startswith("there is no worker"):
        return WorkerNotFound(message)
    if status in (401, 403):
        message = f"{message} (PROVER_API_KEY)"
    return ServiceRefused(message, status)


def _is_json(cls: Any) -> bool:
    """Tell whether a type is `Json`, however its name was resolved: no other has these parts."""
    return cls == Json or {bool, float} <= set(get_args(cls))


def _any_json(value: Any, _: Any) -> Any:
    return value


_converter = cattrs.Converter(forbid_extra_keys=False)
_converter.register_structure_hook_func(_is_json, _any_json)
