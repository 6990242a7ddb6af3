"""Receipts over HTTP: handed out, verified, and the keys that sign them."""

import re
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import PayloadTooLarge as SanicPayloadTooLarge
from sanic.response import HTTPResponse

from prover_framework.errors import PayloadTooLarge, Problem, RequestError
from prover_framework.model.callers import Scope
from prover_framework.model.receipts import BLOCK_HASH
from prover_framework.proofs.service import ReceiptService
from prover_framework.receipts.documents import MAX_RECEIPT_BYTES, dump_receipt
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json, dump_json
from prover_framework.serialization.objections import capped
from prover_framework.text import quote
from prover_framework.verification.service import VerificationService
from prover_framework.web.auth import group_of
from prover_framework.web.conditional import answer_once

READ = ("GET", "HEAD")

TRUSTED_HASH = "trusted_hash"


def add_receipt_routes(app: "Sanic[Any, Any]", receipt_service: ReceiptService) -> None:
    """Add what can be asked about the receipts of this service."""
    app.ctx.receipts = receipt_service
    app.add_route(_of_group, "/api/job/<group_id>/receipt", methods=READ, unquote=True)
    app.add_route(_of_proof, "/api/job/<group_id>/receipt/<job_id>", methods=READ, unquote=True)
    app.add_route(_keys, "/api/keys", methods=READ)


def add_verification_route(app: "Sanic[Any, Any]", verification: VerificationService) -> None:
    """Add the verification of anybody's receipts."""
    app.ctx.verification = verification
    # A receipt may be larger than other requests, so this route reads its body itself. Its answer
    # may have to wait for its turn.
    app.add_route(
        _verify,
        "/api/verify",
        methods=["POST"],
        stream=True,
        ctx_scope=Scope.VERIFY,
        ctx_answer_seconds=verification.longest_seconds,
    )


async def _of_group(request: Request, group_id: str) -> HTTPResponse:
    receipt_service: ReceiptService = request.app.ctx.receipts
    content = dump_receipt(await receipt_service.of_group(group_of(request, group_id)))
    return answer_once(request, content, "application/json")


async def _of_proof(request: Request, group_id: str, job_id: str) -> HTTPResponse:
    receipt_service: ReceiptService = request.app.ctx.receipts
    content = dump_receipt(await receipt_service.of_proof(group_of(request, group_id), job_id))
    return answer_once(request, content, "application/json")


async def _keys(request: Request) -> HTTPResponse:
    receipt_service: ReceiptService = request.app.ctx.receipts
    keys: Json = [unstructure(key) for key in receipt_service.public_keys()]
    return _json(dump_json({"keys": keys}).encode())


async def _verify(request: Request) -> HTTPResponse:
    verification: VerificationService = request.app.ctx.verification
    # Before the body is read: whoever has to come again need not send it.
    verification.require_room()
    trusted = _trusted_hash(request)
    return _json(await verification.verify(await _body(request), trusted))


async def _body(request: Request) -> bytes:
    if request.stream is None:
        return b""
    request.stream.request_max_size = MAX_RECEIPT_BYTES
    try:
        await request.receive_body()  # type: ignore[no-untyped-call]
    except SanicPayloadTooLarge:
        raise PayloadTooLarge(
            [Problem("", f"the body is larger than {MAX_RECEIPT_BYTES} bytes, which no receipt is")]
        ) from None
    return request.body


def _trusted_hash(request: Request) -> str | None:
    # An empty one is no hash either: whoever sends it believes that he names a block.
    arguments = request.get_args(keep_blank_values=True)
    unknown = [name for name in arguments if name != TRUSTED_HASH]
    problems = [Problem(quote(name), f"is unknown (known: {TRUSTED_HASH})") for name in unknown]
    text: str | None = arguments.get(TRUSTED_HASH)
    if text is not None and not re.fullmatch(BLOCK_HASH, text):
        problems.append(
            Problem(TRUSTED_HASH, f"must be 0x and 64 lower-case hex digits, got {quote(text)}")
        )
    if problems:
        raise RequestError(capped(problems))
    return text


def _json(body: bytes) -> HTTPResponse:
    return HTTPResponse(body, content_type="application/json")
