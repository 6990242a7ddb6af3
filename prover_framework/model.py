"""The words of the domain: what is asked for, what a proof type is, what a computation sees.

Everything here is frozen. The JSON forms are in `prover_framework.wire`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, matches_re

from prover_framework.errors import EmptyRange
from prover_framework.felt import float_from_felt

HOUR_SECONDS = 3600

# Timestamps and block numbers live in signed 64-bit columns on every database we use.
MAX_INT64 = 2**63 - 1

# The API version a plugin is written for. It rises when a hook changes in a way that breaks
# plugins; arguments that are only added do not raise it (pluggy passes what is asked for).
API_VERSION = 1

DEFAULT_QUEUE = "default"

# They go into columns, messages, commands and file names.
PROOF_TYPE_NAME = r"[a-z][a-z0-9_]{0,62}"
KIND_NAME = r"[a-z][a-z0-9_-]{0,62}"


@frozen
class TimeRange:
    """The half-open range ``[start_timestamp, end_timestamp)`` in Unix seconds.

    Both ends are rounded down to the hour when the hours of the range are meant, so a range need
    not begin or end on the hour.
    """

    start_timestamp: int
    end_timestamp: int

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


def _starts_before_end(instance: "RangeParameters", _: "Attribute[int]", value: int) -> None:
    if instance.start_timestamp >= value:
        raise ValueError(f"must be after start_timestamp ({instance.start_timestamp}), got {value}")


@frozen(kw_only=True)
class RangeParameters:
    """Parameters of a proof over a time range; proof types with more of them inherit from this.

    Args:
        start_timestamp: Unix seconds, 0..2^63-1, the first second of the range.
        end_timestamp: Unix seconds, after ``start_timestamp``, the first second after the range.
    """

    start_timestamp: int = field(validator=and_(ge(0), le(MAX_INT64)))
    end_timestamp: int = field(validator=and_(ge(0), le(MAX_INT64), _starts_before_end))

    @property
    def range(self) -> TimeRange:
        """The range as a value of its own."""
        return TimeRange(self.start_timestamp, self.end_timestamp)


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

    chain_id: int
    simulated: bool
    kind: SeriesKind
    first_hour: int
    sums_wei: tuple[int, ...]
    counts: tuple[int, ...]
    first_block: int
    last_block: int

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
            before it, and has the base fee that follows from that block.
        source: What the headers were last taken from, for people.
    """

    first_block: int
    last_block: int
    first_hash: str | None
    last_hash: str | None
    parent_hash: str | None
    verified: bool
    source: str


@frozen
class DataNeeds:
    """What data a computation needs; the framework loads it.

    Args:
        hourly_base_fee: The range whose hourly base fees are needed.
    """

    hourly_base_fee: TimeRange


@frozen
class Inputs:
    """The data a computation was given, as it asked for in its `DataNeeds`."""

    hourly_base_fee: HourlySeries


@frozen
class Dispatch:
    """Where and when the message of a job goes.

    Args:
        queue: Name of a queue; the settings say which queue that is.
        delay_seconds: How long to hold the job back.
    """

    queue: str = DEFAULT_QUEUE
    delay_seconds: int = field(default=0, validator=ge(0))


@frozen
class Limits:
    """What one computation may use.

    Args:
        seconds: Wall-clock time before the compute process is killed.
        memory_bytes: Address space of the compute process.
    """

    seconds: float = field(default=300.0, validator=gt(0))
    memory_bytes: int = field(default=4 * 2**30, validator=gt(0))


@frozen
class Verdict:
    """What checking a claimed result against a new computation came to."""

    accepted: bool
    reason: str


P = TypeVar("P")
R = TypeVar("R")


@frozen(kw_only=True)
class ProofType(Generic[P, R]):
    """What a plugin registers.

    Args:
        name: The key in requests, messages and results, in snake case.
        title: What messages to people call it.
        version: Version of the method; it is part of the seed, so a change that moves the digits
            must raise it.
        parameters: attrs class of the parameters, at the best a `RangeParameters`.
        result: attrs class of the result; a field named like the proof type holds the number.
        required: Whether each job group must ask for this proof.
        limits: What one computation may use.
        generator: Name of the random number generator that the seed goes into; none when the
            computation draws nothing. It is part of what a receipt states.
        api_version: The `API_VERSION` the plugin was written for.
    """

    name: str = field(validator=[instance_of(str), matches_re(PROOF_TYPE_NAME)])
    title: str = field(validator=instance_of(str))
    version: str = field(validator=instance_of(str))
    parameters: type[P]
    result: type[R]
    required: bool = False
    limits: Limits = Limits()
    generator: str | None = None
    api_version: int = API_VERSION


@frozen(kw_only=True)
class SealType:
    """A kind of seal on receipts, as a plugin registers it.

    Args:
        kind: Its name in receipts: lower-case letters, digits, ``_`` and ``-``.
        title: What messages to people call it.
        limits: What making or checking one seal may use.
        api_version: The `API_VERSION` the plugin was written for.
    """

    kind: str = field(validator=[instance_of(str), matches_re(KIND_NAME)])
    title: str = field(validator=instance_of(str))
    limits: Limits = Limits()
    api_version: int = API_VERSION


@frozen
class JobRequest:
    """One proof that somebody asks for.

    Args:
        proof_type: Name of the proof type.
        parameters: An instance of its parameter class.
    """

    proof_type: str
    parameters: Any


@frozen
class GroupRequest:
    """Proofs that are asked for together under one id, which is also the idempotency key."""

    group_id: str
    jobs: Sequence[JobRequest]
