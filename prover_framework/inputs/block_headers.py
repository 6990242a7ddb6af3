"""Block headers: some fields of all blocks of a time range, as columns."""

from collections.abc import Sequence
from hashlib import sha256

import attrs
from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, le, matches_re

from prover_framework.hookspecs import hookimpl
from prover_framework.inputs.trusted import (
    BlockSpan,
    HeaderReader,
    Sources,
    TrustedKind,
    chain_of,
    from_blocks,
)
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.inputs import Chain, InputKind, LoadedData, Need, compare_facts
from prover_framework.model.names import MAX_INT64
from prover_framework.model.receipts import HEX_32_BYTES
from prover_framework.model.series import TimeRange
from prover_framework.model.verdict import Verdict
from prover_framework.serialization.converter import unstructure_object
from prover_framework.serialization.json_text import Json
from prover_framework.serialization.types import LongInteger

NAME = "block_headers"

# The fields that can be asked for, under the names of EIP-1559 and EIP-4844, in units of gas and in
# wei for one unit of gas. The number and the timestamp of each block come with them.
FIELDS = ("base_fee_per_gas", "gas_used", "gas_limit", "blob_gas_used", "excess_blob_gas")


def _known(_: object, __: "Attribute[tuple[str, ...]]", value: Sequence[str]) -> None:
    if not value or len(set(value)) != len(value) or not set(value) <= set(FIELDS):
        raise ValueError(f"must be some of {', '.join(FIELDS)}, each once, got {list(value)}")


def _after_start(instance: "BlocksWanted", _: "Attribute[int]", value: int) -> None:
    if value <= instance.start_timestamp:
        raise ValueError(f"must be after start_timestamp ({instance.start_timestamp}), got {value}")


@frozen(kw_only=True)
class BlocksWanted:
    """Which blocks and fields are asked for.

    Args:
        start_timestamp: Unix seconds; blocks at or after it are wanted.
        end_timestamp: Unix seconds; blocks before it are wanted.
        fields: Names of fields, some of `FIELDS`.
    """

    start_timestamp: LongInteger = field(validator=and_(ge(0), le(MAX_INT64)))
    end_timestamp: LongInteger = field(validator=and_(ge(0), le(MAX_INT64), _after_start))
    fields: tuple[str, ...] = field(validator=_known, metadata={"samples": (("gas_used",),)})


@frozen(kw_only=True)
class BlockFacts:
    """Which blocks and fields a proof is about.

    Args:
        start_timestamp: Unix seconds at which the range begins.
        end_timestamp: Unix seconds, the first after the range.
        first_block: Number of the first block.
        last_block: Number of the last block.
        first_timestamp: Unix seconds of the first block.
        last_timestamp: Unix seconds of the last block.
        first_hash: Hash of the first block, where the source had it.
        last_hash: Hash of the last block, where the source had it.
        fields: Names of the fields, in the order of the alphabet.
        values_sha256: SHA-256 of the timestamps and all values, as `BlockHeaders.canonical` has
            them, in hex.
        verified: Whether each value was read from the bytes of a header that were verified. False
            says that nobody has checked the values, the base fees apart.
    """

    start_timestamp: LongInteger
    end_timestamp: LongInteger
    first_block: int
    last_block: int
    first_timestamp: int
    last_timestamp: int
    first_hash: str | None
    last_hash: str | None
    fields: tuple[str, ...]
    values_sha256: str = field(validator=matches_re(HEX_32_BYTES))
    verified: bool


def block_headers(wanted: TimeRange, fields: Sequence[str]) -> Need:
    """Ask for some fields of all blocks of a range.

    Args:
        wanted: The range, to the second.
        fields: Names of fields, some of `FIELDS`.

    Raises:
        ValueError: There is no such field.
    """
    blocks = BlocksWanted(
        start_timestamp=wanted.start_timestamp,
        end_timestamp=wanted.end_timestamp,
        fields=tuple(fields),
    )
    return Need(NAME, unstructure_object(blocks))


class BlockHeaders(TrustedKind[BlocksWanted, BlockColumns, BlockFacts]):
    """The kind of data."""

    name = NAME
    version = "1"
    need_type = BlocksWanted
    data_type = BlockColumns
    facts_type = BlockFacts

    async def load_here(
        self, need: BlocksWanted, sources: Sources
    ) -> LoadedData[BlockColumns, None]:
        """Load the blocks of a range."""
        wanted = TimeRange(need.start_timestamp, need.end_timestamp)
        columns, blocks = await sources.require_headers().block_columns(wanted, need.fields)
        return from_blocks(columns, blocks, len(columns))

    def facts(self, data: BlockColumns) -> BlockFacts:
        """Return which blocks they are."""
        return BlockFacts(
            start_timestamp=data.start_timestamp,
            end_timestamp=data.end_timestamp,
            first_block=data.first_block,
            last_block=data.last_block,
            first_timestamp=data.timestamps[0],
            last_timestamp=data.timestamps[-1],
            first_hash=data.first_hash,
            last_hash=data.last_hash,
            fields=tuple(sorted(data.columns)),
            values_sha256=sha256(self.canonical(data)).hexdigest(),
            verified=data.verified,
        )

    def canonical(self, data: BlockColumns) -> bytes:
        """Return the timestamps, then the columns by name; each value has 8 bytes, big-endian."""
        return data.packed

    def chain(self, data: BlockColumns) -> Chain:
        """Return the chain that the blocks are of."""
        return chain_of(data)

    def seed_part(self, facts: BlockFacts) -> dict[str, Json]:
        """Return which blocks, fields and values; hashes of blocks may be missing."""
        return {
            "start_timestamp": facts.start_timestamp,
            "end_timestamp": facts.end_timestamp,
            "first_block": facts.first_block,
            "last_block": facts.last_block,
            "fields": list(facts.fields),
            "values_sha256": facts.values_sha256,
        }

    def compare(self, facts: BlockFacts, own: BlockColumns) -> Verdict:
        """Compare with the verifier's blocks, whoever of the two has verified them."""
        theirs, ours = facts, self.facts(own)
        theirs = attrs.evolve(theirs, verified=ours.verified)
        # A hash that one of them does not have contradicts nothing.
        for name in ("first_hash", "last_hash"):
            if getattr(theirs, name) is None or getattr(ours, name) is None:
                theirs = attrs.evolve(theirs, **{name: getattr(ours, name)})
        return compare_facts(theirs, ours)

    def span(self, data: BlockColumns) -> BlockSpan:
        """Return the blocks."""
        return BlockSpan(
            first_block=data.first_block, last_block=data.last_block, begins=data.start_timestamp
        )

    async def confirm(self, data: BlockColumns, headers: HeaderReader) -> str | None:
        """Require that the values were read from the bytes that were followed to the anchor."""
        del headers
        if data.verified:
            return None
        return "values of some blocks are not from the bytes of their headers"


@hookimpl
def input_kind() -> InputKind[BlocksWanted, BlockColumns, BlockFacts, None]:
    """Register block headers."""
    return BlockHeaders()
