"""Answers that a client may have already (RFC 9110, section 13)."""

from hashlib import sha256

from sanic import Request
from sanic.response import HTTPResponse

# A client may keep it, and asks each time whether it is what it was.
KEPT = "private, no-cache"


def tag_of(content: bytes) -> str:
    """Return the entity tag of an answer's content."""
    return f'"{sha256(content).hexdigest()[:32]}"'


def has_it(request: Request, tag: str) -> bool:
    """Tell whether the client has the content that a tag stands for."""
    known = request.headers.get("if-none-match", "")
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in known.split(","))


def answer_once(
    request: Request, content: bytes, media_type: str, headers: dict[str, str] | None = None
) -> HTTPResponse:
    """Answer with content that does not change, or with 304 if the client has it."""
    tag = tag_of(content)
    named = {**(headers or {}), "ETag": tag, "Cache-Control": KEPT}
    if has_it(request, tag):
        return HTTPResponse(status=304, headers=named)
    return HTTPResponse(content, headers=named, content_type=media_type)
