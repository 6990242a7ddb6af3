"""The bytes of a block header: every field of every fork from London on, and their hash.

The hash of a block is the keccak-256 of the RLP of its header. So whoever has the bytes and trusts
the hash can trust the fields, and the parent hash among them, and so on down the chain.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import attrs
from attrs import frozen
from sha3 import keccak_256

from prover_framework.chain.headers import (
    MAX_BASE_FEE_WEI,
    MAX_GAS,
    MAX_NUMBER,
    MAX_TIMESTAMP,
    EncodedHeader,
    Header,
)
from prover_framework.errors import HeaderInvalid, HeaderRule
from prover_framework.model.names import MAX_INT64
from prover_framework.text import describe

# How many fields a header has from each fork on; no fork has another number of them, and those
# that are not here (Paris, Osaka) added none. https://github.com/ethereum/execution-specs has the
# header of each in blocks.py.
FORKS: Final = {"London": 16, "Shanghai": 17, "Cancun": 20, "Prague": 21, "Amsterdam": 23}
LEGACY_FIELDS = 15

# Ethereum's rule is 32 bytes. Proof-of-authority chains keep their signers there, a hundred of them
# at most; the limit bounds what a hostile source can have us hash and store.
MAX_EXTRA_DATA_BYTES = 4096

# Everything else in a header of the newest fork has less than 1,024 bytes.
MAX_RLP_BYTES = MAX_EXTRA_DATA_BYTES + 1024

MAX_UINT64 = 2**64 - 1
MAX_UINT256 = 2**256 - 1
MAX_INTEGER_BYTES = 32
UINT64_BYTES = 8

# 2^256 has 78 decimal digits. More would only cost time.
MAX_DIGITS = 80

BEFORE_LONDON = "there is no base fee: the block is from before the London fork (EIP-1559)"

_FORK_OF = {count: name for name, count in FORKS.items()}


def _data(key: str, size: int | None, *, later: bool = False) -> Any:
    """Declare a field of bytes; one that came after London may be absent."""
    return _declared(key, later, size=size, maximum=None)


def _integer(key: str, maximum: int, *, later: bool = False) -> Any:
    """Declare a field that holds an integer."""
    return _declared(key, later, size=None, maximum=maximum)


def _declared(key: str, later: bool, **limits: int | None) -> Any:  # noqa: FBT001
    default = None if later else attrs.NOTHING
    return attrs.field(default=default, metadata={"key": key, "later": later, **limits})


Value: TypeAlias = bytes | int
"""What a field holds: hashes, addresses, bloom and nonce are bytes, the rest integers."""

HeaderValues: TypeAlias = tuple[int, int, int, int, int, str, str]
"""The fields of `Header`, in their order."""


@frozen
class _Fields:
    """Declares every field of a header, in the order of its RLP and by the names of tables."""

    parent_hash: bytes = _data("parentHash", 32)
    sha3_uncles: bytes = _data("sha3Uncles", 32)
    miner: bytes = _data("miner", 20)
    state_root: bytes = _data("stateRoot", 32)
    transaction_root: bytes = _data("transactionsRoot", 32)
    receipts_root: bytes = _data("receiptsRoot", 32)
    logs_bloom: bytes = _data("logsBloom", 256)
    difficulty: int = _integer("difficulty", MAX_UINT256)
    number: int = _integer("number", MAX_NUMBER)
    gas_limit: int = _integer("gasLimit", MAX_GAS)
    gas_used: int = _integer("gasUsed", MAX_GAS)
    timestamp: int = _integer("timestamp", MAX_TIMESTAMP)
    extra_data: bytes = _data("extraData", None)
    mix_hash: bytes = _data("mixHash", 32)
    nonce: bytes = _data("nonce", 8)
    base_fee_per_gas: int = _integer("baseFeePerGas", MAX_BASE_FEE_WEI)
    withdrawals_root: bytes | None = _data("withdrawalsRoot", 32, later=True)
    blob_gas_used: int | None = _integer("blobGasUsed", MAX_UINT64, later=True)
    excess_blob_gas: int | None = _integer("excessBlobGas", MAX_UINT64, later=True)
    parent_beacon_block_root: bytes | None = _data("parentBeaconBlockRoot", 32, later=True)
    requests_hash: bytes | None = _data("requestsHash", 32, later=True)
    block_access_list_hash: bytes | None = _data("blockAccessListHash", 32, later=True)
    slot_number: int | None = _integer("slotNumber", MAX_UINT64, later=True)


@frozen(eq=False)
class HeaderField:
    """One field of a header, and what is a value of it.

    Args:
        name: Its name in tables, files and messages.
        key: Its name in JSON-RPC.
        size: How many bytes it has; None if that varies or it is an integer.
        maximum: The largest integer; None if it holds bytes.
        later: Whether it came after London.
    """

    name: str
    key: str
    size: int | None
    maximum: int | None
    later: bool

    def read(self, item: bytes) -> Value:
        """Return the value that an item of the RLP stands for.

        Raises:
            HeaderInvalid: It stands for none.
        """
        if self.maximum is None:
            return self._sized(item)
        if item[:1] == b"\0":
            raise self._wrong("begins with a zero byte, which an integer in RLP must not")
        if len(item) > MAX_INTEGER_BYTES:
            raise self._wrong(f"has {len(item)} bytes; an integer has at most {MAX_INTEGER_BYTES}")
        return self._limited(int.from_bytes(item))

    def parse(self, value: object) -> Value:
        """Return what a text of a table or file, an integer or bytes stand for.

        Raises:
            HeaderInvalid: It stands for no value of this field.
        """
        text = value.strip() if isinstance(value, str) else ""
        is_hex = text[:2] in ("0x", "0X")
        digits = text[2:] if is_hex else text
        # Python's own conversions would take signs, spaces, underscores and the digits of every
        # script.
        plain = digits.isascii() and (digits.isalnum() or (is_hex and not digits))
        try:
            if self.maximum is None:
                if isinstance(value, bytes):
                    digits, plain, is_hex = value.hex(), True, True
                if len(digits) > 2 * MAX_EXTRA_DATA_BYTES:
                    raise self._wrong(f"has more than {MAX_EXTRA_DATA_BYTES} bytes")
                if plain and is_hex:
                    return self._sized(bytes.fromhex(digits))
            elif type(value) is int:
                return self._limited(value)
            elif plain and digits and len(digits) <= MAX_DIGITS:
                return self._limited(int(digits, 16 if is_hex else 10))
        except ValueError:
            pass
        form = "an integer, decimal or with 0x" if self.maximum else "0x and hexadecimal digits"
        raise self._wrong(f"must be {form}, and is {describe(value)}")

    def _sized(self, value: bytes) -> bytes:
        if self.size is not None and len(value) != self.size:
            raise self._wrong(f"must have {self.size} bytes, and has {len(value)}")
        return value

    def _limited(self, value: int) -> int:
        if self.maximum is None or not 0 <= value <= self.maximum:
            raise self._wrong(f"must be 0..{self.maximum}, and is {value}")
        return value

    def _wrong(self, what: str) -> HeaderInvalid:
        return HeaderInvalid(what, HeaderRule.FORM, self.name)


FIELDS: Final = tuple(
    HeaderField(attribute.name, **attribute.metadata) for attribute in attrs.fields(_Fields)
)

_PLACE = {field.name: place for place, field in enumerate(FIELDS)}
_KEPT_NAMES = ("number", "timestamp", "base_fee_per_gas", "gas_used", "gas_limit")

# Extra data of Ethereum's own length; who keeps more there is read by the library.
USUAL_EXTRA_DATA_BYTES = 32

# From here on RLP writes the length of a string, or of a list, behind its first byte.
LONG_STRING_BYTES = 56


def _pattern() -> re.Pattern[bytes]:
    """Return the grammar of a header: the RLP of its fields, as a regular expression.

    It takes nothing that the library does not take, and of that all but what is rare. One pass of
    a matcher in C takes a twentieth of the time that it takes to decode a list. Lengths stand in
    the grammar, save that of the list. Its groups are that one and what the database keeps.
    """
    later = b""
    counts = sorted(FORKS.values())
    for start, end in zip(reversed(counts[:-1]), reversed(counts[1:]), strict=True):
        later = b"(?:%b%b)?" % (b"".join(map(_item, FIELDS[start:end])), later)
    london = b"".join(map(_item, FIELDS[: counts[0]]))
    # With its bloom, a header is never shorter than 256 bytes, and so its length has two.
    return re.compile(rb"\xf9([^\0].)%b%b" % (london, later), re.DOTALL)


def _item(field: HeaderField) -> bytes:
    """Return how a field is written in RLP: one byte for itself, others behind their length."""
    group = b"(%b)" if field.name in ("parent_hash", *_KEPT_NAMES) else b"(?:%b)"
    if field.size is not None:
        return _prefix(field.size) + group % b".{%d}" % field.size
    if field.maximum is not None:
        # Zero is the empty string, and no other integer begins with a zero byte.
        short, longer, most = rb"[\x01-\x80]", rb"[^\0].{%d}", UINT64_BYTES
    else:
        short, longer, most = rb"[\0-\x80]", rb"..{%d}", USUAL_EXTRA_DATA_BYTES
    long = (_prefix(size) + longer % (size - 1) for size in range(2, most + 1))
    return group % b"|".join([short, rb"\x81[\x80-\xff]", *long])


def _prefix(size: int) -> bytes:
    """Return how a regular expression finds the RLP of a string with so many bytes begin."""
    return re.escape(_begin(size))


def _begin(size: int) -> bytes:
    """Return how the RLP of a string with so many bytes begins, for none or two of them or more."""
    if size < LONG_STRING_BYTES:
        return bytes([0x80 + size])
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0xB7 + len(length)]) + length


_match = _pattern().fullmatch

# How a header's RLP begins, before the two bytes of its length.
_LIST = b"\xf9"

# Bytes behind that, which two bytes can tell and one cannot.
_LENGTHS = range(1 << 8, 1 << 16)

# What may be read without a look at what it says: no number of 64 bits is longer.
USUAL_DIGITS = 20

# By the number of bytes, how what is no integer begins, in hexadecimal digits.
_BEGIN = {
    size: _begin(size).hex()
    for size in {0, *range(2, USUAL_EXTRA_DATA_BYTES + 1), *(f.size for f in FIELDS if f.size)}
}

# By name, how many characters a text with 0x has and how its RLP begins, where that is certain, and
# whether it is an integer.
_USUAL_FIELDS = tuple(
    (
        field.name,
        2 + 2 * field.size if field.size else 0,
        _BEGIN.get(field.size or 0, ""),
        field.maximum is not None,
        field,
    )
    for field in FIELDS
)

# What of an item of so many bytes is the integer: behind the prefix, or all of it if it has none.
# The empty string alone is 0x80, which is zero.
_INTEGER = (0, 0x7F, *((1 << 8 * size) - 1 for size in range(1, UINT64_BYTES + 1)))


def block_hash(encoded: bytes) -> str:
    """Return the hash of the block with this RLP of its header: ``0x`` and 64 hex digits."""
    return f"0x{keccak_256(encoded).hexdigest()}"


def read_header(encoded: bytes) -> Header:
    """Return what the database keeps of the header whose RLP this is, with its hash.

    Raises:
        HeaderInvalid: It is the RLP of no header of the forks that are known.
    """
    return Header(*read_values(encoded))


def read_values(encoded: bytes) -> HeaderValues:
    """Return the values that `read_header` makes a header of.

    Raises:
        HeaderInvalid: It is the RLP of no header of the forks that are known.
    """
    if values := _usual_values(encoded):
        return values
    # An unusual one, or none at all, which this says.
    return _values(_read(_items(encoded)), encoded)


def _usual_values(encoded: bytes) -> HeaderValues | None:
    if match := _match(encoded):
        length, parent_hash, *items = match.groups()
        integers = [int.from_bytes(item) & _INTEGER[len(item)] for item in items]
        if int.from_bytes(length) == len(encoded) - 3 and max(integers) <= MAX_INT64:
            number, gas_limit, gas_used, timestamp, base_fee_wei = integers
            return (
                number,
                timestamp,
                base_fee_wei,
                gas_used,
                gas_limit,
                block_hash(encoded),
                f"0x{parent_hash.hex()}",
            )
    return None


def decode_fields(encoded: bytes) -> Mapping[str, Value]:
    """Return every field of the header whose RLP this is, by the names of `FIELDS`.

    Raises:
        HeaderInvalid: It is the RLP of no header of the forks that are known.
    """
    return _read(_items(encoded))


def encode_header(values: Mapping[str, object]) -> EncodedHeader:
    """Put a header together from a row of a table or a line of a file.

    Args:
        values: Texts, decimal or with ``0x``, integers or bytes, by the names of `FIELDS`; None
            and the empty text stand for nothing, other names are passed over. Tables that begin
            after the Merge may lack ``difficulty``, which has been 0 since; the hash shows whether
            it is.

    Raises:
        HeaderInvalid: A field is missing, too many or wrong, and which.
    """
    encoded = _usual_rlp(values)
    usual = encoded and _usual_values(encoded)
    if encoded and usual:
        return EncodedHeader(Header(*usual), encoded)
    given = {"difficulty": 0} | {
        name: value for name, value in values.items() if value is not None and value != ""
    }
    parsed = {field.name: field.parse(given[field.name]) for field in FIELDS if field.name in given}
    if missing := [field for field in FIELDS if field.name not in parsed]:
        first = missing[0]
        if first.name == "base_fee_per_gas":
            raise HeaderInvalid(BEFORE_LONDON, HeaderRule.FORM, first.name)
        if not first.later:
            raise HeaderInvalid("is missing", HeaderRule.FORM, first.name)
        if len(parsed) not in _FORK_OF or _PLACE[first.name] != len(parsed):
            raise HeaderInvalid(
                f"is missing; a block with {list(parsed)[-1]} has it", HeaderRule.FORM, first.name
            )
    import rlp.codec

    encoded = bytes(
        rlp.codec.encode_raw(
            [
                value.to_bytes((value.bit_length() + 7) // 8) if isinstance(value, int) else value
                for value in parsed.values()
            ]
        )
    )
    return EncodedHeader(Header(*_values(parsed, encoded)), encoded)


def _usual_rlp(values: Mapping[str, object]) -> bytes | None:
    """Return the RLP of a header whose fields are written as they usually are, else None.

    It is put together as a text and turned into bytes at once, in a quarter of the time that it
    takes to check and encode each field. The lengths of hashes and the digits of all fields are
    right then; whether it is a header is for `_usual_values` to say.
    """
    parts: list[str] = []
    ended = False
    for name, characters, begin, is_integer, field in _USUAL_FIELDS:
        value = values.get(name)
        if value is None or value == "":
            if name == "difficulty":
                parts.append("80")
            else:
                ended = True
        elif ended:
            return None
        elif type(value) is str and len(value) == characters and value[:2] == "0x":
            parts += begin, value[2:]
        elif type(value) is str and is_integer and value[:2] == "0x":
            if not 2 < len(value) <= USUAL_DIGITS:
                return None
            text = value[2:] if len(value) % 2 == 0 else "0" + value[2:]
            if len(text) > 2:
                parts += _BEGIN[len(text) // 2], text
            else:
                parts.append("80" if text == "00" else text if text < "80" else "81" + text)
        elif (item := _hex_item(field, value)) is not None:
            parts.append(item)
        else:
            return None
    digits = "".join(parts)
    try:
        items = bytes.fromhex(digits)
    except ValueError:
        return None
    # Python passes over spaces between digits.
    if 2 * len(items) != len(digits) or len(items) not in _LENGTHS:
        return None
    return _LIST + len(items).to_bytes(2) + items


def _hex_item(field: HeaderField, value: object) -> str | None:
    """Return a field's RLP in hexadecimal digits; None where the value is written unusually."""
    if field.maximum is None:
        text = f"0x{value.hex()}" if type(value) is bytes else value
        if type(text) is not str or text[:2] != "0x":
            return None
        size, odd = divmod(len(text), 2)
        size -= 1
        if odd or (field.size is not None and size != field.size):
            return None
        begin = _BEGIN.get(size)
        if size == 1:
            begin = "" if text < "0x80" else "81"
        return None if begin is None else begin + text[2:]
    number = value
    if type(value) is str:
        if len(value) > USUAL_DIGITS or not (value.isascii() and value.isalnum()):
            return None
        try:
            number = int(value, 16 if value[:2] == "0x" else 10)
        except ValueError:
            return None
    if type(number) is not int or not 0 <= number <= MAX_UINT64:
        return None
    if number < 0x80:
        return f"{number:02x}" if number else "80"
    size = (number.bit_length() + 7) // 8
    return f"{0x80 + size:02x}{number:0{2 * size}x}"


