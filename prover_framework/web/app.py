"""The HTTP application: routes, and errors in one form."""

import json
import logging
import re
import secrets
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, cast

import attrs
from sanic import Request, Sanic
from sanic.compat import Header
from sanic.exceptions import MethodNotAllowed, NotFound, RequestCancelled, SanicException
from sanic.exceptions import PayloadTooLarge as SanicPayloadTooLarge
from sanic.handlers import ErrorHandler
from sanic.http import Http
from sanic.response import HTTPResponse

from prover_framework.callers.service import Callers
from prover_framework.errors import (
    CallerUnknown,
    FeedBusy,
    GroupNotFound,
    Limited,
    PayloadTooLarge,
    Problem,
    ProverError,
    RequestError,
    ScopeMissing,
    UnsupportedMediaType,
    VerifierBusy,
)
from prover_framework.jobs.feed import EventFeed, wait_for_end
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.views import StatusText, is_final_view
from prover_framework.model.callers import Caller, Scope
from prover_framework.model.jobs import FINAL
from prover_framework.model.listing import parse_query
from prover_framework.model.names import group_key
from prover_framework.model.priorities import (
    PRIORITY_KEY,
    PRIORITY_RULE,
    USUAL_PRIORITY,
    read_priority,
)
from prover_framework.model.proofs import GroupRequest
from prover_framework.monitoring.service import Monitored, Monitoring
from prover_framework.proofs.charts import ChartService
from prover_framework.proofs.service import ReceiptService
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json
from prover_framework.text import quote
from prover_framework.tracing import TRACEPARENT, SpanKind
from prover_framework.verification.service import VerificationService
from prover_framework.web.auth import (
    BASIC,
    NAMESPACE_KEY,
    caller_of,
    challenge,
    group_of,
    namespace_listed,
    require_caller,
)
from prover_framework.web.conditional import answer_once
from prover_framework.web.pages.parts import PageParts, Shown
from prover_framework.web.pages.routes import add_pages
from prover_framework.web.problems import error_answer, is_for_people
from prover_framework.web.requests import follow_requests, log_request
from prover_framework.web.routes.actions import add_action_routes
from prover_framework.web.routes.attachments import add_attachment_route
from prover_framework.web.routes.charts import add_chart_route
from prover_framework.web.routes.events import add_event_routes
from prover_framework.web.routes.monitoring import add_monitoring_routes, counts_requests
from prover_framework.web.routes.openapi import add_openapi_route
from prover_framework.web.routes.receipts import READ, add_receipt_routes, add_verification_route
from prover_framework.web.routes.seals import add_seal_route
from prover_framework.web.routes.workers import add_worker_routes
from prover_framework.web.statuses import status_of

log = logging.getLogger(__name__)

# Far above any request for proofs, far below what a server should read from a stranger.
MAX_BODY_BYTES = 64 * 1024

# What servers write down for a request whose client is gone.
CLIENT_GONE = 499

# How long an answer about a group can wait for its end: less than clients, and what stands between,
# wait for an answer.
LONGEST_WAIT_SECONDS = 50
WAIT = re.compile("[0-9]{1,2}")

JSON_TYPE = "application/json"

DISPATCHED = "All jobs dispatched successfully"


def make_app(
    service: ProvingService,
    receipts: ReceiptService,
    verification: VerificationService,
    monitoring: Monitoring,
    callers: Callers,
    *,
    charts: ChartService | None = None,
    pages: PageParts | None = None,
    feed: EventFeed | None = None,
    access_log: bool = False,
) -> "Sanic[Any, Any]":
    """Make the application. It must be unregistered when it is no longer used."""
    app = _bare_app()
    app.ctx.service = service
    watchers = [counts_requests(monitoring), *([log_request] if access_log else [])]
    follow_requests(app, [require_caller(callers), _require_json_of_posts], watchers)
    app.add_route(_submit, "/api/job", methods=["POST"], ctx_scope=Scope.SUBMIT)
    app.add_route(_find, "/api/job", methods=READ)
    app.add_route(_status, "/api/job/<group_id>", methods=READ, unquote=True)
    app.add_route(_proof_types, "/api/proof-types", methods=READ)
    add_monitoring_routes(app, monitoring)
    add_receipt_routes(app, receipts)
    add_seal_route(app)
    add_action_routes(app)
    add_worker_routes(app)
    add_attachment_route(app)
    add_verification_route(app, verification)
    add_openapi_route(app)
    if feed is not None:
        add_event_routes(app, feed)
    if charts is not None:
        add_chart_route(app, charts)
    if pages is not None and charts is not None:
        add_pages(
            app,
            Shown(
                service=service,
                receipts=receipts,
                verification=verification,
                monitoring=monitoring,
                charts=charts,
                parts=pages,
            ),
        )
    return app


