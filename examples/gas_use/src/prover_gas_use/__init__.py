"""Gas use: how much gas, or blob gas, the blocks of a range use, block by block."""

from statistics import median_low
from typing import Literal

from attrs import field, frozen

from prover_framework import (
    BlockColumns,
    Inputs,
    Need,
    ProofType,
    RangeParameters,
    block_headers,
    hookimpl,
)

# The version of the hooks that this is written for.
PROVER_API = 1


@frozen(kw_only=True)
class GasUseParameters(RangeParameters):
    """Parameters of a gas use.

    Args:
        gas: Which gas: that of computation, or that of blobs (EIP-4844).
    """

    gas: Literal["gas_used", "blob_gas_used"] = field(default="gas_used")


@frozen(kw_only=True)
class GasUseResult:
    """How much gas the blocks use.

    Args:
        gas_use: Gas of all blocks together.
        blocks: How many blocks there are.
        mean: Gas of a block in the mean, rounded to a double once.
        median: Gas of the block in the middle; of two, the lower.
        highest: Gas of the block that uses most.
        highest_block: Number of that block, the first one on a tie.
        without: How many blocks use none.
    """

    gas_use: int
    blocks: int
    mean: float
    median: int
    highest: int
    highest_block: int
    without: int


def gas_use(blocks: BlockColumns, gas: str) -> GasUseResult:
    """Return how much gas blocks use.

    Args:
        blocks: Blocks with a column of that gas, at least one.
        gas: The column.
    """
    used = blocks[gas]
    total, highest = sum(used), max(used)
    return GasUseResult(
        gas_use=total,
        blocks=len(used),
        # Python divides integers with one rounding, whatever their size.
        mean=total / len(used),
        median=median_low(used),
        highest=highest,
        highest_block=blocks.first_block + used.index(highest),
        without=used.count(0),
    )


@hookimpl
def proof_type() -> ProofType[GasUseParameters, GasUseResult]:
    """Register the gas use."""
    return ProofType(
        name="gas_use",
        title="Gas Use",
        version="1",
        parameters=GasUseParameters,
        result=GasUseResult,
    )


@hookimpl
def inputs(parameters: GasUseParameters) -> dict[str, Need]:
    """Ask for one figure of each block, to the second."""
    return {"blocks": block_headers(parameters.range, [parameters.gas])}


@hookimpl
def compute(parameters: GasUseParameters, inputs: Inputs) -> GasUseResult:
    """Compute the gas use of the range's blocks."""
    return gas_use(inputs["blocks"], parameters.gas)
