"""Types that have a JSON form beside Python's own scalars and containers."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any

from prover_framework.serialization.forms import IntegerForm, JsonType

# Python converts at most 4300 digits to an integer.
MAX_WEI_DIGITS = 4000

# A 256-bit integer has 78 digits, and tokens have 18 or 27 of them behind the point.
MAX_DECIMAL_CHARACTERS = 200

WEI = re.compile(rf"-?(?:0|[1-9][0-9]{{0,{MAX_WEI_DIGITS - 1}}})")
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
DATE_PATTERN = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
DATE = re.compile(DATE_PATTERN)
MOMENT = re.compile(
    rf"{DATE_PATTERN}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?Z"
)


def _read_wei(text: str) -> int:
    if not WEI.fullmatch(text):
        raise ValueError(
            f"must be an integer as decimal digits, such as '1000000000', got {text!r}"
        )
    return int(text)


def _write_wei(value: int) -> str:
    if isinstance(value, bool) or abs(value) >= 10**MAX_WEI_DIGITS:
        raise ValueError(f"must be an integer of at most {MAX_WEI_DIGITS} digits")
    return str(int(value))


def _read_decimal(text: str) -> Decimal:
    if len(text) > MAX_DECIMAL_CHARACTERS or not DECIMAL.fullmatch(text):
        raise ValueError(
            "must be a decimal number without exponent, such as '0.125', of at most "
            f"{MAX_DECIMAL_CHARACTERS} characters, got {text!r}"
        )
    return Decimal(_shortest(text))


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"must be finite, got {value}")
    # An exponent of a million would be a million characters.
    if value and not -MAX_DECIMAL_CHARACTERS <= value.adjusted() <= MAX_DECIMAL_CHARACTERS:
        raise ValueError(f"must have at most {MAX_DECIMAL_CHARACTERS} characters, got {value}")
    text = _shortest(format(value or Decimal(0), "f"))
    if len(text) > MAX_DECIMAL_CHARACTERS:
        raise ValueError(f"must have at most {MAX_DECIMAL_CHARACTERS} characters, got {value}")
    return text


def _shortest(text: str) -> str:
    """Leave out what does not change a decimal number: equal ones have one text."""
    shorter = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if shorter == "-0" else shorter


def _read_hex(text: str) -> bytes:
    if not HEX.fullmatch(text):
        raise ValueError(f"must be 0x and an even number of hex digits, got {text!r}")
    return bytes.fromhex(text[2:])


def _write_hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _read_date(text: str) -> date:
    if not DATE.fullmatch(text):
        raise ValueError(f"must be a date such as '2024-05-31', got {text!r}")
    return date.fromisoformat(text)


def _write_date(value: date) -> str:
    if isinstance(value, datetime):
        raise TypeError("must be a date without a time")
    return value.isoformat()


def _read_moment(text: str) -> datetime:
    if not MOMENT.fullmatch(text):
        raise ValueError(f"must be a time in UTC such as '2024-05-31T12:00:00Z', got {text!r}")
    return datetime.fromisoformat(text)


def _write_moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"must have a time zone, got {value}")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _matches(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


OWN_TYPES: Mapping[type[Any], JsonType[Any]] = MappingProxyType(
    {
        bytes: JsonType(
            via=str,
            read=_read_hex,
            write=_write_hex,
            samples=(b"", b"\x00", b"\xab\xcd", bytes(32)),
            schema={"pattern": _matches(HEX)},
        ),
        Decimal: JsonType(
            via=str,
            read=_read_decimal,
            write=_write_decimal,
            samples=(Decimal(0), Decimal("0.1"), Decimal("-12.50"), Decimal("1E+3"), Decimal(1)),
            schema={"pattern": _matches(DECIMAL), "maxLength": MAX_DECIMAL_CHARACTERS},
        ),
        datetime: JsonType(
            via=str,
            read=_read_moment,
            write=_write_moment,
            samples=(
                datetime(2024, 5, 31, 12, tzinfo=UTC),
                datetime(1970, 1, 1, tzinfo=UTC),
                datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            ),
            schema={"format": "date-time", "pattern": _matches(MOMENT)},
        ),
        date: JsonType(
            via=str,
            read=_read_date,
            write=_write_date,
            samples=(date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31)),
            schema={"format": "date", "pattern": _matches(DATE)},
        ),
    }
)

Wei = Annotated[
    int,
    JsonType(
        via=str,
        read=_read_wei,
        write=_write_wei,
        samples=(0, 1, 10**9, 2**64, 2**256 - 1, -1),
        schema={"pattern": _matches(WEI)},
    ),
]
"""An integer of any size, which travels as a string of decimal digits."""

LongInteger = Annotated[int, IntegerForm(exact=False)]
"""An integer of any size, which travels as a number: never in the canonical form of a receipt."""
