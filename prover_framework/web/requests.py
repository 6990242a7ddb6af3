"""Each request has an id, which the log and the answer have, and a line of its own in the log."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, TypeAlias

from attrs import define
from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

from prover_framework.log_context import REQUEST_ID, LogContext, log_about
from prover_framework.logs import ACCESS_LOGGER

log = logging.getLogger(ACCESS_LOGGER)

ID_HEADER = "X-Request-Id"

# The route of requests that lead nowhere: what clients make up is no label.
NOWHERE = "none"

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")

# What probes and scrapers ask again and again.
PROBES = ("health", "metrics")


@define
class Course:
    """What is known of a request while it is answered.

    Args:
        request_id: Its id.
        began: When it came, on the clock of `time.perf_counter`.
    """

    request_id: str
    began: float

    @property
    def seconds(self) -> float:
        """For how long it is under way."""
        return perf_counter() - self.began


# Told of a request that is answered, and how.
Watcher: TypeAlias = Callable[[Request, BaseHTTPResponse, Course], None]


def course_of(request: Request) -> Course | None:
    """Return what is known of a request; None if it was answered before it was known."""
    course: Course | None = getattr(request.ctx, "course", None)
    return course


def route_of(request: Request) -> str:
    """Return the route of a request, without anything that its client has made up."""
    return str(request.route.path) if request.route else NOWHERE


def method_of(request: Request) -> str:
    """Return the method of a request, if it is one that there is."""
    return request.method if request.method in METHODS else NOWHERE


def follow_requests(
    app: "Sanic[Any, Any]",
    checks: Sequence[Callable[[Request], Awaitable[None]]],
    watchers: Sequence[Watcher],
) -> None:
    """Give each request an id, its own from ``X-Request-Id`` or a new one, and answer with it.

    The library takes as long to call a function before or after a request as that function takes:
    hence one of each.

    Args:
        app: The application.
        checks: Called with a request before it is handled, one after the other; they refuse it by
            raising what the application answers with.
        watchers: Called once it is answered.
    """

    async def begin(request: Request) -> None:
        named = request.headers.get(ID_HEADER, "")
        request_id = named if REQUEST_ID.fullmatch(named) else secrets.token_hex(8)
        request.ctx.course = Course(request_id, perf_counter())
        # One task answers all requests of a connection, one after the other.
        log_about(LogContext(request_id=request_id))
        for check in checks:
            await check(request)

    def end(request: Request, response: BaseHTTPResponse) -> None:
        if (course := course_of(request)) is not None:
            response.headers[ID_HEADER] = course.request_id
            for watch in watchers:
                watch(request, response, course)

    app.register_middleware(begin, "request")
    app.register_middleware(end, "response")


def log_request(request: Request, response: BaseHTTPResponse, course: Course) -> None:
    """Write a line about a request, unless it is a probe's."""
    route = route_of(request)
    if route.partition("/")[0] in PROBES:
        return
    method, milliseconds = method_of(request), round(course.seconds * 1000, 1)
    log.info(
        "%s %s %d %.1f ms",
        method,
        route,
        response.status,
        milliseconds,
        extra={
            "method": method,
            "route": route,
            "status": response.status,
            "milliseconds": milliseconds,
        },
    )
