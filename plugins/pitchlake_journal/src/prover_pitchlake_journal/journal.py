"""The journal: the record that the market's contract on the chain decodes, and its bytes.

All numbers are little-endian::

    offset  bytes  what
         0     32  hash of the max return's fees: 8 x u32
        32     16  start and end: 2 x i64
        48     72  reserve_price
       120     72  floating_point_tolerance
       192     72  reserve_price_tolerance
       264     72  twap_tolerance
       336     72  gradient_tolerance
       408     72  twap_result
       480     72  max_return
       552

Each of the seven is a string: its length as u32, which is 66; ``0x`` and the 64 lower-case hex
digits of a felt; two zero bytes that fill it up to a multiple of four. This is how the serializer
of the market's proving system writes a structure of such fields.

The contract skips lengths, prefixes and padding without a look at them and takes whatever follows
for digits. `decode` does not: it accepts the bytes of exactly one journal and no others.
"""

import re
import struct
from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import and_, deep_iterable, ge, instance_of, le, max_len, min_len

from prover_framework import MAX_FELT, felt_hex, float_from_felt
from prover_pitchlake_journal.errors import MalformedJournal

HASH_WORDS = 8

# The contract reads the times as u64 and the layout has them as i64: these are both.
MAX_TIMESTAMP = 2**63 - 1

# The fields that are felts, in the order of the layout.
FELTS = (
    "reserve_price",
    "floating_point_tolerance",
    "reserve_price_tolerance",
    "twap_tolerance",
    "gradient_tolerance",
    "twap_result",
    "max_return",
)

FELT_PREFIX = b"0x"
FELT_DIGITS = 64
STRING_LENGTH = len(FELT_PREFIX) + FELT_DIGITS
STRING_PADDING = bytes(-STRING_LENGTH % 4)

_HEAD = struct.Struct(f"<{HASH_WORDS}I2q")
_STRING = struct.Struct(f"<I{STRING_LENGTH}s{len(STRING_PADDING)}s")
_NO_DIGIT = re.compile(rb"[^0-9a-f]")

JOURNAL_BYTES = _HEAD.size + len(FELTS) * _STRING.size

_OFFSETS = {"data_8_months_hash": 0, "start_timestamp": 32, "end_timestamp": 40} | {
    name: _HEAD.size + place * _STRING.size for place, name in enumerate(FELTS)
}


def _is_after_start(instance: "Journal", _: "Attribute[int]", value: int) -> None:
    if value <= instance.start_timestamp:
        raise ValueError(
            f"end_timestamp is not after start_timestamp ({instance.start_timestamp}): {value}"
        )


def _felt() -> Any:
    return field(validator=[instance_of(int), ge(0), le(MAX_FELT)])


@frozen(kw_only=True)
class Journal:
    """A journal under the names that its fields have on the chain.

    The numbers are felts: ``floor(x * 2**128)`` of the number ``x``, 0 to 2^251 - 1. That is what
    the bytes hold, so a journal and its bytes determine each other; `content` has the numbers.

    Args:
        data_8_months_hash: The on-chain store's hash of the hourly fees that the max return was
            made from, eight u32. The name is of a time when these were eight months.
        start_timestamp: Unix seconds, 0 to 2^63 - 1: where the reserve price's range begins.
        end_timestamp: Unix seconds, where it ends.
        reserve_price: In wei.
        floating_point_tolerance: How far recomputed numbers may be from claimed ones.
        reserve_price_tolerance: The same for the reserve price, in per cent.
        twap_tolerance: The same for the TWAP, in per cent.
        gradient_tolerance: Largest component of the projected gradient at the calibration.
        twap_result: The TWAP, in wei.
        max_return: As a fraction.
    """

    data_8_months_hash: tuple[int, ...] = field(
        validator=[
            instance_of(tuple),
            min_len(HASH_WORDS),
            max_len(HASH_WORDS),
            deep_iterable(and_(instance_of(int), ge(0), le(2**32 - 1))),
        ]
    )
    start_timestamp: int = field(validator=[instance_of(int), ge(0), le(MAX_TIMESTAMP)])
    end_timestamp: int = field(
        validator=[instance_of(int), ge(0), le(MAX_TIMESTAMP), _is_after_start]
    )
    reserve_price: int = _felt()
    floating_point_tolerance: int = _felt()
    reserve_price_tolerance: int = _felt()
    twap_tolerance: int = _felt()
    gradient_tolerance: int = _felt()
    twap_result: int = _felt()
    max_return: int = _felt()


