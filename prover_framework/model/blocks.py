"""Blocks as columns."""

from functools import cached_property

from attrs import frozen

from prover_framework.serialization.types import LongInteger

VALUE_BYTES = 8


@frozen(kw_only=True)
class BlockColumns:
    """Some fields of all blocks of a time range, by the block, as columns.

    Args:
        chain_id: The chain's id (EIP-155).
        simulated: Whether the chain is a simulation.
        start_timestamp: Unix seconds at which the range begins.
        end_timestamp: Unix seconds, the first after the range.
        first_block: Number of the first block; the others follow without a gap.
        timestamps: Unix seconds of each block.
        columns: For each field that was asked for its value in each block: gas in units, fees in
            wei for one unit of gas.
        first_hash: Hash of the first block, where the source had it.
        last_hash: Hash of the last block, where the source had it.
        verified: Whether each value was read from the bytes of a header that were verified.
    """

    chain_id: int
    simulated: bool
    start_timestamp: LongInteger
    end_timestamp: LongInteger
    first_block: int
    timestamps: tuple[int, ...]
    columns: dict[str, tuple[int, ...]]
    first_hash: str | None
    last_hash: str | None
    verified: bool

    def __len__(self) -> int:
        return len(self.timestamps)

    def __getitem__(self, field: str) -> tuple[int, ...]:
        """Return one column."""
        return self.columns[field]

    @property
    def last_block(self) -> int:
        """Number of the last block."""
        return self.first_block + len(self) - 1

    @cached_property
    def packed(self) -> bytes:
        """The timestamps, then the columns by name; each value has 8 bytes, big-endian."""
        columns = [self.timestamps, *(self.columns[name] for name in sorted(self.columns))]
        return b"".join(value.to_bytes(VALUE_BYTES) for column in columns for value in column)
