"""Where headers come from beside files: what a chain's node and an indexer's table both do."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from prover_framework.chain.headers import EncodedHeader, Header

# The blocks that a node can be asked for by a name, from the safest. A block that is finalized
# never gives way to another, unless a third of all that is staked is lost.
TAGS: Final = ("finalized", "safe", "latest")

# How many blocks have to follow one before it is taken from a source that does not tell what is
# finalized. As a rule a block is, on Ethereum, when two epochs of 32 slots have followed it.
CONFIRMATIONS = 64


class HeaderSource(Protocol):
    """A source that knows a chain as it is now. Blocks are named by their numbers."""

    name: str
    """What messages call it; without keys and passwords."""

    whole: bool
    """Whether its headers come with all fields, so that they can be verified."""

    async def chain_id(self) -> int | None:
        """Return the chain's id (EIP-155); None if the source does not know.

        Raises:
            SourceError: The source cannot be used, and why.
        """
        ...

    async def newest(self) -> int | None:
        """Return the number of the newest block that is to be followed; None if there is none.

        Raises:
            SourceError: The source cannot be used, and why.
        """
        ...

    async def timestamp(self, number: int) -> int | None:
        """Return a block's timestamp in Unix seconds; None if the source does not have the block.

        Raises:
            SourceError: The source cannot be used, and why.
        """
        ...

    def headers(
        self, first: int, last: int
    ) -> AsyncGenerator[Sequence[EncodedHeader | Header], None]:
        """Yield the headers of some blocks, both ends included, in pages and in order.

        Raises:
            SourceError: The source cannot be used, or lacks a block, and why.
            HeaderInvalid: A header is malformed, or has not the hash that the source says.
        """
        ...
