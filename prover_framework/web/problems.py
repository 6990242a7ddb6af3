"""Errors as answers: the one object that everybody gets, and the same in the form of RFC 9457.

The fields of the former are fixed. Whoever wants a stable code and the places of problems asks for
the latter, by ``Accept: application/problem+json``; the code is in the header ``Error-Code`` too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sanic import Request
from sanic.response import HTTPResponse

from prover_framework.errors import Problem
from prover_framework.serialization.json_text import Json
from prover_framework.web.openapi.document import PROBLEM_TYPE

ERROR_CODE = "Error-Code"

# Where the codes are described; relative to this service, which has the page that names them.
TYPE = "/reference#errors"


ErrorPage: TypeAlias = Callable[[Request, int, str, str, Mapping[str, str]], HTTPResponse]

# Below these programs ask, whatever they say that they take.
FOR_PROGRAMS = ("/api/", "/health", "/metrics", "/openapi.json")


def is_for_people(request: Request) -> bool:
    """Tell whether a browser asks for something to be shown to a person."""
    accepted = request.headers.get("accept") or ""
    return "text/html" in accepted and not request.path.startswith(FOR_PROGRAMS)


def error_answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    *,
    group_id: str | None = None,
    problems: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> HTTPResponse:
    """Return an error in the form that the client asks for.

    Args:
        request: What it answers.
        status: The answer's status.
        code: A stable code.
        message: What is wrong, for people.
        group_id: The group that the request is about, where that is known.
        problems: Each problem with its place, where there are some.
        headers: Further headers.
    """
    named = {**(headers or {}), ERROR_CODE: code}
    error_page: ErrorPage | None = getattr(request.app.ctx, "error_page", None)
    if error_page is not None and is_for_people(request):
        return error_page(request, status, code, message, named)
    if PROBLEM_TYPE not in (request.headers.get("accept") or ""):
        document: Json = {"status": "error", "message": message, "job_group_id": group_id}
        return _answer(status, document, named, "application/json")
    document = {
        "type": TYPE,
        "title": code.replace("_", " "),
        "status": status,
        "detail": message,
        "code": code,
        "job_group_id": group_id,
        "problems": [{"where": each.where, "what": each.what} for each in problems],
    }
    return _answer(status, document, named, PROBLEM_TYPE)


def _answer(status: int, document: Json, headers: dict[str, str], media_type: str) -> HTTPResponse:
    return HTTPResponse(
        json.dumps(document, allow_nan=False),
        status=status,
        headers=headers,
        content_type=media_type,
    )
