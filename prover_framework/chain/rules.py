"""The rules of a chain between one block and the next, as far as the base fee is concerned."""

from collections.abc import Callable, Sequence
from operator import eq, le, lt
from typing import Any

from attrs import frozen

from prover_framework.chain.fee_rules import FeeRule
from prover_framework.chain.headers import Header, HeaderColumns
from prover_framework.chain.known_blocks import probable_chain
from prover_framework.errors import HeaderInvalid, HeaderRule

# https://eips.ethereum.org/EIPS/eip-1559: the base fee of the first London block, which has no
# parent that it could follow from.
INITIAL_BASE_FEE_WEI = 1_000_000_000


@frozen
class FeePeriod:
    """Blocks after which the base fee follows one rule.

    Args:
        from_block: The first of them.
        rule: How the fee goes on after each; None where no rule is known.
    """

    from_block: int
    rule: FeeRule | None


@frozen(kw_only=True)
class ChainRules:
    """What the headers of one chain obey.

    Hashes, parents and gas limits are checked on every chain, the base fee where a rule is known.

    Args:
        name: What messages call the chain.
        fees: The rules of its base fee, with rising block numbers; empty if none is known.
        london_block: The first block with a base fee, on a chain that is older than base fees.
        london_time: Timestamp of that block.
        equal_timestamps: Whether a block may have the timestamp of the block before.
    """

    name: str
    fees: tuple[FeePeriod, ...] = ()
    london_block: int = 0
    london_time: int = 0
    equal_timestamps: bool = False

    @property
    def fee_rule(self) -> str | None:
        """What receipts call the rule that base fees were checked by; None where there is none."""
        kinds = {type(period.rule).__name__ for period in self.fees if period.rule is not None}
        return f"{self.name}: {', '.join(sorted(kinds))}" if kinds else None

    @property
    def needs_bytes(self) -> bool:
        """Whether the bytes of a block are needed to know the next fee."""
        return any(period.rule is not None and period.rule.needs_bytes for period in self.fees)

    def fee_rule_after(self, number: int) -> FeeRule | None:
        """Return the rule by which the base fee goes on after a block."""
        found = None
        for period in self.fees:
            if period.from_block > number:
                break
            found = period.rule
        return found


def check_link(
    parent: Header, header: Header, rules: ChainRules, parent_rlp: bytes | None = None
) -> bool:
    """Check that a block follows from the one before it, as far as it is known.

    Args:
        parent: The block before.
        header: The block.
        rules: Those of the chain.
        parent_rlp: The bytes of the block before, where the rules need them.

    Returns:
        Whether everything was known that the rules of the chain ask for.

    Raises:
        HeaderInvalid: It does not follow, and why.
    """
    number = header.number
    if number != parent.number + 1:
        raise HeaderInvalid(
            f"comes after block {parent.number}", HeaderRule.NUMBER, "number", number
        )
    check_time(parent, header, rules)
    linked = parent.block_hash is not None and header.parent_hash is not None
    if linked and header.parent_hash != parent.block_hash:
        raise HeaderInvalid(
            f"is {header.parent_hash}, and the hash of block {parent.number} is "
            f"{parent.block_hash}",
            HeaderRule.PARENT,
            "parent_hash",
            number,
        )
    return _check_fee(parent, header, rules, parent_rlp) and linked


def check_time(before: Header, header: Header, rules: ChainRules) -> None:
    """Check that a block is later than an earlier one.

    Raises:
        HeaderInvalid: It is not.
    """
    if header.timestamp > before.timestamp or (
        rules.equal_timestamps and header.timestamp == before.timestamp
    ):
        return
    raise HeaderInvalid(
        f"is {header.timestamp}, and that of the block before is {before.timestamp}",
        HeaderRule.TIMESTAMP,
        "timestamp",
        header.number,
    )


def check_gas(header: Header) -> None:
    """Check that a block used no more gas than it may, where both are known.

    Raises:
        HeaderInvalid: It did.
    """
    used, limit = header.gas_used, header.gas_limit
    if used is not None and limit is not None and used > limit:
        raise HeaderInvalid(
            f"is {used}, more than the limit of {limit}", HeaderRule.GAS, "gas_used", header.number
        )


def surely_linked(blocks: HeaderColumns, rules: ChainRules) -> bool:
    """Return whether blocks that are not whole surely obey the rules, each after the one before.

    Where it returns True, neither `check_gas` of each nor `check_link` of any two finds anything.
    It looks at whole columns; where it is not sure, these look at each block and name what is
    wrong, if anything is.

    Args:
        blocks: In the order of their numbers; whether the first of them follows from a block before
            it is not looked at.
        rules: Those of the chain.
    """
    numbers, times = blocks.numbers, blocks.timestamps
    first, last = numbers[0], numbers[-1]
    if last - first + 1 != len(blocks) or not all(map(lt, numbers, numbers[1:])):
        return False
    if not all(map(le if rules.equal_timestamps else lt, times, times[1:])):
        return False
    if not _all_hold(le, blocks.gas_used, blocks.gas_limits):
        return False
    parents = blocks.parent_hashes and blocks.parent_hashes[1:]
    if not _all_hold(eq, parents, blocks.block_hashes and blocks.block_hashes[:-1]):
        return False
    changing = any(first < period.from_block < last for period in rules.fees)
    if first < rules.london_block or changing:
        return False
    rule = rules.fee_rule_after(first)
    return rule is None or rule.surely_follow(blocks)


def _all_hold(
    rule: Callable[[Any, Any], bool],
    left: Sequence[int | str | None] | None,
    right: Sequence[int | str | None] | None,
) -> bool:
    """Return whether all values of two columns surely are as they have to be to each other."""
    if left is None or right is None:
        return True
    return None not in left and None not in right and all(map(rule, left, right))


def begins_chain(header: Header, rules: ChainRules, *, whole: bool = True) -> bool:
    """Return whether a block has no parent that its base fee could follow from.

    Args:
        header: The block.
        rules: Those of the chain.
        whole: Whether all its fields are there. A row of an hourly file has none of them, and a
            number of its own making.

    Raises:
        HeaderInvalid: It is from before the chain's first London block, or is that block and its
            base fee is another one.
    """
    london = rules.london_block
    probable = probable_chain(header.number, header.timestamp) if header.number < london else None
    if header.number < london and (whole or probable or header.timestamp < rules.london_time):
        advice = ""
        if probable:
            advice = f"; use --chain-id {probable.chain_id}: these are {probable.name}'s headers"
        raise HeaderInvalid(
            f"has a base fee, and on {rules.name} the first block with one is {london}{advice}",
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


def _check_fee(parent: Header, header: Header, rules: ChainRules, parent_rlp: bytes | None) -> bool:
    """Check the base fee; return whether there is nothing left of it to check."""
    if header.number <= rules.london_block:
        return begins_chain(header, rules, whole=header.block_hash is not None)
    rule = rules.fee_rule_after(parent.number)
    if rule is None:
        # Where no rule is known at all, whoever says "verified" says that the fee is not.
        return not rules.fees
    try:
        expected = rule.next_base_fee_wei(parent, parent_rlp)
    except ValueError as error:
        raise HeaderInvalid(str(error), HeaderRule.GAS, "gas_used", parent.number) from None
    if expected is not None and header.base_fee_wei != expected:
        raise HeaderInvalid(
            f"is {header.base_fee_wei} wei, and after block {parent.number} ({parent.base_fee_wei} "
            f"wei, {parent.gas_used} of {parent.gas_limit} gas) it must be {expected}",
            HeaderRule.BASE_FEE,
            "base_fee_per_gas",
            header.number,
        )
    return expected is not None
