"""The files beside the pages: styles, the module that makes pages live, the icon."""

from hashlib import sha256
from importlib.resources import files
from typing import Any

from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.web.auth import PUBLIC
from prover_framework.web.conditional import has_it

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

# A browser may keep it, and asks each time whether it is what it was.
KEPT = "no-cache"


@frozen
class _File:
    content: bytes
    media_type: str
    tag: str


def add_static_files(app: "Sanic[Any, Any]") -> None:
    """Add the files of this package's folder ``static``."""
    for file in (files("prover_framework.web") / "static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in TYPES:
            content = file.read_bytes()
            tag = f'"{sha256(content).hexdigest()[:32]}"'
            _add(app, file.name, _File(content, f"{TYPES[kind]}; charset=utf-8", tag))


def _add(app: "Sanic[Any, Any]", name: str, file: _File) -> None:
    async def answer(request: Request) -> HTTPResponse:
        headers = {"ETag": file.tag, "Cache-Control": KEPT}
        if has_it(request, file.tag):
            return HTTPResponse(status=304, headers=headers)
        return HTTPResponse(file.content, headers=headers, content_type=file.media_type)

    # Nothing of them is secret, and the page that asks a person for his key is shown with them.
    app.add_route(
        answer,
        f"/static/{name}",
        methods=("GET", "HEAD"),
        name=f"static_{name}",
        ctx_scope=PUBLIC,
    )