def content(journal: Journal) -> dict[str, Any]:
    """Return the journal for people and in JSON: hash and times as they are, numbers as doubles.

    A number that was a double before it was a felt is the same double again, unless it is so small
    (below 2^-75) that the felt has lost bits of it.
    """
    return {
        "data_8_months_hash": list(journal.data_8_months_hash),
        "start_timestamp": journal.start_timestamp,
        "end_timestamp": journal.end_timestamp,
        **{name: float_from_felt(getattr(journal, name)) for name in FELTS},
    }


def encode(journal: Journal) -> bytes:
    """Return the `JOURNAL_BYTES` bytes of a journal."""
    head = _HEAD.pack(*journal.data_8_months_hash, journal.start_timestamp, journal.end_timestamp)
    strings = (
        _STRING.pack(STRING_LENGTH, felt_hex(getattr(journal, name)).encode(), STRING_PADDING)
        for name in FELTS
    )
    return head + b"".join(strings)


def decode(data: bytes) -> Journal:
    """Return the journal that has these bytes; the inverse of `encode`.

    Raises:
        MalformedJournal: They are the bytes of no journal; the message says where and why.
    """
    if len(data) < JOURNAL_BYTES:
        raise MalformedJournal(
            _field_at(len(data)), len(data), f"the bytes end here and a journal has {JOURNAL_BYTES}"
        )
    if len(data) > JOURNAL_BYTES:
        raise MalformedJournal(
            "the end",
            JOURNAL_BYTES,
            f"a journal ends here and {len(data) - JOURNAL_BYTES} bytes follow",
        )
    *words, start, end = _HEAD.unpack_from(data)
    if start < 0:
        raise _malformed("start_timestamp", f"it is negative: {start}")
    if end <= start:
        raise _malformed("end_timestamp", f"it is not after start_timestamp ({start}): {end}")
    return Journal(
        data_8_months_hash=tuple(words),
        start_timestamp=start,
        end_timestamp=end,
        **{name: _felt_of(data, name) for name in FELTS},
    )


def _felt_of(data: bytes, name: str) -> int:
    length, text, padding = _STRING.unpack_from(data, _OFFSETS[name])
    if length != STRING_LENGTH:
        raise _malformed(name, f"the string's length is {length} and has to be {STRING_LENGTH}")
    if not text.startswith(FELT_PREFIX):
        raise _malformed(name, "the string does not begin with 0x", 4)
    if wrong := _NO_DIGIT.search(text, len(FELT_PREFIX)):
        raise _malformed(
            name, f"the byte 0x{wrong[0].hex()} is no lower-case hex digit", 4 + wrong.start()
        )
    if (value := int(text, 16)) > MAX_FELT:
        raise _malformed(name, "the number is more than a felt holds, 2^251 - 1", 4)
    if padding != STRING_PADDING:
        raise _malformed(
            name, f"the padding is 0x{padding.hex()} and has to be zero", 4 + STRING_LENGTH
        )
    return value


def _malformed(name: str, what: str, within: int = 0) -> MalformedJournal:
    return MalformedJournal(name, _OFFSETS[name] + within, what)


def _field_at(offset: int) -> str:
    """Return the name of the field that a byte of a journal belongs to."""
    return max((start, name) for name, start in _OFFSETS.items() if start <= offset)[1]
