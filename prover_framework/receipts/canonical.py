"""The one text of a JSON value (RFC 8785), and the digest that seals stand for."""

import json
import math
from hashlib import sha256
from typing import Any, cast

import rfc8785

from prover_framework.errors import NoExactForm
from prover_framework.serialization.json_text import Json
from prover_framework.text import Place, place_text, quote

DIGEST_DOMAIN = b"prover-framework/digest/1\0"

# A receipt is read to a depth of 32, and parameters, results, artefacts and seals stand in one at a
# depth of seven at the most.
MAX_STATED_DEPTH = 24

# RFC 8785 writes numbers as doubles, so it has no integers beyond these.
MAX_EXACT_INTEGER = 2**53 - 1

# Within these Python writes the digits of a double as ECMAScript does, if it is no whole number.
LEAST_ALIKE, MOST_ALIKE = 1e-4, 1e16

# Python's own writer, in C: thirty times as quick as the library, and the same for plain values.
_PLAIN_WRITER = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    sort_keys=True,
    separators=(",", ":"),
)


def canonical(value: Json, where: str = "") -> bytes:
    """Write a JSON value in its canonical form: equal values give equal bytes, in any language.

    Args:
        value: Integers up to 2^53 - 1 in size, finite numbers, strings that are Unicode.
        where: Where the value stands in what is to be written, for messages.

    Raises:
        NoExactForm: It holds something else, and where.
    """
    try:
        if _is_plain(value):
            return _PLAIN_WRITER.encode(value).encode()
        return rfc8785.dumps(cast(Any, value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise NoExactForm(_complaint(value, where) or "the value has no exact JSON form") from None


def require_stated(value: Json, where: str) -> bytes:
    """Write what will be part of a receipt, which has to be readable again.

    Raises:
        NoExactForm: It has no canonical form, or is nested too deep.
    """
    if _depth(value) > MAX_STATED_DEPTH:
        raise NoExactForm(f"{where} is nested deeper than {MAX_STATED_DEPTH} levels")
    return canonical(value, where)


def digest_of(content: bytes) -> bytes:
    """Return the SHA-256 of `DIGEST_DOMAIN` and a receipt's content, 32 bytes.

    Args:
        content: The canonical form of all members of a receipt but its seals.
    """
    return sha256(DIGEST_DOMAIN + content).digest()


def _is_plain(value: Any) -> bool:
    """Tell whether Python writes a value as RFC 8785 wants it, which is nearly always so.

    It sorts keys by code points, which is another order beyond ASCII, writes ``1.0``, and writes
    integers that are no doubles.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return -MAX_EXACT_INTEGER <= int(value) <= MAX_EXACT_INTEGER
    if kind is float:
        return LEAST_ALIKE <= abs(value) < MOST_ALIKE and not float.is_integer(value)
    if kind is dict:
        return all(type(key) is str and key.isascii() for key in value) and all(
            map(_is_plain, value.values())
        )
    return (kind is list or kind is tuple) and all(map(_is_plain, value))


def _depth(value: Json) -> int:
    """Return how deep a value is nested, as far as that matters."""
    level, depth = [value], 0
    while level and depth <= MAX_STATED_DEPTH:
        inner: list[Json] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list | tuple):
                inner.extend(item)
        nested = any(isinstance(item, dict | list | tuple) for item in level)
        level, depth = inner, depth + nested
    return depth


def _complaint(value: Json, root: str, place: Place = None) -> str | None:
    """Say what it is that has no canonical form."""
    match value:
        case dict():
            for key, item in value.items():
                if not _is_unicode(key):
                    return f"a key of {place_text(place, root) or 'the object'} is {_shown(key)}"
                if complaint := _complaint(item, root, (place, key)):
                    return complaint
        case list() | tuple():
            for index, item in enumerate(value):
                if complaint := _complaint(item, root, (place, index)):
                    return complaint
        case str() if not _is_unicode(value):
            return f"{place_text(place, root)} is {_shown(value)}"
        case int() if abs(value) > MAX_EXACT_INTEGER:
            return (
                f"{place_text(place, root)} is an integer beyond 2^53 - 1, which JSON numbers can "
                "not hold exactly: write it as a string of digits"
            )
        case float() if not math.isfinite(value):
            return f"{place_text(place, root)} is {value}, which is no JSON number"
    return None


def _shown(text: str) -> str:
    return f"{quote(text)}, which is not Unicode"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
