"""Seals over HTTP: asked for after the result."""

from typing import Any

from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.model.callers import Scope
from prover_framework.proofs.service import ReceiptService
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import dump_json, parse_json
from prover_framework.web.auth import group_of


@frozen
class SealRequest:
    """The body of a request for seals.

    Args:
        job_id: The job on whose receipt one is wanted; none for the group and all of its jobs.
    """

    job_id: str | None = None


def add_seal_route(app: "Sanic[Any, Any]") -> None:
    """Add what asks for seals on the receipts of this service."""
    app.add_route(
        _seal,
        "/api/job/<group_id>/seal/<kind>",
        methods=["POST"],
        unquote=True,
        ctx_scope=Scope.SUBMIT,
    )


async def _seal(request: Request, group_id: str, kind: str) -> HTTPResponse:
    receipts: ReceiptService = request.app.ctx.receipts
    key = group_of(request, group_id)
    wanted = SealRequest()
    if request.body:
        wanted = structure(parse_json(request.body), SealRequest)
    asked = await receipts.ask_for_seals(key, kind, wanted.job_id)
    return HTTPResponse(
        dump_json(unstructure(asked.group)),
        status=202 if asked.queued else 200,
        content_type="application/json",
    )
