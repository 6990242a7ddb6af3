"""Forms that change something: that they come from a page of this service, and who may send them.

A browser sends forms of any page to any service. Three things tell ours apart: the browser's own
word for where the form stands (``Origin``, ``Sec-Fetch-Site``), a cookie that goes along with
requests of this site only (``SameSite=Strict``), and a token in the form that is made from that
cookie, which no other page can read.
"""

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import parse_qsl

from attrs import frozen
from sanic import Request

from prover_framework.errors import Problem, RequestError, UnsupportedMediaType
from prover_framework.text import quote
from prover_framework.web.access import OWN_SITES

FORM_TYPE = "application/x-www-form-urlencoded"

# A form has a field for each parameter of the proof types that are installed.
MAX_FORM_FIELDS = 1000

COOKIE = "prover_pages"

# What a form carries the token in.
TOKEN = "token"  # noqa: S105 - the name of a field

# 256 random bits, as `secrets.token_urlsafe` writes them.
COOKIE_FORM = re.compile(rf"(?:^|;[ ]?){COOKIE}=([A-Za-z0-9_-]{{43}})(?:;|$)")


class FormRefused(RequestError):
    """A form that does not come from a page of this service, or from one that is too old."""

    code = "form_refused"
    status = HTTPStatus.FORBIDDEN


@frozen
class Form:
    """The fields of a form that was sent."""

    fields: Mapping[str, Sequence[str]]

    def one(self, name: str) -> str:
        """Return the value of a field without the spaces around it; empty where there is none."""
        return self.fields.get(name, ("",))[0].strip()


def browser_key(request: Request) -> str | None:
    """Return the random key that a browser has from us, in its cookie."""
    # Parsers of all that cookies may be take long for some.
    found = COOKIE_FORM.search(request.headers.get("cookie", ""))
    return None if found is None else found[1]


def new_browser_key() -> str:
    """Return a key for a browser that has none."""
    return secrets.token_urlsafe(32)


def token_of(key: str) -> str:
    """Return the token that the forms for a browser carry."""
    return sha256(b"prover pages\0" + key.encode()).hexdigest()


def is_token(text: str, key: str) -> bool:
    """Tell whether a form carries the token for a browser; it may carry any text."""
    return hmac.compare_digest(token_of(key).encode(), text.encode())


def read_form(request: Request) -> Form:
    """Read a form of a page of this service.

    This is the one place that all forms pass which change something.

    Raises:
        UnsupportedMediaType: It is no form.
        FormRefused: It is not from a page of this service, or that page is too old.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != FORM_TYPE:
        raise UnsupportedMediaType([Problem("", f"the content type must be {FORM_TYPE}")])
    # The gate lets in what comes from no page at all, such as programs; they have the API.
    site = request.headers.get("sec-fetch-site")
    if "origin" not in request.headers and site not in OWN_SITES:
        raise FormRefused(
            [Problem("", "a form has to say which page it comes from (Origin); programs use /api")]
        )
    form = _fields(request.body)
    key = browser_key(request)
    if key is None or not is_token(form.one(TOKEN), key):
        raise FormRefused(
            [Problem("", "the form is not one that this service has shown here, or is too old; "
                     "open its page again, with cookies, and send it once more")]
        )  # fmt: skip
    return form


def _fields(body: bytes) -> Form:
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError as error:
        raise RequestError([Problem("", f"the form cannot be read: {quote(str(error))}")]) from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return Form(MappingProxyType(fields))
