"""What a receipt says.

A receipt of one proof has three parts. The **statement** is what is claimed: the same headers,
parameters and method give the same statement, whatever computed it and wherever the headers came
from. The **provenance** says how this one came about. **Seals** stand for both, by the digest of
`prover_framework.receipts.canonical`; a receipt can gain one without its digest changing.

A finished group has a **composed receipt**, which binds the receipts of its proofs by their
digests.

Everything here is frozen; the JSON forms follow from the field names.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from attrs import Attribute, field, frozen
from attrs.validators import deep_iterable, ge, le, matches_re, max_len, min_len, optional

from prover_framework.jobs import JobState
from prover_framework.model import HOUR_SECONDS, KIND_NAME, PROOF_TYPE_NAME, SeriesKind, TimeRange
from prover_framework.wire import GROUP_ID

# What names an entry point, and can be shown.
PLUGIN_NAME = r"[A-Za-z0-9_.-]{1,128}"

SHA256_HEX = r"[0-9a-f]{64}"
BLOCK_HASH = r"0x[0-9a-f]{64}"

FEES_HASH_WORDS = 8


def _whole_hour(_: object, __: "Attribute[int]", value: int) -> None:
    if value < 0 or value % HOUR_SECONDS:
        raise ValueError(f"must be a whole hour, got {value}")


def _whole_hours(_: object, __: "Attribute[TimeRange | None]", value: TimeRange | None) -> None:
    if value is not None and not (
        value.start_timestamp == value.first_hour >= 0
        and value.end_timestamp == value.end_hour
        and value.hours
    ):
        raise ValueError(f"must be whole hours, got {value.start_timestamp}..{value.end_timestamp}")


def _hours_between(instance: "SeriesFacts", _: "Attribute[int]", value: int) -> None:
    between = (instance.last_hour - instance.first_hour) // HOUR_SECONDS + 1
    if not 1 <= value == between:
        raise ValueError(f"must be the {between} from first_hour to last_hour, got {value}")


@frozen(kw_only=True)
class SeriesFacts:
    """Which hourly base fees a proof is about: enough to tell them from any others.

    Args:
        kind: What an hour was made from.
        first_hour: Unix timestamp at which the first hour begins.
        last_hour: Unix timestamp at which the last hour begins.
        hours: Number of hours.
        fees_hash: The on-chain store's hash of the hourly fees, eight big-endian u32.
        felts_sum: Sum of the hours' felts, exact: ``0x`` and hex digits.
    """

    kind: SeriesKind
    first_hour: int = field(validator=_whole_hour)
    last_hour: int = field(validator=_whole_hour)
    hours: int = field(validator=_hours_between)
    fees_hash: tuple[int, ...] = field(
        validator=[
            min_len(FEES_HASH_WORDS),
            max_len(FEES_HASH_WORDS),
            deep_iterable([ge(0), le(2**32 - 1)]),
        ]
    )
    felts_sum: str = field(validator=matches_re(r"0x[0-9a-f]{1,80}"))


@frozen(kw_only=True)
class Statement:
    """What is claimed.

    Args:
        proof_type: Name of the proof type.
        method_version: Version of its method.
        plugin_digest: Digest of the files of the plugin's package, in hex.
        chain_id: The chain's id (EIP-155).
        simulated: Whether the chain is a simulation; such a number settles nothing.
        range: The time range that was asked for, both ends rounded down to the hour; none where
            the parameters have no range.
        parameters: All other parameters, in their JSON form.
        series: The hourly base fees that were used.
        seed: The derived seed, in hex.
        seed_derivation: Domain tag of the way it is derived, see
            `prover_framework.commitments.derive_seed`.
        generator: Name of the random number generator that the seed goes into; none where
            nothing is drawn.
        result: The plugin's result, in its JSON form; a member named like the proof type is the
            number.
    """

    proof_type: str = field(validator=matches_re(PROOF_TYPE_NAME))
    method_version: str
    plugin_digest: str = field(validator=matches_re(SHA256_HEX))
    chain_id: int
    simulated: bool
    range: TimeRange | None = field(validator=_whole_hours)
    parameters: dict[str, Any]
    series: SeriesFacts
    seed: str = field(validator=matches_re(SHA256_HEX))
    seed_derivation: str
    generator: str | None
    result: dict[str, Any]


@frozen(kw_only=True)
class Provenance:
    """How a receipt came about. Nobody who checks it relies on this.

    Args:
        first_block: Number of the first block used.
        last_block: Number of the last block used.
        blocks: How many blocks were used.
        first_block_hash: Hash of the first block, where the source had it.
        last_block_hash: Hash of the last block, where the source had it.
        verified: Whether all of the blocks were checked where this was made: hash, parent hash
            and base fee.
        source: What the headers were last taken from, for people.
        software: Versions of what computed the result, by name.
        machine: Kind of the machine that computed it.
        made_at: When, in ISO 8601, UTC.
    """

    first_block: int
    last_block: int
    blocks: int
    first_block_hash: str | None = field(validator=optional(matches_re(BLOCK_HASH)))
    last_block_hash: str | None = field(validator=optional(matches_re(BLOCK_HASH)))
    verified: bool
    source: str
    software: dict[str, str]
    machine: str
    made_at: str


@frozen
class Seal:
    """Something that stands for a receipt.

    Args:
        kind: Says who can check it.
        document: What that kind of seal consists of, in its JSON form.
    """

    kind: str = field(validator=matches_re(KIND_NAME))
    document: dict[str, Any]


@frozen(kw_only=True)
class Receipt:
    """The receipt of one proof."""

    statement: Statement
    provenance: Provenance
    seals: tuple[Seal, ...] = ()


@frozen(kw_only=True)
class Member:
    """One job of a group.

    Args:
        proof_type: What it was to prove.
        state: How it ended.
        digest: Digest of its receipt, in hex; none when it did not succeed.
    """

    proof_type: str = field(validator=matches_re(PROOF_TYPE_NAME))
    state: JobState
    digest: str | None = field(validator=optional(matches_re(SHA256_HEX)))


@frozen(kw_only=True)
class GroupReceipts:
    """The receipts of a group of which every job has ended; jobs that failed have none.

    Args:
        group_id: The group.
        receipts: One for each job that succeeded, in the order of the request.
    """

    group_id: str
    receipts: Sequence[Receipt]

    def of(self, proof_type: str) -> Receipt | None:
        """Return the receipt of a proof type, if there is one."""
        return next((r for r in self.receipts if r.statement.proof_type == proof_type), None)


@frozen
class Artefact:
    """Something that is made from the receipts of a group, for others to read.

    Args:
        kind: Name of its layout.
        version: Version of its layout.
        content: What it says, decoded.
        data: The same as bytes, in lower-case hex.
    """

    kind: str = field(validator=matches_re(KIND_NAME))
    version: str
    content: dict[str, Any]
    data: str = field(validator=matches_re(r"(?:[0-9a-f]{2})*"))


@frozen(kw_only=True)
class Composed:
    """What one plugin made of a group's receipts.

    Args:
        plugin: Name of the plugin.
        plugin_digest: Digest of the files of its package, in hex.
        artefacts: What it made.
        refusal: Code of the reason why it made nothing; none when it did not refuse.
        message: The reason, for people; empty when it did not refuse.
    """

    plugin: str = field(validator=matches_re(PLUGIN_NAME))
    plugin_digest: str = field(validator=matches_re(SHA256_HEX))
    artefacts: tuple[Artefact, ...]
    refusal: str | None
    message: str


@frozen(kw_only=True)
class ComposedStatement:
    """What is claimed of a group.

    Args:
        group_id: The group.
        members: Its jobs, in the order of the request.
        composed: What each plugin that composes made of their receipts, in the order of names.
    """

    group_id: str = field(validator=matches_re(GROUP_ID))
    members: tuple[Member, ...]
    composed: tuple[Composed, ...]


@frozen(kw_only=True)
class ComposedProvenance:
    """How a composed receipt came about.

    Args:
        software: Versions of what composed it, by name.
        made_at: When, in ISO 8601, UTC.
    """

    software: dict[str, str]
    made_at: str


@frozen(kw_only=True)
class ComposedReceipt:
    """The receipt of a group, with those that it binds."""

    statement: ComposedStatement
    provenance: ComposedProvenance
    receipts: tuple[Receipt, ...]
    seals: tuple[Seal, ...] = ()


AnyReceipt: TypeAlias = Receipt | ComposedReceipt
