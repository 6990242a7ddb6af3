"""Each request has an id, which the log and the answer have, and a line of its own in the log."""

import logging
import secrets
from time import perf_counter
from typing import Any

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


def identify_requests(app: "Sanic[Any, Any]") -> None:
    """Give each request an id: its own from ``X-Request-Id``, or a new one; answer with it."""

    async def begin(request: Request) -> None:
        named = request.headers.get(ID_HEADER, "")
        request_id = named if REQUEST_ID.fullmatch(named) else secrets.token_hex(8)
        request.ctx.course = Course(request_id, perf_counter())
        # One task answers all requests of a connection, one after the other.
        log_about(LogContext(request_id=request_id))

    async def end(request: Request, response: BaseHTTPResponse) -> None:
        if (course := course_of(request)) is not None:
            response.headers[ID_HEADER] = course.request_id

    app.register_middleware(begin, "request", priority=2)
    app.register_middleware(end, "response")


def log_requests(app: "Sanic[Any, Any]") -> None:
    """Write a line for each request, but those of probes; after `identify_requests`."""

    async def end(request: Request, response: BaseHTTPResponse) -> None:
        course, route = course_of(request), route_of(request)
        if course is None or route.partition("/")[0] in PROBES:
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

    app.register_middleware(end, "response")
