"""What probes, scrapers and operators look at: health, readiness, metrics."""

import json
from typing import Any

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse, HTTPResponse

from prover_framework.monitoring.exposition import CONTENT_TYPE
from prover_framework.monitoring.service import Monitored, Monitoring
from prover_framework.web.auth import PUBLIC
from prover_framework.web.requests import Course, Watcher, method_of, route_of
from prover_framework.web.routes.receipts import READ


def add_monitoring_routes(app: "Sanic[Any, Any]", monitoring: Monitored) -> None:
    """Add ``/health``, ``/health/live``, ``/health/ready`` and ``/metrics``."""
    app.ctx.monitoring = monitoring
    app.add_route(_live, "/health", methods=READ, name="health", ctx_scope=PUBLIC)
    app.add_route(_live, "/health/live", methods=READ, name="live", ctx_scope=PUBLIC)
    app.add_route(_ready, "/health/ready", methods=READ, name="ready", ctx_scope=PUBLIC)
    app.add_route(_metrics, "/metrics", methods=READ, name="metrics", ctx_scope=PUBLIC)


def counts_requests(monitoring: Monitoring) -> Watcher:
    """Return what counts requests by route, method and status, with the time they took."""

    def count(request: Request, response: BaseHTTPResponse, course: Course) -> None:
        monitoring.metrics.requests.labels(
            route_of(request), method_of(request), response.status
        ).observe(course.seconds)

    return count


async def _live(request: Request) -> HTTPResponse:
    """Answer that this process answers."""
    del request
    return _json(200, {"status": "ok"})


async def _ready(request: Request) -> HTTPResponse:
    """Answer whether the process can do its work, part by part.

    Reasons are in the log and in ``prover stats``: this is answered under any host name.
    """
    monitoring: Monitored = request.app.ctx.monitoring
    readiness = await monitoring.readiness()
    return _json(
        200 if readiness.is_ready else 503,
        {
            "status": "ready" if readiness.is_ready else "not ready",
            "checks": {check.name: check.state.value for check in readiness.checks},
            "plugins_not_loaded": list(readiness.not_loaded),
        },
    )


async def _metrics(request: Request) -> HTTPResponse:
    monitoring: Monitored = request.app.ctx.monitoring
    return HTTPResponse(await monitoring.page(), content_type=CONTENT_TYPE)


def _json(status: int, document: dict[str, Any]) -> HTTPResponse:
    return HTTPResponse(json.dumps(document), status=status, content_type="application/json")
