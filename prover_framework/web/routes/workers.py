"""Workers and queues over HTTP: looked at, drained, paused."""

import re
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.errors import Problem, RequestError, WorkerNotFound
from prover_framework.jobs.service import ProvingService
from prover_framework.model.names import QUEUE_NAME
from prover_framework.model.workers import PauseRequest
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.text import one_line, quote
from prover_framework.web.routes.receipts import READ

MAX_WORKER_NAME = 80


def add_worker_routes(app: "Sanic[Any, Any]") -> None:
    """Add what operators see of workers and queues, and do with them."""
    app.add_route(_workers, "/api/workers", methods=READ)
    app.add_route(_drain, "/api/workers/<worker>/drain", methods=["POST"], unquote=True)
    app.add_route(_pause, "/api/queues/<queue>/pause", methods=["POST"], unquote=True)
    app.add_route(_resume, "/api/queues/<queue>/resume", methods=["POST"], unquote=True)


async def _workers(request: Request) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    return _json(unstructure(await service.workers.all()))


async def _drain(request: Request, worker: str) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    if len(worker) > MAX_WORKER_NAME or not worker.isprintable() or not worker.isascii():
        raise WorkerNotFound(f"there is no worker {quote(worker)}")
    await service.workers.drain(worker)
    return _json({"worker": worker, "status": "draining"})


async def _pause(request: Request, queue: str) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    wanted = structure(parse_json(request.body), PauseRequest) if request.body else PauseRequest()
    await service.workers.pause(_known_form(queue), one_line(wanted.reason))
    return _json({"queue": queue, "status": "paused"})


async def _resume(request: Request, queue: str) -> HTTPResponse:
    service: ProvingService = request.app.ctx.service
    was_paused = await service.workers.resume(_known_form(queue))
    return _json({"queue": queue, "status": "running", "was_paused": was_paused})


def _known_form(queue: str) -> str:
    if not re.fullmatch(QUEUE_NAME, queue):
        rule = "must be 1 to 80 letters, digits, '_' or '-'"
        raise RequestError([Problem("queue", f"{rule}, got {quote(queue)}")])
    return queue


def _json(document: Json) -> HTTPResponse:
    return HTTPResponse(dump_json(document), content_type="application/json")
