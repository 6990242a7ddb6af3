"""Who may call the API, how much of it, and how much is used: keys, rates and quotas."""

from typing import Any

from attrs import frozen
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.callers.keys import ApiKey
from prover_framework.errors import ApiKeyError, Problem, RequestError
from prover_framework.jobs.usage import Usage
from prover_framework.model.callers import Scope
from prover_framework.text import iso_utc, quote
from prover_framework.web.auth import caller_of
from prover_framework.web.pages.parts import PageMode, Shown
from prover_framework.web.pages.rendering import Renderer, see_other
from prover_framework.web.pages.safety import read_form

# Keys that the page shows, the newest first; "prover key api list" has all.
MAX_SHOWN = 200

ADDRESS = "/access"

MIB = 2**20


@frozen(kw_only=True)
class KeyRow:
    """A key of the API, without what is secret of it.

    Args:
        key: The key.
        state: What has become of it: active, expired or revoked.
        requests: Requests of a minute's worth that it has used up at this process.
        verifications: The same of verifications.
        groups: Its groups with jobs that have not ended.
        is_own: Whether this is the key by which the page was asked for.
    """

    key: ApiKey
    state: str
    requests: int
    verifications: int
    groups: int
    is_own: bool

    @property
    def scopes(self) -> str:
        """What it may be used for."""
        return ", ".join(scope for scope in Scope if scope in self.key.scopes)

    @property
    def created_at(self) -> str:
        """When it was made."""
        return iso_utc(self.key.created_at)

    @property
    def expires_at(self) -> str | None:
        """When it ends by itself."""
        return None if self.key.expires_at is None else iso_utc(self.key.expires_at)

    @property
    def last_used_at(self) -> str | None:
        """When it was used last, as far as that is written down."""
        return None if self.key.last_used_at is None else iso_utc(self.key.last_used_at)


@frozen(kw_only=True)
class AccessPage:
    """Keys and quotas.

    Args:
        rows: The keys.
        count: How many there are.
        usage: What is used of what is bounded.
    """

    rows: tuple[KeyRow, ...]
    count: int
    usage: Usage

    @property
    def database_mb(self) -> int:
        """What the database holds, in MiB."""
        size = self.usage.size
        return (size.used - (size.reusable or 0)) // MIB

    @property
    def disk_free_mb(self) -> int | None:
        """What its disk has left, in MiB; None where that is a server's."""
        free = self.usage.size.disk_free
        return None if free is None else free // MIB


class AccessPages:
    """The page about keys and quotas, for operators.

    Args:
        shown: What it shows and calls.
        renderer: Makes pages of views.
    """

    def __init__(self, shown: Shown, renderer: Renderer) -> None:
        self._parts = shown.parts
        self._renderer = renderer

    def add_to(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes."""
        self._renderer.show(app, ADDRESS, self._show, "access", scope=Scope.OPERATE)
        if self._parts.mode is PageMode.ON:
            self._renderer.take(app, f"{ADDRESS}/revoke", self._revoke, "access_revoke")

    async def _show(self, request: Request) -> HTTPResponse:
        now, keys = await self._parts.keys.list()
        usage = await self._parts.usage()
        view = AccessPage(
            rows=tuple(self._row(request, key, now, usage) for key in keys[:MAX_SHOWN]),
            count=len(keys),
            usage=usage,
        )
        return self._renderer.page(request, "access.html", view)

    def _row(self, request: Request, key: ApiKey, now: int, usage: Usage) -> KeyRow:
        callers = self._parts.callers
        return KeyRow(
            key=key,
            state=key.state(now),
            requests=callers.used(key.id),
            verifications=callers.used(key.id, Scope.VERIFY),
            groups=usage.groups_of_keys.get(key.id, 0),
            is_own=caller_of(request).key_id == key.id,
        )

    async def _revoke(self, request: Request) -> HTTPResponse:
        key_id = read_form(request).one("key")
        if caller_of(request).key_id == key_id:
            what = "is the key that you show; revoke it with another, or with prover key api revoke"
            raise RequestError([Problem("key", what)])
        try:
            await self._parts.keys.revoke(key_id)
        except ApiKeyError:
            raise RequestError([Problem("key", f"there is no {quote(key_id)}")]) from None
        return see_other(ADDRESS)