def _read(items: Sequence[bytes]) -> dict[str, Value]:
    return {field.name: field.read(item) for field, item in zip(FIELDS, items, strict=False)}


def _values(fields: Mapping[str, Value], encoded: bytes) -> HeaderValues:
    number, timestamp, base_fee_wei, gas_used, gas_limit = (
        cast(int, fields[name]) for name in _KEPT_NAMES
    )
    parent_hash = cast(bytes, fields["parent_hash"])
    return (
        number,
        timestamp,
        base_fee_wei,
        gas_used,
        gas_limit,
        block_hash(encoded),
        f"0x{parent_hash.hex()}",
    )


def _items(encoded: bytes) -> list[bytes]:
    """Return the items of the RLP, as many as the header of a known fork has."""
    if len(encoded) > MAX_RLP_BYTES:
        raise _formless(f"the RLP has {len(encoded)} bytes; the most is {MAX_RLP_BYTES}")
    # Imported where it is used: it takes 10 MB, and the usual headers do without it.
    import rlp.codec
    from rlp.exceptions import RLPException

    try:
        # Its second result costs little, and the third argument only matters to an accelerator.
        items, _ = rlp.codec.decode_raw(encoded, True, False)  # noqa: FBT003
    except (RLPException, IndexError, RecursionError) as error:
        raise _formless(f"the bytes are not RLP: {error}") from None
    if not isinstance(items, list) or not all(isinstance(item, bytes) for item in items):
        raise _formless("the bytes are not the RLP of a flat list")
    if len(items) == LEGACY_FIELDS:
        raise HeaderInvalid(BEFORE_LONDON, HeaderRule.FORM, "base_fee_per_gas")
    if len(items) > len(FIELDS):
        raise _formless(
            f"the RLP has {len(items)} fields, and {_FORK_OF[len(FIELDS)]}, the newest fork that "
            f"this version knows, has {len(FIELDS)}: use a newer version"
        )
    if len(items) not in _FORK_OF:
        counts = ", ".join(f"{count} ({name})" for name, count in FORKS.items())
        raise _formless(f"the RLP has {len(items)} fields; a header has {counts}")
    return items


def _formless(what: str) -> HeaderInvalid:
    return HeaderInvalid(what, HeaderRule.FORM)
