"""Gas use: how much gas, or blob gas, the blocks of a range use, block by block."""

from statistics import median_low
from typing import Literal

from attrs import field, frozen

from prover_framework import (
    BlockColumns,
    Inputs,
    Limits,
    Need,
    ProofError,
    ProofType,
    RangeParameters,
    Work,
    block_headers,
    hookimpl,
)

# The version of the hooks that this is written for.
PROVER_API = 1

# The figures of all blocks, as they are attached: a line for each.
TABLE = "blocks.csv"

# A line has 22 bytes at the most: a number of a block, one of gas, a comma and an end. A year of
# mainnet has 2.6 million blocks.
MAX_BLOCKS = 3_000_000
TABLE_BYTES = 64 * 2**20


class TooManyBlocks(ProofError):
    """The table of the range's blocks would be larger than what is attached to a result."""

    code = "gas_use.too_many_blocks"


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
        limits=Limits(attachments=1, attachment_bytes=TABLE_BYTES, attachments_bytes=TABLE_BYTES),
    )


@hookimpl
def inputs(parameters: GasUseParameters) -> dict[str, Need]:
    """Ask for one figure of each block, to the second."""
    return {"blocks": block_headers(parameters.range, [parameters.gas])}


@hookimpl
def compute(parameters: GasUseParameters, inputs: Inputs, work: Work) -> GasUseResult:
    """Compute the gas use of the range's blocks, and attach the figure of each."""
    blocks: BlockColumns = inputs["blocks"]
    used = blocks[parameters.gas]
    if len(used) > MAX_BLOCKS:
        raise TooManyBlocks(f"the range has {len(used)} blocks, more than {MAX_BLOCKS}")
    with work.attach(TABLE, "text/csv") as table:
        table.write(f"block,{parameters.gas}\n".encode())
        for number, gas in enumerate(used, blocks.first_block):
            table.write(b"%d,%d\n" % (number, gas))
    return gas_use(blocks, parameters.gas)
