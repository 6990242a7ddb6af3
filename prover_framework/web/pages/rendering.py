"""From a view to a page: templates, what they may use, and the headers of the answer."""

import json
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from importlib.resources import files
from typing import Any, TypeAlias
from urllib.parse import quote

import jinja2
from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.errors import ProverError
from prover_framework.model.callers import Scope
from prover_framework.model.names import DEFAULT_NAMESPACE, group_id_of, namespace_of
from prover_framework.text import LAST_DATED_SECOND, iso_utc
from prover_framework.web.auth import NAMESPACE_KEY
from prover_framework.web.pages.parts import PageMode
from prover_framework.web.pages.safety import (
    COOKIE,
    FormRefused,
    browser_key,
    new_browser_key,
    token_of,
)
from prover_framework.web.statuses import status_of

Handler: TypeAlias = Callable[..., Coroutine[Any, Any, HTTPResponse]]

TEMPLATES = files("prover_framework.web") / "templates"

# Everything is of this service, nothing is inline, and no other page may show ours in a frame.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

# With `no-referrer` browsers would say `Origin: null` of our own forms.
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

GWEI = 10**9


class Renderer:
    """Makes pages of views.

    Args:
        mode: Which pages there are.
        version: The version of this package, which pages name.
    """

    def __init__(self, mode: PageMode, version: str) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FunctionLoader(_template),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(can_change=mode is PageMode.ON, version=version)
        self._environment.filters.update(
            number=number_text,
            exact=exact_text,
            moment=moment_text,
            seconds=duration_text,
            size=size_text,
            segment=segment,
            in_namespace=in_namespace,
        )

    def page(
        self, request: Request, template: str, view: object, *, status: int = 200
    ) -> HTTPResponse:
        """Return a page.

        Args:
            request: What it answers.
            template: Name of its template.
            view: What the template calls ``view``.
            status: The answer's status.
        """
        key = browser_key(request)
        new = new_browser_key() if key is None else None
        text = self.text(request, template, view, token=token_of(key or new or ""))
        response = self.answer(text, status=status)
        if new is not None:
            # Without `Secure`: the service itself speaks HTTP, and TLS ends in front of it.
            response.add_cookie(
                COOKIE, new, path="/", httponly=True, samesite="Strict", secure=False
            )
        return response

    def text(self, request: Request, template: str, view: object, *, token: str = "") -> str:
        """Return the text of a page; without a token it is the same for all, and has no form."""
        text: str = self._environment.get_template(template).render(
            view=view, token=token, path=request.path
        )
        return text

    def answer(self, text: str, *, status: int = 200) -> HTTPResponse:
        """Return a page with the headers that all have."""
        return HTTPResponse(
            text, status=status, headers=dict(PAGE_HEADERS), content_type="text/html; charset=utf-8"
        )

    def error(
        self, request: Request, status: int, code: str, message: str, headers: Mapping[str, str]
    ) -> HTTPResponse:
        """Return the page that says what is wrong with a request."""
        page = self.page(request, "error.html", Wrong(message=message, code=code), status=status)
        page.headers.update(headers)
        return page

    def show(
        self,
        app: "Sanic[Any, Any]",
        path: str,
        handler: Handler,
        name: str,
        *,
        scope: Scope = Scope.READ,
    ) -> None:
        """Add a page at an address.

        Args:
            app: The application.
            path: Where it is.
            handler: Makes it.
            name: Name of the route.
            scope: What a caller's key has to be for.
        """
        app.add_route(
            self._guarded(handler),
            path,
            methods=("GET", "HEAD"),
            name=f"page_{name}",
            unquote=True,
            ctx_scope=scope,
        )

    def take(
        self,
        app: "Sanic[Any, Any]",
        path: str,
        handler: Handler,
        name: str,
        *,
        scope: Scope = Scope.OPERATE,
        answer_seconds: float = 0.0,
    ) -> None:
        """Add what takes a form; it has to read it by `read_form`.

        Args:
            app: The application.
            path: Where it is sent to.
            handler: Takes it.
            name: Name of the route.
            scope: What a caller's key has to be for.
            answer_seconds: How long the answer may take, if that is longer than others may.
        """
        app.add_route(
            self._guarded(handler),
            path,
            methods=("POST",),
            name=f"page_{name}",
            unquote=True,
            ctx_takes_form=True,
            ctx_scope=scope,
            ctx_answer_seconds=answer_seconds,
        )

    def _guarded(self, handler: Handler) -> Handler:
        """Answer what a handler raises with a page that says so."""

        @wraps(handler)
        async def answer(request: Request, **arguments: str) -> HTTPResponse:
            try:
                return await handler(request, **arguments)
            except ProverError as error:
                status = error.status if isinstance(error, FormRefused) else status_of(error)
                return self.error(request, status, error.code, str(error), {})

        return answer


def see_other(path: str) -> HTTPResponse:
    """Send a browser to another page after a form."""
    return HTTPResponse(status=303, headers={**PAGE_HEADERS, "Location": path})


def _template(name: str) -> str | None:
    file = TEMPLATES / name
    return file.read_text() if file.is_file() else None


# What templates write values by


def segment(text: str) -> str:
    """Escape a text as one segment of a path."""
    return quote(text, safe="")


def address_of(key: str) -> str:
    """Return where the page of a stored group is."""
    return f"/groups/{segment(group_id_of(key))}{in_namespace(namespace_of(key))}"


def in_namespace(namespace: str) -> str:
    """Return what an address of a group has at its end to say which namespace it is of."""
    return "" if namespace == DEFAULT_NAMESPACE else f"?{NAMESPACE_KEY}={segment(namespace)}"


def number_text(value: float) -> str:
    """Write a number for people: six digits, or all of a whole one in groups of three."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.6g}"


def exact_text(value: Any) -> str:
    """Write a JSON value exactly."""
    return value if isinstance(value, str) else json.dumps(value)


def moment_text(value: str | float) -> str:
    """Write a time for people, to the second in UTC: from ISO 8601 or Unix seconds."""
    if isinstance(value, str):
        iso = value
    elif 0 <= value <= LAST_DATED_SECOND:
        iso = iso_utc(round(value * 1000))
    else:
        return f"second {number_text(value)}"
    return f"{iso[:10]} {iso[11:19]} UTC"


def duration_text(seconds: float) -> str:
    """Write a duration for people, in its two largest units."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, length, smaller, small in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= length:
            rest = whole % length // small
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def size_text(count: int) -> str:
    """Write a number of bytes for people."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} bytes"


@frozen(kw_only=True)
class Wrong:
    """What is wrong with a request."""

    message: str
    code: str


@frozen
class OfGroup:
    """What a page shows of one group, by the key that the group is stored under."""

    key: str

    @property
    def group_id(self) -> str:
        """The group."""
        return group_id_of(self.key)

    @property
    def address(self) -> str:
        """Where the group is."""
        return address_of(self.key)


def object_of(value: object) -> Mapping[str, Any]:
    """Return a JSON object as it is, and anything else as an empty one."""
    return value if isinstance(value, dict) else {}
