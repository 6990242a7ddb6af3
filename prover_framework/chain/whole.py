"""Rows of whole headers, as the database has them, and their verification."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

from prover_framework.chain.headers import EncodedHeader, Header, HeaderColumns
from prover_framework.chain.rlp_header import read_values
from prover_framework.chain.rules import ChainRules, surely_linked
from prover_framework.chain.verification import ChainSpan, verify_chain
from prover_framework.errors import HeaderError, HeaderInvalid

# Headers with their bytes, which are NULL where they are not stored.
WHOLE = """
SELECT header.number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash, rlp
FROM block_header header LEFT JOIN raw_header raw ON raw.number = header.number
WHERE header.number BETWEEN ? AND ? ORDER BY header.number
"""

WholeRow: TypeAlias = Any
"""A row of `WHOLE`: a sequence of the fields of `Header` and the bytes."""

# How a message to and from a process that verifies begins: with the number of its bytes.
LENGTH = struct.Struct(">I")


@frozen
class Task:
    """What a process that verifies has to know.

    Args:
        where: The database; see `Database.where`.
        rules: Those of the chain.
        trusted: A block hash to look for.
    """

    where: Path | str
    rules: ChainRules
    trusted: str | None


def verify_rows(
    rows: Sequence[WholeRow], first: int, last: int, rules: ChainRules, trusted: str | None = None
) -> ChainSpan:
    """Verify stored headers as `verify_chain` does.

    Args:
        rows: What `WHOLE` has found of the blocks.
        first: The first of the blocks.
        last: The last of them, not before it.
        rules: Those of the chain.
        trusted: A block hash to look for.

    Raises:
        HeaderError: Only a part of a header is stored, or nothing at all, and of which.
        HeaderInvalid: Block, field and rule of the first header that is wrong.
    """
    require_whole(rows, first, last)
    span = _sure_span(rows, rules, trusted)
    if span is None:
        headers = (EncodedHeader(Header(*row[:-1]), bytes(row[-1])) for row in rows)
        span = verify_chain(headers, rules, trusted)
    if span is None:
        raise ValueError(f"there are no blocks from {first} to {last}")
    return span


def require_whole(rows: Sequence[WholeRow], first: int, last: int) -> None:
    """Require that all headers of some blocks are stored with their bytes.

    Raises:
        HeaderError: One is not, and which.
    """
    expected = first
    for row in rows:
        if row[0] != expected or row[-1] is None:
            break
        expected += 1
    if expected <= last:
        raise HeaderError(
            f'block {expected} is not stored whole: "prover headers sync" or an import '
            "with all columns brings what is missing"
        )


def _sure_span(
    rows: Sequence[WholeRow], rules: ChainRules, trusted: str | None
) -> ChainSpan | None:
    """Return what headers span that surely obey the rules; None where that is not sure.

    It looks at whole columns; `verify_chain` looks at each header and names what is wrong.
    """
    *columns, encoded = zip(*rows, strict=True)
    try:
        if list(map(read_values, encoded)) != list(zip(*columns, strict=True)):
            return None
    except HeaderInvalid:
        return None
    blocks = HeaderColumns(*columns)
    if not surely_linked(blocks, rules):
        return None
    hashes = blocks.block_hashes or ()
    found = blocks.numbers[hashes.index(trusted)] if trusted in hashes else None
    return ChainSpan(blocks.header(0), blocks.header(len(blocks) - 1), found, encoded[-1])
