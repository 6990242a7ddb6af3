"""The check that follows the verifier's headers from some data to a block that he trusts."""

from typing import TYPE_CHECKING, Any, Protocol, cast

from prover_framework.chain.headers import Header
from prover_framework.chain.rules import ChainRules
from prover_framework.errors import HeaderError, HeaderInvalid, SourceError, StoreError
from prover_framework.inputs.trusted import BlockSpan, HeaderReader, TrustedKind
from prover_framework.model.findings import Finding
from prover_framework.proofs.inputs import LoadedInput

if TYPE_CHECKING:
    from prover_framework.chain.parallel import WholeHeaders


class FollowedHeaders(HeaderReader, Protocol):
    """Headers that can be followed; see `prover_framework.chain.store.HeaderStore`."""

    async def number_of(self, block_hash: str) -> int | None:
        """Return the number of the block with a hash, if it is there."""
        ...

    async def rules(self) -> ChainRules:
        """Return the rules of their chain."""
        ...

    async def headers(self, first: int, last: int) -> list[Header]:
        """Return some blocks, both ends included."""
        ...

    async def keep_whole(self, first: int, last: int) -> "WholeHeaders":
        """Return where some blocks are stored with their bytes, both ends included."""
        ...


class ChainCheck:
    """Follows headers to a trusted block.

    Args:
        headers: The verifier's headers; none when there are none.
        source: What messages call them.
        trusted_hash: Hash of a block that the verifier takes for a real one, if there is one.
        processes: How many processes share the work.
    """

    def __init__(
        self,
        headers: FollowedHeaders | None,
        source: str,
        trusted_hash: str | None,
        processes: int,
    ) -> None:
        self._headers = headers
        self._source = source
        self._trusted_hash = trusted_hash
        self._processes = processes
        # The first of the headers that were followed to the trusted block.
        self._followed_from: int | None = None

    async def follow(self, loaded: LoadedInput | None) -> Finding | None:
        """Follow the headers that some data was made from; None where it was made from none.

        Args:
            loaded: The verifier's own data; None where he has none.
        """
        trusted, headers, source = self._trusted_hash, self._headers, self._source
        if trusted is None:
            return Finding.not_possible(
                "no block is trusted: anybody can make headers that are linked and obey EIP-1559"
            )
        if loaded is None or headers is None:
            return Finding.not_possible("there are no headers to follow to a trusted block")
        if not loaded.kind.is_builtin:
            return None
        kind = cast("TrustedKind[Any, Any, Any]", loaded.kind.kind)
        span = kind.span(loaded.data)
        if span is None:
            return None
        try:
            number = await headers.number_of(trusted)
            if number is None:
                return Finding.not_possible(f"{source} has no block of the trusted hash")
            # The block after the last one shows that the end of the range is whole.
            if number <= span.last_block:
                return Finding.not_possible(
                    f"the trusted block is {number}, and the data ends with block "
                    f"{span.last_block}: name one after that"
                )
            begin = await _first_needed(headers, span)
            rules = await headers.rules()
            await self._verify(headers, rules, begin, number, trusted)
            wrong = await kind.confirm(loaded.data, headers)
        except HeaderInvalid as error:
            return Finding.failed(f"{source}: {error}")
        except (HeaderError, SourceError, StoreError) as error:
            return Finding.not_possible(f"{source}: {error}")
        if wrong is not None:
            return Finding.failed(f"{source}: {wrong}")
        obey = "obey EIP-1559" if rules.fee_rule else f"have fees that {rules.name} has no rule for"
        return Finding.passed(
            f"blocks {begin} to {number} are linked, {obey} and end with the trusted one"
        )

    async def _verify(
        self, headers: FollowedHeaders, rules: ChainRules, first: int, last: int, trusted: str
    ) -> None:
        """Verify headers up to the trusted block; those of one group only once.

        Raises:
            HeaderInvalid: They are no chain that leads to it.
            HeaderError: Not all of them are stored whole.
            StoreError: The database cannot be read.
        """
        # Imported where it is used: few verifiers follow a chain, with RLP and keccak.
        from prover_framework.chain.parallel import verify_blocks

        if self._followed_from is not None and self._followed_from <= first:
            return
        span = await verify_blocks(
            await headers.keep_whole(first, last),
            first,
            last,
            rules,
            trusted=trusted,
            needed=last,
            processes=self._processes,
        )
        if span is None or span.trusted_block != last:
            raise HeaderError(f"blocks {first} to {last} do not lead to the trusted one")
        self._followed_from = first


async def _first_needed(headers: FollowedHeaders, span: BlockSpan) -> int:
    """Return the first block that has to be followed, to show that the range begins whole."""
    (first,) = await headers.headers(span.first_block, span.first_block)
    begins_with_range = first.timestamp == span.begins or first.number == 0
    return first.number if begins_with_range else first.number - 1
