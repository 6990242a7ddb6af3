"""JSON text, read strictly: whatever is ambiguous or unbounded in it is refused with a reason."""

import json
import math
from typing import Any, NoReturn, TypeAlias

from prover_framework.errors import Problem, RequestError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# Python converts at most 4300 digits to an integer (a guard against quadratic time). Numbers below
# that are converted, so that the complaint about them can say where they stand.
MAX_DIGITS = 4000

SHOWN_LENGTH = 40
"""How many characters of a bad value a message repeats."""


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
        raise _refusal(f"{what} is not UTF-8: byte {error.start} can not be decoded") from None
    try:
        document: Json = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise _refusal(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _refusal(f"{what} is nested too deep") from None
    return document


def dump_json(value: Json) -> str:
    """Write JSON with sorted keys and no spaces; equal values give equal text.

    Raises:
        ValueError: The value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def describe(value: object) -> str:
    """Name a JSON value for a message: its kind and, if it is short, itself, in plain ASCII."""
    match value:
        case None:
            return "null"
        case bool():
            return f"a boolean ({str(value).lower()})"
        case int():
            return f"the integer {shorten(str(value))}"
        case float():
            return f"the number {value!r}"
        case str():
            return f"the string {quote(value)}"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def quote(text: str) -> str:
    """Repeat somebody else's text in a message: shortened, escaped to ASCII, in quotes."""
    return ascii(shorten(text))


def shorten(text: str) -> str:
    """Cut a long text and say how long it was."""
    if len(text) <= SHOWN_LENGTH:
        return text
    return f"{text[:SHOWN_LENGTH]}... ({len(text)} characters)"


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
