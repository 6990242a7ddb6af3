"""The description of the API at an address of its own."""

from importlib.metadata import version
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.jobs.service import ProvingService
from prover_framework.serialization.json_text import dump_json
from prover_framework.web.conditional import answer_once
from prover_framework.web.openapi.document import openapi_document


def add_openapi_route(app: "Sanic[Any, Any]") -> None:
    """Add ``/openapi.json``."""
    app.add_route(_openapi, "/openapi.json", methods=("GET", "HEAD"), name="openapi")


async def _openapi(request: Request) -> HTTPResponse:
    # What is installed stays so for the life of a process.
    ctx = request.app.ctx
    content: bytes | None = getattr(ctx, "openapi", None)
    if content is None:
        service: ProvingService = ctx.service
        document = openapi_document(service.catalogue(), version("prover-framework"))
        content = ctx.openapi = dump_json(document).encode()
    return answer_once(request, content, "application/json")
