"""Checks headers against the rules of the chain, and names the first that breaks one.

A chain that passes is one that somebody can have made: anyone can link headers that obey EIP-1559.
It is the real one if one of its hashes, at or after its end, is one that the verifier trusts.
"""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from prover_framework.chain.headers import Header, differences, next_base_fee_wei
from prover_framework.chain.whole_header import read_header
from prover_framework.errors import HeaderInvalid, HeaderRule

# https://eips.ethereum.org/EIPS/eip-1559: the base fee of the first London block, which has no
# parent that it could follow from.
INITIAL_BASE_FEE_WEI = 1_000_000_000

# The first London block of the chains that existed before London, by chain id (EIP-155): mainnet
# and Goerli. Chains that are younger have had base fees from block 0 on.
LONDON_BLOCKS: Final = {1: 12_965_000, 5: 5_062_605}


@frozen
class StoredHeader:
    """A header as it is stored or comes from a source: what is said of it, and its bytes.

    Args:
        header: What is said of it; None stands for nothing being said.
        rlp: The RLP of all its fields.
    """

    header: Header
    rlp: bytes


@frozen
class ChainSpan:
    """Headers that were verified: each has its own hash, and follows from the one before.

    Args:
        first: The first header, as its bytes say.
        last: The last one.
        trusted_block: Number of the block whose hash is the one that was looked for, if it was
            found among them.
    """

    first: Header
    last: Header
    trusted_block: int | None = None

    def __len__(self) -> int:
        return self.last.number - self.first.number + 1

    def joined(self, after: "ChainSpan") -> "ChainSpan":
        """Return both as one.

        Raises:
            HeaderInvalid: The other one does not follow from this one.
        """
        check_link(self.last, after.first)
        found = after.trusted_block if self.trusted_block is None else self.trusted_block
        return ChainSpan(self.first, after.last, found)


def verify_chain(headers: Iterable[StoredHeader], trusted: str | None = None) -> ChainSpan | None:
    """Verify that headers are a chain; return what it spans, None for no headers.

    Whether the first of them follows from the block before it is for the caller to check, with
    `check_link` or `begins_chain`.

    Args:
        headers: In the order of their numbers.
        trusted: A block hash to look for.

    Raises:
        HeaderInvalid: Block, field and rule of the first header that is wrong.
    """
    first = last = None
    trusted_block = None
    for stored in headers:
        header = check_header(stored)
        if last is None:
            first = header
        else:
            check_link(last, header)
        if header.block_hash == trusted:
            trusted_block = header.number
        last = header
    if first is None or last is None:
        return None
    return ChainSpan(first, last, trusted_block)


def check_header(stored: StoredHeader) -> Header:
    """Check one header by itself; return it as its bytes say.

    Raises:
        HeaderInvalid: It is malformed, or its bytes say something else than is said of it.
    """
    try:
        header = read_header(stored.rlp)
    except HeaderInvalid as error:
        raise error.at(stored.header.number) from None
    if header != stored.header:
        _require_same(stored.header, header)
    if header.gas_used is None or header.gas_limit is None or header.gas_used > header.gas_limit:
        raise HeaderInvalid(
            f"is {header.gas_used}, more than the limit of {header.gas_limit}",
            HeaderRule.GAS,
            "gas_used",
            header.number,
        )
    return header


def check_link(parent: Header, header: Header) -> bool:
    """Check that a block follows from the one before it, as far as it is known.

    Returns:
        Whether everything was known that there is to check.

    Raises:
        HeaderInvalid: It does not follow, and why.
    """
    number = header.number
    if number != parent.number + 1:
        raise HeaderInvalid(
            f"comes after block {parent.number}", HeaderRule.NUMBER, "number", number
        )
    if header.timestamp <= parent.timestamp:
        raise HeaderInvalid(
            f"is {header.timestamp}, and that of the block before is {parent.timestamp}",
            HeaderRule.TIMESTAMP,
            "timestamp",
            number,
        )
    if parent.block_hash is None or header.parent_hash is None:
        return False
    if header.parent_hash != parent.block_hash:
        raise HeaderInvalid(
            f"is {header.parent_hash}, and the hash of block {parent.number} is "
            f"{parent.block_hash}",
            HeaderRule.PARENT,
            "parent_hash",
            number,
        )
    if parent.gas_used is None or parent.gas_limit is None:
        return False
    try:
        expected = next_base_fee_wei(parent.base_fee_wei, parent.gas_used, parent.gas_limit)
    except ValueError as error:
        raise HeaderInvalid(str(error), HeaderRule.GAS, "gas_used", parent.number) from None
    if header.base_fee_wei != expected:
        raise HeaderInvalid(
            f"is {header.base_fee_wei} wei, and after block {parent.number} ({parent.base_fee_wei} "
            f"wei, {parent.gas_used} of {parent.gas_limit} gas) it must be {expected}",
            HeaderRule.BASE_FEE,
            "base_fee_per_gas",
            number,
        )
    return True


def begins_chain(header: Header, chain_id: int) -> bool:
    """Return whether a block has no parent that its base fee could follow from.

    Raises:
        HeaderInvalid: It is the chain's first London block, and its base fee is another one.
    """
    london = LONDON_BLOCKS.get(chain_id, 0)
    if header.number < london:
        raise HeaderInvalid(
            f"has a base fee, and on chain {chain_id} the first block with one is {london}",
            HeaderRule.BASE_FEE,
            "base_fee_per_gas",
            header.number,
        )
    # A chain that was made after London says in its genesis what its first base fee is.
    if header.number == london > 0 and header.base_fee_wei != INITIAL_BASE_FEE_WEI:
        raise HeaderInvalid(
            f"is {header.base_fee_wei} wei, and that of the first London block must be "
            f"{INITIAL_BASE_FEE_WEI}",
            HeaderRule.BASE_FEE,
            "base_fee_per_gas",
            header.number,
        )
    return header.number == london


def _require_same(said: Header, header: Header) -> None:
    """Require that the bytes say what is said beside them."""
    different = list(differences(said, header))
    # Whatever differs, the hash does too; it is named if nothing else is.
    for name, ours, theirs in different:
        if name != "block_hash":
            raise HeaderInvalid(
                f"is {ours}, and the header's own bytes say {theirs}",
                HeaderRule.STORED,
                name,
                said.number,
            )
    for name, ours, theirs in different:
        raise HeaderInvalid(
            f"is {ours}, and the header's fields have the hash {theirs}: one of them, or the "
            "hash, has been altered",
            HeaderRule.HASH,
            name,
            said.number,
        )
