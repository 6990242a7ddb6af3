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
from typing import Any

from attrs import field, frozen
from attrs.validators import deep_iterable, ge, le, matches_re, max_len, min_len

from prover_framework.model import SeriesKind, TimeRange

# Names of kinds go into columns and messages.
NAME = r"[a-z][a-z0-9_-]{0,62}"

SHA256_HEX = r"[0-9a-f]{64}"
BLOCK_HASH = r"0x[0-9a-f]{64}"

FEES_HASH_WORDS = 8


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
    first_hour: int
    last_hour: int
    hours: int
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

    proof_type: str
    method_version: str
    plugin_digest: str = field(validator=matches_re(SHA256_HEX))
    chain_id: int
    simulated: bool
    range: TimeRange | None
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
        verified_blocks: How many of the blocks were checked where this was made: hash, parent
            hash and base fee.
        source: What the headers were last taken from, for people.
        software: Versions of what computed the result, by name.
        machine: Kind of the machine that computed it.
        made_at: When, in ISO 8601, UTC.
    """

    first_block: int
    last_block: int
    blocks: int
    first_block_hash: str | None
    last_block_hash: str | None
    verified_blocks: int
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

    kind: str = field(validator=matches_re(NAME))
    document: dict[str, Any]


@frozen(kw_only=True)
class Receipt:
    """The receipt of one proof."""

    statement: Statement
    provenance: Provenance
    seals: tuple[Seal, ...] = ()


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

    kind: str = field(validator=matches_re(NAME))
    version: str
    content: dict[str, Any]
    data: str = field(validator=matches_re(r"(?:[0-9a-f]{2})*"))
