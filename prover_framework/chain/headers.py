"""A block header as far as the base fee is concerned, and the rule the base fee follows."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias, cast

from attrs import fields, frozen

from prover_framework.model.names import MAX_INT64

# Block numbers, timestamps and gas live in signed 64-bit columns.
MAX_NUMBER = MAX_INT64
MAX_TIMESTAMP = MAX_INT64
MAX_GAS = MAX_INT64

# The protocol gives the base fee 256 bits. Ours has a 64-bit column, which ends at 9.2 ether for
# one unit of gas, hundreds of thousands of times what the busiest hours of mainnet have cost.
MAX_BASE_FEE_WEI = MAX_INT64

# https://eips.ethereum.org/EIPS/eip-1559: a block may use this many times its gas target ...
ELASTICITY_MULTIPLIER = 2
# ... and a block that does so raises the base fee by one part in this many.
BASE_FEE_MAX_CHANGE_DENOMINATOR = 8


@frozen
class Header:
    """What this project keeps of one block header.

    Nothing is checked here, since there are millions of them: whoever makes one from outside data
    has checked it against the limits of this module.

    Args:
        number: Block number, 0..2^63-1.
        timestamp: Unix seconds, 0..2^63-1.
        base_fee_wei: Base fee for one unit of gas, in whole wei, 0..2^63-1.
        gas_used: Units of gas, where the source has it.
        gas_limit: Units of gas, where the source has it.
        block_hash: ``0x`` and 64 lower-case hex digits, where the source has it.
        parent_hash: The hash of the block before, in the same form.
    """

    number: int
    timestamp: int
    base_fee_wei: int
    gas_used: int | None = None
    gas_limit: int | None = None
    block_hash: str | None = None
    parent_hash: str | None = None


@frozen
class EncodedHeader:
    """A header with its bytes, as it is stored or comes from a source.

    Args:
        header: What is said of it; None stands for nothing being said.
        rlp: The RLP of all its fields, which its hash is made of.
    """

    header: Header
    rlp: bytes


@frozen(eq=False)
class HeaderColumns:
    """Headers that are not whole, column by column: millions of them without an object for each.

    Args:
        numbers: See `Header`, as for the others.
        timestamps: As many, as in each column that is there.
        base_fees_wei: As many.
        gas_used: None where no header has it; so are the others.
        gas_limits: As many, or None.
        block_hashes: As many, or None.
        parent_hashes: As many, or None.
    """

    numbers: Sequence[int]
    timestamps: Sequence[int]
    base_fees_wei: Sequence[int]
    gas_used: Sequence[int | None] | None = None
    gas_limits: Sequence[int | None] | None = None
    block_hashes: Sequence[str | None] | None = None
    parent_hashes: Sequence[str | None] | None = None

    @classmethod
    def of(cls, headers: Sequence[Header]) -> "HeaderColumns":
        """Return some headers, at least one, in columns."""
        columns = list(zip(*map(_VALUES, headers), strict=True))
        optional = (None if column.count(None) == len(column) else column for column in columns[3:])
        return cls(*columns[:3], *optional)

    @property
    def columns(self) -> tuple[Sequence[int | str | None] | None, ...]:
        """The columns, in the order of the fields of `Header`."""
        return (
            self.numbers,
            self.timestamps,
            self.base_fees_wei,
            self.gas_used,
            self.gas_limits,
            self.block_hashes,
            self.parent_hashes,
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Header]:
        columns = (repeat(None) if column is None else column for column in self.columns)
        return map(Header, *cast(Any, columns))

    def header(self, place: int) -> Header:
        """Return one of the headers."""
        return next(iter(self.part(place, place + 1)))

    def part(self, begin: int, end: int) -> "HeaderColumns":
        """Return the headers from one place to before another."""
        parts = (None if column is None else column[begin:end] for column in self.columns)
        return HeaderColumns(*cast(Any, parts))

    def joined(self, after: "HeaderColumns") -> "HeaderColumns":
        """Return these headers and others after them."""

        def both(ours: Sequence[Any] | None, theirs: Sequence[Any] | None) -> list[Any] | None:
            if ours is None and theirs is None:
                return None
            lacking = (repeat(None, len(self)), repeat(None, len(after)))
            return [
                *(lacking[0] if ours is None else ours),
                *(lacking[1] if theirs is None else theirs),
            ]

        return HeaderColumns(*cast(Any, map(both, self.columns, after.columns)))


_VALUES = attrgetter(*(field.name for field in fields(Header)))

Batch: TypeAlias = HeaderColumns | Sequence[Header | EncodedHeader]
"""Some headers as their source gives them."""


# The fields, by the names that tables and files have for them.
_BY_COLUMN = tuple(
    (column, attrgetter("base_fee_wei" if column == "base_fee_per_gas" else column))
    for column in (
        "number", "timestamp", "base_fee_per_gas", "gas_used", "gas_limit", "block_hash",
        "parent_hash",
    )
)  # fmt: skip


def differences(
    ours: Header, theirs: Header
) -> Iterator[tuple[str, int | str | None, int | str | None]]:
    """Yield where two headers contradict each other: the column, our value, theirs.

    A value that one of them does not have contradicts nothing.
    """
    for column, value_of in _BY_COLUMN:
        mine, other = value_of(ours), value_of(theirs)
        if mine is not None and other is not None and mine != other:
            yield column, mine, other


def next_base_fee_wei(
    parent_base_fee_wei: int,
    parent_gas_used: int,
    parent_gas_limit: int,
    *,
    elasticity: int = ELASTICITY_MULTIPLIER,
    denominator: int = BASE_FEE_MAX_CHANGE_DENOMINATOR,
) -> int:
    """Return the base fee of the block that follows a given one.

    This is the rule of EIP-1559 (https://eips.ethereum.org/EIPS/eip-1559, ``validate_block``) in
    exact integers: with the gas target ``t`` at half of the limit (rounded down), the fee ``b``
    moves by ``b * |used - t| // t // 8``, up if more than the target was used and down if less;
    upwards always by at least 1 wei. It holds between any two blocks from London on; the first
    London block has no parent that it could follow from.

    Args:
        parent_base_fee_wei: Base fee of the parent, in wei.
        parent_gas_used: Gas that the parent used, at most its limit.
        parent_gas_limit: Gas limit of the parent, at least the elasticity (a limit below that has
            no target).
        elasticity: How many times its target a block may use; mainnet's is 2.
        denominator: What the change is divided by; mainnet's is 8.

    Raises:
        ValueError: There is no such parent block.
    """
    gas_target = parent_gas_limit // elasticity
    if gas_target < 1 or not 0 <= parent_gas_used <= parent_gas_limit or parent_base_fee_wei < 0:
        raise ValueError(
            f"no block has a base fee of {parent_base_fee_wei} wei and uses {parent_gas_used} "
            f"of {parent_gas_limit} gas"
        )
    if parent_gas_used > gas_target:
        rise = parent_base_fee_wei * (parent_gas_used - gas_target) // gas_target
        return parent_base_fee_wei + max(rise // denominator, 1)
    fall = parent_base_fee_wei * (gas_target - parent_gas_used) // gas_target
    return parent_base_fee_wei - fall // denominator
