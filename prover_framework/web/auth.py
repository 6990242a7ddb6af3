"""Who calls: the key that a request shows, what the caller may do, and whose groups it is about.

`require_caller` is asked before each request is handled, so that no route can be forgotten. A route
says by ``ctx_scope`` what it takes; one that does not takes `Scope.READ` where it only reads, and
`Scope.OPERATE` where it does not. Probes say `PUBLIC`.
"""

import binascii
from base64 import b64decode
from collections.abc import Callable, Coroutine
from typing import Any, Final

import attrs
from sanic import Request

from prover_framework.callers.service import Callers
from prover_framework.errors import (
    CallerUnknown,
    GroupIdInvalid,
    Problem,
    RequestError,
    ScopeMissing,
)
from prover_framework.model.callers import Caller, Scope
from prover_framework.model.names import GROUP_ID, NAMESPACE, NAMESPACE_RULE, group_key
from prover_framework.text import quote

# What a route says that everybody may ask, key or not.
PUBLIC: Final = "public"

READING = ("GET", "HEAD")

NAMESPACE_KEY = "namespace"

REALM = 'realm="prover"'

# Longer than any key; what is longer is not looked at.
MAX_AUTHORIZATION = 1024

# How browsers ask a person for a key: he types it as the password.
BASIC = f'Basic {REALM}, charset="UTF-8"'


def require_caller(callers: Callers) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """Return what lets a request through only if its caller may make it, and notes who that is.

    It raises `CallerUnknown`, `ScopeMissing`, `RateLimited` or, where keys cannot be read,
    `StoreError`.
    """

    async def require(request: Request) -> None:
        scope = _scope_of(request)
        if scope == PUBLIC:
            return
        caller = await callers.caller(_shown_key(request))
        if isinstance(scope, Scope):
            callers.require(caller, scope)
        request.ctx.caller = caller

    return require


def caller_of(request: Request) -> Caller:
    """Return who makes a request, in the namespace that it is about: his own, or what he names.

    Raises:
        RequestError: What he names cannot be a namespace.
        ScopeMissing: It is not his, and he does not see all.
    """
    caller: Caller = request.ctx.caller
    wanted = _wanted_namespace(request)
    if wanted in (None, caller.namespace):
        return caller
    if not NAMESPACE.fullmatch(wanted):
        raise RequestError([Problem(NAMESPACE_KEY, f"must be {NAMESPACE_RULE}")])
    if not caller.sees_all:
        raise ScopeMissing(caller.key_id, Scope.OPERATE)
    return attrs.evolve(caller, namespace=wanted)


def group_of(request: Request, group_id: str) -> str:
    """Return the key of the group that a request is about: what the database knows it by.

    Raises:
        GroupIdInvalid: No group can have this id, and a database need not look for it.
        RequestError: As `caller_of`.
        ScopeMissing: As `caller_of`.
    """
    if not GROUP_ID.fullmatch(group_id):
        raise GroupIdInvalid(quote(group_id))
    return group_key(caller_of(request).namespace, group_id)


def namespace_listed(request: Request) -> str | None:
    """Return the namespace whose groups a list has; None: all, for whoever sees them.

    Raises:
        RequestError: As `caller_of`.
        ScopeMissing: As `caller_of`.
    """
    caller = caller_of(request)
    if caller.sees_all and _wanted_namespace(request) is None:
        return None
    return caller.namespace


def _wanted_namespace(request: Request) -> str | None:
    # An empty one is none either: whoever sends it believes that he names one.
    if not request.query_string:
        return None
    wanted: str | None = request.get_args(keep_blank_values=True).get(NAMESPACE_KEY)
    return wanted


def challenge(request: Request, error: CallerUnknown | ScopeMissing) -> str:
    """Return the header ``WWW-Authenticate`` of an answer to somebody who is not let in."""
    if isinstance(error, ScopeMissing):
        return f'Bearer {REALM}, error="insufficient_scope"'
    if _is_of_browser(request):
        return BASIC
    shown = request.headers.get("authorization")
    return f"Bearer {REALM}" if shown is None else f'Bearer {REALM}, error="invalid_token"'


def _is_of_browser(request: Request) -> bool:
    """Tell whether a browser asks: for a page, or for what one of our own pages wants.

    A browser shows a key unasked below the address only that it was typed for. For others it has
    to be asked, and then does not ask its user again.
    """
    accepted = request.headers.get("accept", "")
    return "sec-fetch-site" in request.headers or any(
        kind in accepted for kind in ("text/html", "text/event-stream")
    )


def _scope_of(request: Request) -> Scope | str | None:
    """Return what a request takes; None for one that leads nowhere, which is told to callers."""
    route: Any = request.route
    if route is None:
        return None
    stated: Scope | str | None = getattr(route.ctx, "scope", None)
    if stated is not None:
        return stated
    return Scope.READ if request.method in READING else Scope.OPERATE


def _shown_key(request: Request) -> str | None:
    """Return the key that a request shows; None where it shows none.

    Raises:
        CallerUnknown: It shows something that is not to be understood.
    """
    headers: Any = request.headers
    shown: list[str] = headers.getall("authorization", [])
    if not shown:
        return None
    scheme, _, value = shown[0].partition(" ")
    value = value.strip()
    if len(shown) == 1 and len(shown[0]) <= MAX_AUTHORIZATION:
        if scheme.lower() == "bearer":
            return value
        if scheme.lower() == "basic":
            try:
                user, _, password = b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                pass
            else:
                return password or user
    raise CallerUnknown("the header Authorization must be, once, Bearer KEY")
