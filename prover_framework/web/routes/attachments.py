"""Attachments over HTTP: each at an address of its own, sent in pieces as the client takes them."""

import logging
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.proofs.service import OpenAttachment, ReceiptService
from prover_framework.web.auth import group_of
from prover_framework.web.conditional import KEPT, has_it

log = logging.getLogger(__name__)

# What a browser must not do with somebody's file: show it as a page of this address.
SAFE_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox"}


def add_attachment_route(app: "Sanic[Any, Any]") -> None:
    """Add what can be asked about attachments; `add_receipt_routes` says whom."""
    app.add_route(
        _attachment,
        "/api/job/<group_id>/attachment/<job_id>/<name>",
        methods=("GET", "HEAD"),
        unquote=True,
    )


async def _attachment(
    request: Request, group_id: str, job_id: str, name: str
) -> HTTPResponse | None:
    receipts: ReceiptService = request.app.ctx.receipts
    found = await receipts.attachment(group_of(request, group_id), job_id, name)
    headers = _headers(found)
    if has_it(request, headers["ETag"]):
        return HTTPResponse(status=304, headers=headers)
    headers["Content-Length"] = str(found.stated.size)
    answer: Any = await request.respond(
        headers=headers, content_type=found.stated.media_type, status=200
    )
    if request.method == "GET":
        sent = 0
        async for chunk in found.chunks:
            await answer.send(chunk)
            sent += len(chunk)
        if sent != found.stated.size:
            # The client sees it, too: the answer ends before its length.
            log.error("%s %s: of %s there are %d bytes only", group_id, job_id, name, sent)
    await answer.eof()
    return None


def _headers(found: OpenAttachment) -> dict[str, str]:
    # A name has neither quotes nor anything else that would need some.
    return {
        **SAFE_HEADERS,
        "Content-Disposition": f'attachment; filename="{found.name}"',
        "ETag": f'"{found.stated.sha256}"',
        "Cache-Control": KEPT,
    }
