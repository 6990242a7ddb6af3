"""JSON text, read strictly: whatever is ambiguous or unbounded in it is refused with a reason."""

import json
import math
from typing import Any, NoReturn, TypeAlias

from prover_framework.errors import Problem, RequestError
from prover_framework.text import quote, shorten

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


# Python converts at most 4300 digits to an integer (a guard against quadratic time). Numbers below
# that are converted, so that the complaint about them can say where they stand.
MAX_DIGITS = 4000


# Python's own limit is ten times this. What comes near that can be read and not be written again.
MAX_NESTING = 100


def parse_json(body: bytes, what: str = "the body") -> Json:
    """Read one JSON document.

    Args:
        body: Its text in UTF-8.
        what: What messages call it.

    Raises:
        RequestError: It is not UTF-8 or not JSON, repeats a key, nests too deep, or holds NaN, an
            infinity or a number with thousands of digits.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal(f"{what} is not UTF-8: byte {error.start} cannot be decoded") from None
    if text.startswith("\ufeff"):
        raise _refusal(f"{what} is not JSON: it begins with a byte order mark")
    try:
        document: Json = (_SHORT if len(text) <= MAX_DIGITS else _LONG).decode(text)
    except json.JSONDecodeError as error:
        raise _refusal(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _refusal(f"{what} is nested too deep") from None
    # Few documents have so many brackets at all, so that most are not looked through.
    if text.count("[") + text.count("{") > MAX_NESTING and _is_nested_deeper(document):
        raise _refusal(f"{what} is nested too deep")
    return document


def dump_json(value: Json) -> str:
    """Write JSON with sorted keys and no spaces; equal values give equal text.

    Raises:
        ValueError: The value holds NaN or an infinity.
    """
    return _ENCODER.encode(value)


def _is_nested_deeper(document: Json) -> bool:
    """Tell whether a document is nested deeper than `MAX_NESTING` levels."""
    level: list[Json] = [document]
    for _ in range(MAX_NESTING + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, list | dict)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _refusal(what: str) -> RequestError:
    return RequestError([Problem("", what)])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _refusal(f"the key {quote(key)} appears twice in one object")
            seen.add(key)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise _refusal(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    count = len(digits.removeprefix("-"))
    if count > MAX_DIGITS:
        raise _refusal(f"a number has {count} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _refusal(f"the number {shorten(text)} is too large")
    return number


# Made once: the library's functions would make them for each document. A short one has no number
# that is too long, and nobody has to look at each.
_SHORT = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
)
_LONG = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    parse_int=_integer,
)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
