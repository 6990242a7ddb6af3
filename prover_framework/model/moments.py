"""Times and durations as people write them."""

import re
from datetime import UTC, datetime

from prover_framework.text import quote

DURATION = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhdw])")

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

# Seconds reach this in the year 5138, milliseconds reached it in 1973.
FIRST_MILLISECONDS = 10**11

# The same of milliseconds and microseconds, and of microseconds and nanoseconds.
FIRST_MICROSECONDS = 10**14
FIRST_NANOSECONDS = 10**17

# No time has more digits, in whatever unit.
MAX_DIGITS = 20


def not_seconds(timestamp: int) -> str | None:
    """Say what a timestamp plainly is in, if that is milliseconds or microseconds.

    Returns:
        The rest of a sentence that says what to do; None for what can be seconds, and for what is
        beyond all of these.
    """
    if FIRST_MILLISECONDS <= timestamp < FIRST_MICROSECONDS:
        unit, divisor = "milliseconds", 1000
    elif FIRST_MICROSECONDS <= timestamp < FIRST_NANOSECONDS:
        unit, divisor = "microseconds", 1_000_000
    else:
        return None
    seconds = timestamp // divisor
    return f"must be Unix seconds; {timestamp} is plainly in {unit}: {seconds} in seconds"


def parse_duration(text: str) -> int:
    """Return the seconds of a duration such as ``90d``, ``12h``, ``30m``.

    Raises:
        ValueError: It is none; the message is the rest of a sentence.
    """
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"must be a number and one of s, m, h, d, w, such as 90d; got {quote(text)}"
        )
    return int(found["count"]) * UNIT_SECONDS[found["unit"]]


def parse_moment(text: str, now_ms: int) -> int:
    """Return a time in milliseconds since the Unix epoch.

    Args:
        text: Unix seconds, a time in ISO 8601 (UTC where it names no zone), or how long ago it was,
            such as ``24h``.
        now_ms: The time now.

    Raises:
        ValueError: It is none of these; the message is the rest of a sentence.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0")
        # What is longer is no unit of anything, and need not be read to its end.
        seconds = int(digits[:MAX_DIGITS] or "0")
        if complaint := not_seconds(seconds):
            raise ValueError(complaint)
        if seconds >= FIRST_MILLISECONDS:
            raise ValueError(f"must be Unix seconds below 10^11, got {quote(text)}")
        return seconds * 1000
    if DURATION.fullmatch(text):
        return max(0, now_ms - parse_duration(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(
            "must be Unix seconds, a UTC time such as 2024-05-01T12:00, or how long ago, such as "
            f"24h; got {quote(text)}"
        ) from None
