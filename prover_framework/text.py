"""Somebody else's text in our messages: one line, bounded, in plain characters."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

# A status shows a dozen times or more, most of them of the same few seconds, and is asked for again
# and again while its jobs run.
KEPT_SECONDS = 4096

# The last second that has a date of four digits; headers and charts may have later ones.
LAST_DATED_SECOND = 253_402_300_799

# What a plugin raises or returns may be of any size; what is told of it is one short line.
MAX_LINE_LENGTH = 500


def describe_error(error: BaseException) -> str:
    """Tell somebody else's exception in one short line, even one whose text cannot be had."""
    try:
        # Validators of attrs hand on their field and value beside the message.
        validated = isinstance(error, ValueError | TypeError) and len(error.args) > 1
        text = str(error.args[0]) if validated else str(error)
    except Exception:
        text = "(its text cannot be shown)"
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def printable(text: str) -> str:
    """Escape in somebody else's text what a database cannot hold: NUL and lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def one_line(text: str) -> str:
    """Put somebody else's text into one line of bounded length."""
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}..."


SHOWN_LENGTH = 40
"""How many characters of a bad value a message repeats."""


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


Place: TypeAlias = "tuple[Place, str | int] | None"
"""Where a value stands in a document: the place of what holds it, and its key or index there.

It costs nothing until somebody wants to read it: a path made for each value would repeat a long key
as often as there are values below it.
"""


def place_text(place: Place, root: str = "") -> str:
    """Write a place as messages show it, such as ``a.b[3]``; long keys are shortened."""
    parts: list[str] = []
    while place is not None:
        place, step = place
        parts.append(f"[{step}]" if isinstance(step, int) else f".{shorten(step)}")
    path = root + "".join(reversed(parts))
    return path if root else path.removeprefix(".")


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a text that has commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def quote(text: str) -> str:
    """Repeat somebody else's text in a message: shortened, escaped to ASCII, in quotes."""
    return ascii(shorten(text))


def shorten(text: str, length: int = SHOWN_LENGTH) -> str:
    """Cut a text that is longer than ``length``, and say how long it was."""
    if len(text) <= length:
        return text
    return f"{text[:length]}... ({len(text)} characters)"


def shown(value: object) -> str:
    """Show somebody else's object in one short line, whatever its ``repr`` does."""
    try:
        return one_line(repr(value))
    except Exception:
        return f"a {type(value).__name__}"


def utc_now() -> str:
    """Return the time now, as `iso_utc` writes it."""
    return iso_utc(time.time_ns() // 1_000_000)


def iso_utc(milliseconds: int) -> str:
    """Write a time as people and programs are shown it: ISO 8601, UTC, with milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_iso_second(seconds)}.{rest:03d}Z"


@lru_cache(KEPT_SECONDS)
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None).isoformat()
