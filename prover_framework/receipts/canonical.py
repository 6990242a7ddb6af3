"""The one text of a JSON value (RFC 8785), and the digest that seals stand for."""

from hashlib import sha256
from typing import Any, cast

import rfc8785

from prover_framework.errors import NoExactForm
from prover_framework.jsontext import Json, quote

DIGEST_DOMAIN = b"prover-framework/digest/1\0"

# RFC 8785 writes numbers as doubles, so it has no integers beyond these.
MAX_EXACT_INTEGER = 2**53 - 1


def canonical(value: Json, where: str = "") -> bytes:
    """Write a JSON value in its canonical form: equal values give equal bytes, in any language.

    Args:
        value: Integers up to 2^53 - 1 in size, finite numbers, strings that are Unicode.
        where: Where the value stands in what is to be written, for messages.

    Raises:
        NoExactForm: It holds something else, and where.
    """
    try:
        return rfc8785.dumps(cast(Any, value))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise NoExactForm(_complaint(value, where) or "the value has no exact JSON form") from None


def digest_of(content: bytes) -> bytes:
    """Return the SHA-256 of `DIGEST_DOMAIN` and a receipt's content, 32 bytes.

    Args:
        content: The canonical form of the members ``format``, ``statement`` and ``provenance``.
    """
    return sha256(DIGEST_DOMAIN + content).digest()


def _complaint(value: Json, where: str) -> str | None:
    """Say what it is that has no canonical form."""
    match value:
        case dict():
            complaints = (
                _not_unicode(key, f"a key of {where or 'the object'}")
                or _complaint(item, f"{where}.{key}" if where else key)
                for key, item in value.items()
            )
            return next(filter(None, complaints), None)
        case list() | tuple():
            complaints = (_complaint(item, f"{where}[{i}]") for i, item in enumerate(value))
            return next(filter(None, complaints), None)
        case str():
            return _not_unicode(value, where)
        case int() if abs(value) > MAX_EXACT_INTEGER:
            return (
                f"{where} is an integer beyond 2^53 - 1, which JSON numbers can not hold exactly: "
                "write it as a string of digits"
            )
        case float():
            return f"{where} is {value}, which is no JSON number"
    return None


def _not_unicode(text: str, where: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{where} is {quote(text)}, which is not Unicode"
    return None
