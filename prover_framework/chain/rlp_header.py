"""The bytes of a block header: every field of every fork from London on, and their hash.

The hash of a block is the keccak-256 of the RLP of its header. So whoever has the bytes and trusts
the hash can trust the fields, and the parent hash among them, and so on down the chain.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Self, TypeAlias, cast

import attrs
import rlp.codec
from attrs import frozen
from Crypto.Hash import keccak
from rlp.exceptions import RLPException

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
_PARENT_HASH = _PLACE["parent_hash"]
_KEPT_NAMES = ("number", "timestamp", "base_fee_per_gas", "gas_used", "gas_limit")
_KEPT = itemgetter(*(_PLACE[name] for name in _KEPT_NAMES))

_Picker = Callable[[Sequence[Any]], tuple[Any, ...]]


@frozen(eq=False)
class _Form:
    """Picks the fields of a header with so many of them: those of a fixed size, the integers."""

    sized: _Picker
    sizes: tuple[int, ...]
    integers: _Picker

    @classmethod
    def of(cls, count: int) -> Self:
        fields = FIELDS[:count]
        return cls(
            itemgetter(*(place for place, field in enumerate(fields) if field.size)),
            tuple(field.size for field in fields if field.size),
            itemgetter(*(place for place, field in enumerate(fields) if field.maximum)),
        )


_FORM_OF: Final = {count: _Form.of(count) for count in FORKS.values()}


def block_hash(encoded: bytes) -> str:
    """Return the hash of the block with this RLP of its header: ``0x`` and 64 hex digits."""
    return f"0x{keccak.new(digest_bits=256, data=encoded).hexdigest()}"


def read_header(encoded: bytes) -> Header:
    """Return what the database keeps of the header whose RLP this is, with its hash.

    Raises:
        HeaderInvalid: It is the RLP of no header of the forks that are known.
    """
    items = _items(encoded)
    form = _FORM_OF[len(items)]
    integers = form.integers(items)
    if (
        form.sized(list(map(len, items))) == form.sizes
        and max(map(len, integers)) <= UINT64_BYTES
        and b"\0" not in [integer[:1] for integer in integers]
    ):
        number, timestamp, base_fee_wei, gas_used, gas_limit = map(int.from_bytes, _KEPT(items))
        if max(number, timestamp, base_fee_wei, gas_used, gas_limit) <= MAX_INT64:
            parent_hash = f"0x{items[_PARENT_HASH].hex()}"
            return Header(
                number,
                timestamp,
                base_fee_wei,
                gas_used,
                gas_limit,
                block_hash(encoded),
                parent_hash,
            )
    # An unusual one, or none at all, which this says.
    return _header(_read(items), encoded)


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
        if len(parsed) not in _FORM_OF or _PLACE[first.name] != len(parsed):
            raise HeaderInvalid(
                f"is missing; a block with {list(parsed)[-1]} has it", HeaderRule.FORM, first.name
            )
    encoded: bytes = rlp.codec.encode_raw(
        [
            value.to_bytes((value.bit_length() + 7) // 8) if isinstance(value, int) else value
            for value in parsed.values()
        ]
    )
    return EncodedHeader(_header(parsed, encoded), encoded)


def _read(items: Sequence[bytes]) -> dict[str, Value]:
    return {field.name: field.read(item) for field, item in zip(FIELDS, items, strict=False)}


def _header(fields: Mapping[str, Value], encoded: bytes) -> Header:
    number, timestamp, base_fee_wei, gas_used, gas_limit = (
        cast(int, fields[name]) for name in _KEPT_NAMES
    )
    parent_hash = cast(bytes, fields["parent_hash"])
    return Header(
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
    if len(items) not in _FORM_OF:
        counts = ", ".join(f"{count} ({name})" for name, count in FORKS.items())
        raise _formless(f"the RLP has {len(items)} fields; a header has {counts}")
    return items


def _formless(what: str) -> HeaderInvalid:
    return HeaderInvalid(what, HeaderRule.FORM)