def make_monitoring_app(monitoring: Monitored) -> "Sanic[Any, Any]":
    """Make the application of a process that has nothing but its monitoring to show."""
    app = _bare_app()
    add_monitoring_routes(app, monitoring)
    return app


def _bare_app() -> "Sanic[Any, Any]":
    # Sanic keeps a register of names for its own process manager, which is not used here.
    app: Sanic[Any, Any] = _App(
        f"prover-{secrets.token_hex(8)}",
        request_class=_Request,
        error_handler=_Errors(),
        configure_logging=False,
    )
    app.config.REQUEST_MAX_SIZE = MAX_BODY_BYTES
    app.config.ACCESS_LOG = False
    # Sanic would compile its own methods anew, which only works for the first server of a process.
    app.config.TOUCHUP = False
    app.config.FALLBACK_ERROR_FORMAT = "json"
    return app


async def _submit(request: Request) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    caller = caller_of(request)
    wanted = service.parse(request.body)
    priority = _priority(request, wanted.group_id)
    with service.tracing.span(
        "POST /api/job",
        SpanKind.SERVER,
        parent=request.headers.get(TRACEPARENT),
        attributes={"prover.group": group_key(caller.namespace, wanted.group_id)},
    ) as note:
        answer = await _answer_submission(request, service, wanted, caller, priority)
        note("http.response.status_code", answer.status)
    return answer


async def _answer_submission(
    request: Request,
    service: ProvingService,
    wanted: GroupRequest,
    caller: Caller,
    priority: int,
) -> HTTPResponse:
    try:
        acceptance = await service.submit(wanted, caller, priority=priority)
    except ProverError as error:
        return _refusal(request, error, wanted.group_id)
    if acceptance.unsent:
        reasons = ", ".join(f"{title} job failed: {reason}" for title, reason in acceptance.unsent)
        return error_answer(request, 500, "not_sent", reasons, group_id=wanted.group_id)
    return _answer(
        200, {"status": "success", "message": DISPATCHED, "job_group_id": wanted.group_id}
    )


def _priority(request: Request, group_id: str) -> int:
    """Return the priority that a request asks for."""
    if not request.query_string:
        return USUAL_PRIORITY
    given = request.get_args(keep_blank_values=True).getlist(PRIORITY_KEY) or []
    if not given:
        return USUAL_PRIORITY
    if len(given) == 1 and (priority := read_priority(given[0])) is not None:
        return priority
    what = f"must be, once, {PRIORITY_RULE}, got {quote(given[0])}"
    raise RequestError([Problem(PRIORITY_KEY, what)], group_id)


async def _find(request: Request) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    # The library's own type returns the first of several values.
    given = request.get_args(keep_blank_values=True)
    asked = {name: values for name, values in given.items() if name != NAMESPACE_KEY}
    query = attrs.evolve(parse_query(asked), namespace=namespace_listed(request))
    return _answer(200, unstructure(await service.find(query)))


async def _status(request: Request, group_id: str) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    key = group_of(request, group_id)
    try:
        await _wait(request, group_id, key)
        if request.args.get("verbose") == "1":
            group = await service.verbose_status(key)
            content = json.dumps(unstructure(group), allow_nan=False).encode()
            shown = StatusText(content, is_final_view(group))
        else:
            shown = await service.status_text(key)
    except ProverError as error:
        return _refusal(request, error, group_id)
    if shown.is_final:
        return answer_once(request, shown.content, JSON_TYPE)
    return HTTPResponse(shown.content, content_type=JSON_TYPE)


async def _wait(request: Request, group_id: str, key: str) -> None:
    """Wait until a group has ended, for as long as the request says."""
    text = request.args.get("wait")
    feed: EventFeed | None = getattr(request.app.ctx, "feed", None)
    if text is None or feed is None:
        return
    if not WAIT.fullmatch(text) or int(text) > LONGEST_WAIT_SECONDS:
        what = f"must be seconds, 0 to {LONGEST_WAIT_SECONDS}, got {quote(text)}"
        raise RequestError([Problem("wait", what)], group_id)
    service: ProvingService = request.app.ctx.service

    async def has_ended() -> bool:
        return all(job.status in FINAL for job in (await service.status(key)).jobs)

    if not await has_ended():
        await wait_for_end(feed, key, int(text), has_ended)


