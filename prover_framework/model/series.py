"""Time ranges and the hourly series of base fees."""

from enum import StrEnum

from attrs import frozen

from prover_framework.errors import EmptyRange
from prover_framework.model.felt import float_from_felt
from prover_framework.serialization.types import LongInteger

HOUR_SECONDS = 3600


@frozen
class TimeRange:
    """The half-open range ``[start_timestamp, end_timestamp)`` in Unix seconds.

    Both ends are rounded down to the hour when the hours of the range are meant, so a range need
    not begin or end on the hour.
    """

    start_timestamp: LongInteger
    end_timestamp: LongInteger

    @property
    def first_hour(self) -> int:
        """Unix timestamp at which the first hour of the range begins."""
        return self.start_timestamp - self.start_timestamp % HOUR_SECONDS

    @property
    def end_hour(self) -> int:
        """Unix timestamp at which the last hour of the range has ended."""
        return self.end_timestamp - self.end_timestamp % HOUR_SECONDS

    @property
    def hours(self) -> range:
        """The Unix timestamps at which the hours of the range begin; it may be empty."""
        return range(self.first_hour, self.end_hour, HOUR_SECONDS)

    def require_hours(self) -> range:
        """Return `hours`.

        Raises:
            EmptyRange: There is no whole hour in the range.
        """
        if not self.hours:
            raise EmptyRange(
                f"the range {self.start_timestamp}..{self.end_timestamp} holds no whole hour: "
                f"both ends lie in the hour that begins at {self.first_hour}"
            )
        return self.hours


class SeriesKind(StrEnum):
    """What one hour of a series was made from."""

    BLOCKS = "blocks"
    """All blocks of the hour, with contiguous numbers."""
    HOURLY = "hourly"
    """One row for each hour, from a fee file that has nothing else."""


@frozen
class HourlySeries:
    """The base fee of a chain by the hour: complete, in order, nothing padded.

    Args:
        chain_id: The chain's id (EIP-155).
        simulated: Whether the chain is a simulation. Such numbers settle nothing.
        kind: What an hour was made from.
        first_hour: Unix timestamp at which the first hour begins.
        sums_wei: For each hour the sum of the base fees of its blocks, in wei.
        counts: For each hour the number of its blocks, at least 1.
        first_block: Number of the first block of the first hour.
        last_block: Number of the last block of the last hour.
    """

    chain_id: LongInteger
    simulated: bool
    kind: SeriesKind
    first_hour: LongInteger
    sums_wei: tuple[LongInteger, ...]
    counts: tuple[int, ...]
    first_block: LongInteger
    last_block: LongInteger

    def __len__(self) -> int:
        return len(self.sums_wei)

    @property
    def last_hour(self) -> int:
        """Unix timestamp at which the last hour begins."""
        return self.first_hour + (len(self) - 1) * HOUR_SECONDS

    def felts(self) -> list[int]:
        """The mean base fee of each hour in wei, as felts: ``(sum << 128) // count``."""
        return [
            (total << 128) // count for total, count in zip(self.sums_wei, self.counts, strict=True)
        ]

    def means_wei(self) -> list[float]:
        """The mean base fee of each hour in wei: the felt divided by 2^128, as a double."""
        return [float_from_felt(felt) for felt in self.felts()]


@frozen(kw_only=True)
class BlockRange:
    """The blocks that a series was made from, and what is known of them.

    Args:
        first_block: Number of the first block of the first hour.
        last_block: Number of the last block of the last hour.
        first_hash: Hash of the former, ``0x`` and 64 hex digits; None where the source had none.
        last_hash: Hash of the latter.
        parent_hash: Hash of the block before the first.
        verified: Whether each block has the hash of its own fields, names the hash of the block
            before it, and, where the chain's rule is known, has the base fee that follows from it.
        source: What the headers were last taken from, for people.
        fee_rule: The rule that base fees are checked by; None if none is known for the chain, so
            that only hashes and links are.
    """

    first_block: int
    last_block: int
    first_hash: str | None
    last_hash: str | None
    parent_hash: str | None
    verified: bool
    source: str
    fee_rule: str | None = None
