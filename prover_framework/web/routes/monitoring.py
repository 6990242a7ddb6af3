"""What probes, scrapers and operators look at: health, readiness, metrics."""

import json
from time import perf_counter
from typing import Any

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse, HTTPResponse

from prover_framework.monitoring.exposition import CONTENT_TYPE
from prover_framework.monitoring.service import Monitoring
from prover_framework.web.auth import PUBLIC
from prover_framework.web.routes.receipts import READ

# The route of requests that lead nowhere: what clients make up is no label.
NOWHERE = "none"

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


def add_monitoring_routes(app: "Sanic[Any, Any]", monitoring: Monitoring) -> None:
    """Add ``/health``, ``/health/live``, ``/health/ready`` and ``/metrics``."""
    app.ctx.monitoring = monitoring
    app.add_route(_live, "/health", methods=READ, name="health", ctx_scope=PUBLIC)
    app.add_route(_live, "/health/live", methods=READ, name="live", ctx_scope=PUBLIC)
    app.add_route(_ready, "/health/ready", methods=READ, name="ready", ctx_scope=PUBLIC)
    app.add_route(_metrics, "/metrics", methods=READ, name="metrics", ctx_scope=PUBLIC)


def count_requests(app: "Sanic[Any, Any]", monitoring: Monitoring) -> None:
    """Count requests by route, method and status, with the time that they took."""

    async def begin(request: Request) -> None:
        request.ctx.began = perf_counter()

    async def end(request: Request, response: BaseHTTPResponse) -> None:
        began = getattr(request.ctx, "began", None)
        if began is not None:
            route = request.route.path if request.route else NOWHERE
            method = request.method if request.method in METHODS else NOWHERE
            monitoring.metrics.requests.labels(route, method, response.status).observe(
                perf_counter() - began
            )

    app.register_middleware(begin, "request", priority=1)
    app.register_middleware(end, "response")


async def _live(request: Request) -> HTTPResponse:
    """Answer that this process answers."""
    del request
    return _json(200, {"status": "ok"})


async def _ready(request: Request) -> HTTPResponse:
    """Answer whether the process can do its work, part by part.

    Reasons are in the log and in ``prover stats``: this is answered under any host name.
    """
    monitoring: Monitoring = request.app.ctx.monitoring
    readiness = await monitoring.readiness()
    return _json(
        200 if readiness.is_ready else 503,
        {
            "status": "ready" if readiness.is_ready else "not ready",
            "checks": {check.name: check.state.value for check in readiness.checks},
        },
    )


async def _metrics(request: Request) -> HTTPResponse:
    monitoring: Monitoring = request.app.ctx.monitoring
    return HTTPResponse(await monitoring.page(), content_type=CONTENT_TYPE)


def _json(status: int, document: dict[str, Any]) -> HTTPResponse:
    return HTTPResponse(json.dumps(document), status=status, content_type="application/json")
