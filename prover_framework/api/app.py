"""The HTTP application: routes, and errors in one form."""

import json
import logging
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import PayloadTooLarge as SanicPayloadTooLarge
from sanic.exceptions import SanicException
from sanic.handlers import ErrorHandler
from sanic.response import HTTPResponse

from prover_framework.errors import (
    GroupConflict,
    GroupNotFound,
    PayloadTooLarge,
    Problem,
    ProverError,
    RequestError,
    StoreError,
    UnsupportedMediaType,
)
from prover_framework.jsontext import Json, quote
from prover_framework.service import ProvingService
from prover_framework.wire import unstructure

log = logging.getLogger(__name__)

# Far above any request for proofs, far below what a server should read from a stranger.
MAX_BODY_BYTES = 64 * 1024

DISPATCHED = "All jobs dispatched successfully"

STATUS_OF_ERROR: tuple[tuple[type[ProverError], int], ...] = (
    (PayloadTooLarge, 413),
    (UnsupportedMediaType, 415),
    (RequestError, 400),
    (GroupNotFound, 404),
    (GroupConflict, 409),
    (StoreError, 503),
)


def make_app(service: ProvingService) -> "Sanic[Any, Any]":
    """Make the application. It must be unregistered when it is no longer used."""
    # Sanic keeps a register of names for its own process manager, which is not used here.
    app: Sanic[Any, Any] = Sanic(
        f"prover-{id(service):x}",
        error_handler=_Errors(),
        configure_logging=False,
    )
    app.config.REQUEST_MAX_SIZE = MAX_BODY_BYTES
    app.config.ACCESS_LOG = False
    app.config.FALLBACK_ERROR_FORMAT = "json"
    app.ctx.service = service
    app.add_route(_submit, "/api/job", methods=["POST"])
    app.add_route(_status, "/api/job/<group_id>", methods=["GET"], unquote=True)
    app.add_route(_health, "/health", methods=["GET"])
    return app


async def _submit(request: Request) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    _require_json(request)
    wanted = service.parse(request.body)
    try:
        acceptance = await service.submit(wanted)
    except ProverError as error:
        return _error(_status_of(error), str(error), wanted.group_id)
    if acceptance.unsent:
        reasons = ", ".join(f"{title} job failed: {reason}" for title, reason in acceptance.unsent)
        return _error(500, reasons, wanted.group_id)
    return _answer(
        200, {"status": "success", "message": DISPATCHED, "job_group_id": wanted.group_id}
    )


async def _status(request: Request, group_id: str) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    try:
        return _answer(200, unstructure(await service.status(group_id)))
    except ProverError as error:
        return _error(_status_of(error), str(error), group_id)


async def _health(request: Request) -> HTTPResponse:
    del request
    return _answer(200, {"status": "ok"})


def _require_json(request: Request) -> None:
    """Require a body that is declared as JSON, in UTF-8 if an encoding is named at all."""
    declared = request.headers.get("content-type", "")
    kind, _, rest = declared.partition(";")
    if kind.strip().lower() != "application/json":
        got = quote(declared) if declared else "none"
        raise UnsupportedMediaType(
            [Problem("", f"the content type must be application/json, got {got}")]
        )
    for part in rest.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in (
            "utf-8",
            "utf8",
        ):
            raise UnsupportedMediaType(
                [Problem("", f"the charset must be utf-8, got {quote(value)}")]
            )


class _Errors(ErrorHandler):
    """Gives every error the same form and no stack trace."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        del request
        if isinstance(exception, RequestError):
            return _error(_status_of(exception), str(exception), exception.group_id)
        if isinstance(exception, ProverError):
            return _error(_status_of(exception), str(exception), None)
        if isinstance(exception, SanicPayloadTooLarge):
            return _error(413, f"the body is larger than {MAX_BODY_BYTES} bytes", None)
        if isinstance(exception, SanicException):
            return _error(exception.status_code, str(exception), None)
        log.error("a request could not be handled", exc_info=exception)
        return _error(500, "internal error; the log has more", None)


def _status_of(error: ProverError) -> int:
    return next((status for cls, status in STATUS_OF_ERROR if isinstance(error, cls)), 500)


def _error(status: int, message: str, group_id: str | None) -> HTTPResponse:
    return _answer(status, {"status": "error", "message": message, "job_group_id": group_id})


def _answer(status: int, document: Json) -> HTTPResponse:
    return HTTPResponse(
        json.dumps(document, allow_nan=False), status=status, content_type="application/json"
    )