async def _proof_types(request: Request) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    return answer_once(request, service.catalogue_text, JSON_TYPE)


async def _require_json_of_posts(request: Request) -> None:
    """Require JSON of whatever is posted: a form on any web page can send the other types.

    The forms of our own pages show that they are (`prover_framework.web.pages.safety`).
    """
    if request.method != "POST" or request.route is None:
        return
    if getattr(request.route.ctx, "takes_form", False):
        return
    # The library asks once more before it tells that a body is too large, which says more.
    stream = cast("Http", request.stream)
    if (stream.request_bytes or 0) <= (stream.request_max_size or 0):
        _require_json(request)


def _require_json(request: Request) -> None:
    """Require a body that is declared as JSON, in UTF-8 if an encoding is named at all."""
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise UnsupportedMediaType(
            [Problem("", f"the body must not be compressed, got the encoding {quote(coding)}")]
        )
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


class _Nothing:
    """What can be awaited and does nothing."""

    def __await__(self) -> Iterator[None]:
        return iter(())


class _App(Sanic):  # type: ignore[type-arg]
    """Leaves out the twenty signals that tell of the steps of a request: nobody listens to them.

    The library would find out for each of them anew that it has no handler.
    """

    _nothing = _Nothing()

    def dispatch(self, event: str, **more: Any) -> Any:
        """Send a signal."""
        return self._nothing if event.startswith("http.") else super().dispatch(event, **more)


class _Request(Request):
    """A request that exists even where its line was beyond reading.

    Sanic makes one of the method NONE to answer such a line, and stumbles over its URL again.
    """

    def __init__(
        self, url_bytes: bytes, headers: Header, version: str, method: str, *args: Any, **more: Any
    ) -> None:
        url = b"*" if method == "NONE" else url_bytes
        super().__init__(url, headers, version, method, *args, **more)


class _Errors(ErrorHandler):
    """Gives every error the same form and no stack trace."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        match exception:
            case RequestError() | GroupNotFound():
                return _refusal(request, exception, exception.group_id)
            case ProverError():
                return _refusal(request, exception, None)
            case SanicPayloadTooLarge() if request.method == "NONE":
                return error_answer(
                    request, 431, "head_too_large", "the request's head is too large"
                )
            case SanicPayloadTooLarge():
                message = f"the body is larger than {MAX_BODY_BYTES} bytes"
                return error_answer(request, 413, PayloadTooLarge.code, message)
            case NotFound():
                message = f"there is nothing at {quote(request.path)}"
                return error_answer(request, 404, "nothing_there", message)
            case MethodNotAllowed():
                allowed = ", ".join(sorted(exception.allowed_methods or ()))
                message = f"{quote(request.path)} takes {allowed}, not {quote(request.method)}"
                headers = {"Allow": allowed}
                return error_answer(request, 405, "method_not_allowed", message, headers=headers)
            case RequestCancelled():
                # The client has hung up: nobody reads this, and nothing is wrong.
                return error_answer(request, CLIENT_GONE, "client_gone", "the client has hung up")
            case SanicException():
                return error_answer(
                    request,
                    exception.status_code,
                    "http",
                    str(exception),
                    headers=dict(exception.headers),
                )
        log.error("a request could not be handled", exc_info=exception)
        return error_answer(request, 500, "internal_error", "internal error; the log has more")


def _refusal(request: Request, error: ProverError, group_id: str | None) -> HTTPResponse:
    """Answer with one of our own errors."""
    headers, status = {}, status_of(error)
    match error:
        case VerifierBusy() | FeedBusy() | Limited():
            headers["Retry-After"] = str(error.retry_seconds)
        case ScopeMissing() if is_for_people(request):
            # Then the browser asks for another key: that of an operator.
            headers["WWW-Authenticate"], status = BASIC, HTTPStatus.UNAUTHORIZED
        case CallerUnknown() | ScopeMissing():
            headers["WWW-Authenticate"] = challenge(request, error)
    return error_answer(
        request,
        status,
        error.code,
        str(error),
        group_id=group_id,
        problems=error.problems if isinstance(error, RequestError) else (),
        headers=headers,
    )


def _answer(status: int, document: Json) -> HTTPResponse:
    return HTTPResponse(
        json.dumps(document, allow_nan=False), status=status, content_type=JSON_TYPE
    )
