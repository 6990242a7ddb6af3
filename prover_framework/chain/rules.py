"""The rules between one block and the next, as far as the base fee is concerned."""

from typing import Final

from prover_framework.chain.headers import Header, next_base_fee_wei
from prover_framework.errors import HeaderInvalid, HeaderRule

# https://eips.ethereum.org/EIPS/eip-1559: the base fee of the first London block, which has no
# parent that it could follow from.
INITIAL_BASE_FEE_WEI = 1_000_000_000

# The first London block of the chains that existed before London, by chain id (EIP-155): mainnet
# and Goerli. Chains that are younger have had base fees from block 0 on.
LONDON_BLOCKS: Final = {1: 12_965_000, 5: 5_062_605}


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
