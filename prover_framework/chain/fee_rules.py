"""How a block's base fee follows from its parent: one class for each kind of rule.

A rule is a value, so that it crosses to the processes that verify long chains.
"""

from typing import ClassVar, Final, TypeAlias

from attrs import field, frozen
from attrs.validators import ge

from prover_framework.chain.headers import (
    BASE_FEE_MAX_CHANGE_DENOMINATOR,
    ELASTICITY_MULTIPLIER,
    Header,
    HeaderColumns,
    next_base_fee_wei,
)
from prover_framework.errors import HeaderInvalid, HeaderRule

# https://specs.optimism.io/protocol/holocene/exec-engine.html#eip-1559-parameters-in-block-header:
# a version byte, then the denominator and the elasticity of four bytes each ...
_HOLOCENE_VERSION, _HOLOCENE_BYTES = 0, 9
# ... and since https://specs.optimism.io/protocol/jovian/exec-engine.html a minimum of eight bytes.
_JOVIAN_VERSION, _JOVIAN_BYTES = 1, 17


@frozen(kw_only=True)
class Eip1559:
    """The rule of EIP-1559 with parameters of a chain's own.

    Args:
        elasticity: How many times its gas target a block may use.
        denominator: A block that uses all its gas raises the fee by one part in this many for each
            target that it used above the first.
        minimum_wei: The base fee never falls below it.
    """

    elasticity: int = field(default=ELASTICITY_MULTIPLIER, validator=ge(1))
    denominator: int = field(default=BASE_FEE_MAX_CHANGE_DENOMINATOR, validator=ge(1))
    minimum_wei: int = field(default=0, validator=ge(0))

    needs_bytes: ClassVar[bool] = False

    def next_base_fee_wei(self, parent: Header, rlp: bytes | None = None) -> int | None:  # noqa: ARG002
        """Return the base fee after a block; None if too little is known of the block.

        Raises:
            ValueError: There is no such block.
        """
        if parent.gas_used is None or parent.gas_limit is None:
            return None
        fee = next_base_fee_wei(
            parent.base_fee_wei,
            parent.gas_used,
            parent.gas_limit,
            elasticity=self.elasticity,
            denominator=self.denominator,
        )
        return max(fee, self.minimum_wei)

    def surely_follow(self, blocks: HeaderColumns) -> bool:
        """Return whether the fees of blocks surely follow from the blocks before them.

        Args:
            blocks: Consecutive ones, none of which uses more gas than its limit.
        """
        if blocks.gas_used is None or blocks.gas_limits is None:
            return True
        elasticity, denominator, minimum = self.elasticity, self.denominator, self.minimum_wei
        fees = blocks.base_fees_wei
        # The arithmetic of `next_base_fee_wei`, without a call for each block.
        for fee, used, limit, following in zip(
            fees, blocks.gas_used, blocks.gas_limits, fees[1:], strict=False
        ):
            if used is None or limit is None or (target := limit // elasticity) < 1:
                return False
            if used > target:
                expected = fee + (fee * (used - target) // target // denominator or 1)
            else:
                expected = fee - fee * (target - used) // target // denominator
            # Without a call.
            if expected < minimum:
                expected = minimum
            if following != expected:
                return False
        return True


@frozen
class OpStack:
    """The rule of OP stack chains: since Holocene each block says the parameters for the next one.

    Since Jovian it says a minimum as well, and what counts as used is the larger of gas and data
    (``blobGasUsed`` holds the footprint of the data). Blocks from before Holocene do not say how
    the fee goes on, so that it is not checked after them.
    """

    needs_bytes: ClassVar[bool] = True

    def next_base_fee_wei(self, parent: Header, rlp: bytes | None = None) -> int | None:
        """Return the base fee after a block; None if too little is known of the block.

        Raises:
            HeaderInvalid: The block does not say the parameters as it must.
            ValueError: There is no such block.
        """
        if rlp is None or parent.gas_used is None or parent.gas_limit is None:
            return None
        # RLP and keccak take 20 MB, and most processes need neither.
        from prover_framework.chain.rlp_header import decode_fields

        fields = decode_fields(rlp)
        extra, data_used = fields["extra_data"], fields.get("blob_gas_used", 0)
        if not isinstance(extra, bytes) or not isinstance(data_used, int) or not extra:
            return None
        form = (extra[0], len(extra))
        if form not in ((_HOLOCENE_VERSION, _HOLOCENE_BYTES), (_JOVIAN_VERSION, _JOVIAN_BYTES)):
            raise _no_parameters(f"is 0x{extra.hex()[:80]}, and not what it holds", parent)
        denominator, elasticity = int.from_bytes(extra[1:5]), int.from_bytes(extra[5:9])
        if not denominator and not elasticity:
            # The parameters are the chain's own, which it does not say.
            return None
        if not denominator or not elasticity:
            raise _no_parameters("has a denominator or an elasticity of 0", parent)
        jovian = form[0] == _JOVIAN_VERSION
        used = max(parent.gas_used, data_used) if jovian else parent.gas_used
        fee = next_base_fee_wei(
            parent.base_fee_wei,
            used,
            parent.gas_limit,
            elasticity=elasticity,
            denominator=denominator,
        )
        return max(fee, int.from_bytes(extra[_HOLOCENE_BYTES:])) if jovian else fee

    def surely_follow(self, blocks: HeaderColumns) -> bool:  # noqa: ARG002
        """Return False: the bytes of the blocks say how their fees go on."""
        return False


def _no_parameters(what: str, parent: Header) -> HeaderInvalid:
    return HeaderInvalid(
        f"{what} on OP stack chains since Holocene: version, denominator, elasticity and, since "
        "Jovian, minimum of the next base fee",
        HeaderRule.BASE_FEE,
        "extra_data",
        parent.number,
    )


@frozen(kw_only=True)
class FixedFee:
    """A base fee that never changes.

    Args:
        wei: The fee, in wei.
    """

    wei: int = field(validator=ge(0))

    needs_bytes: ClassVar[bool] = False

    def next_base_fee_wei(self, parent: Header, rlp: bytes | None = None) -> int | None:  # noqa: ARG002
        """Return the base fee after any block."""
        return self.wei

    def surely_follow(self, blocks: HeaderColumns) -> bool:
        """Return whether the fees of blocks are the one that never changes."""
        return blocks.base_fees_wei[1:].count(self.wei) == len(blocks) - 1


FeeRule: TypeAlias = Eip1559 | OpStack | FixedFee

MAINNET_FEE: Final = Eip1559()
