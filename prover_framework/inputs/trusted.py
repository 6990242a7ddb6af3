"""What the framework's own kinds of data have besides what anybody's have.

They are trusted: they load in the service's own process, with its headers and results handed to
them. That is the one difference, and `prover_framework.proofs.inputs` is the one place of it.
"""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

from prover_framework.errors import DataNotYet
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.inputs import Chain, InputKind, LoadedData
from prover_framework.model.receipts import Statement
from prover_framework.model.series import BlockRange, HourlySeries, TimeRange
from prover_framework.serialization.converter import unstructure_object

N = TypeVar("N")
D = TypeVar("D")
F = TypeVar("F")


class HeaderReader(Protocol):
    """Reads stored headers; see `prover_framework.chain.store.HeaderStore`."""

    async def series_and_blocks(self, wanted: TimeRange) -> tuple[HourlySeries, BlockRange]:
        """Return the hourly base fees of a range, and what is known of its blocks."""
        ...

    async def block_columns(
        self, wanted: TimeRange, fields: Sequence[str]
    ) -> tuple[BlockColumns, BlockRange]:
        """Return some fields of all blocks of a range, and what is known of these."""
        ...

    async def wrong_hours(self, first_timestamp: int, last_timestamp: int) -> list[int]:
        """Return the hours of some time whose stored sums are not those of their headers."""
        ...


class SharedHeaders(HeaderReader, Protocol):
    """Stored headers that many jobs read at about the same time."""

    def since(self, moment: float) -> HeaderReader:
        """Return them for a job that may have them as they were at any time after a moment.

        Args:
            moment: When the job was taken, by the event loop's clock.
        """
        ...


class ResultReader(Protocol):
    """Finds the statements of other jobs of a group."""

    async def statement_of(self, job_id: str) -> Statement:
        """Return what one of them states.

        Raises:
            DataNotYet: It has not ended.
            ProofError: It has ended in another way, or there is none.
        """
        ...


@frozen(kw_only=True)
class Sources:
    """What the framework's own kinds load from.

    Args:
        headers: Stored headers; none when there are none.
        results: The other jobs of the group; none when there are none to look at.
    """

    headers: HeaderReader | None = None
    results: ResultReader | None = None

    def require_headers(self) -> HeaderReader:
        """Return the headers.

        Raises:
            DataNotYet: There are none.
        """
        if self.headers is None:
            raise DataNotYet("there are no headers here")
        return self.headers


class TrustedKind(InputKind[N, D, F, Any], Generic[N, D, F]):
    """A kind of data of the framework itself."""

    async def load_here(self, need: N, sources: Sources) -> LoadedData[D, Any]:
        """Load what is asked for, in this process.

        Raises:
            ProofError: It will never be there.
            DataNotYet: It is not there yet; the job waits.
            StoreError: The database cannot be read.
        """
        raise NotImplementedError

    def rests_on(self, need: N) -> str | None:
        """Return the job of the group whose result is asked for, if it is that."""
        del need
        return None

    def span(self, data: D) -> "BlockSpan | None":
        """Return the blocks that data was made from; None where it is not made from blocks."""
        del data
        return None

    async def confirm(self, data: D, headers: HeaderReader) -> str | None:
        """Compare data with the headers that it was made from; return what is wrong with it."""
        del data, headers
        return None


@frozen(kw_only=True)
class BlockSpan:
    """The blocks that some data was made from.

    Args:
        first_block: Number of the first one.
        last_block: Number of the last one.
        begins: Unix timestamp at which the range begins that the blocks are all of.
    """

    first_block: int
    last_block: int
    begins: int


@frozen(kw_only=True)
class BlockProvenance:
    """The blocks that some data was made from, for people.

    Args:
        first_block: Number of the first block used.
        last_block: Number of the last block used.
        blocks: How many blocks were used.
        first_block_hash: Hash of the first block, where the source had it.
        last_block_hash: Hash of the last block, where the source had it.
        verified: Whether all of the blocks were checked where this was made: hash, parent hash
            and base fee.
        source: What the headers were last taken from, for people.
        fee_rule: The rule that base fees were checked by; none if none is known for the chain, so
            that only hashes and links were checked.
    """

    first_block: int
    last_block: int
    blocks: int
    first_block_hash: str | None
    last_block_hash: str | None
    verified: bool
    source: str
    fee_rule: str | None


def from_blocks(data: D, blocks: BlockRange, count: int) -> LoadedData[D, Any]:
    """Return data that was made from blocks, and what a receipt says of where these came from.

    Args:
        data: The data.
        blocks: The blocks.
        count: How many they are.
    """
    provenance = BlockProvenance(
        first_block=blocks.first_block,
        last_block=blocks.last_block,
        blocks=count,
        first_block_hash=blocks.first_hash,
        last_block_hash=blocks.last_hash,
        verified=blocks.verified,
        source=blocks.source,
        fee_rule=blocks.fee_rule,
    )
    return LoadedData(data, provenance=unstructure_object(provenance))


def chain_of(data: HourlySeries | BlockColumns) -> Chain:
    """Return the chain that data is of."""
    return Chain(data.chain_id, data.simulated)
