"""Fields of all blocks of a time range, as columns: from the headers' bytes where these are."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import DataNotYet, SeriesIncomplete
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.series import BlockRange, TimeRange

# Blocks that are read at once, with their bytes: some 3 MB.
PAGE = 5000

# The chain, its newest block, and the first and last block of a range.
EDGES = """
SELECT chain.chain_id, chain.simulated, chain.source,
    (SELECT timestamp FROM block_header
        WHERE number = (SELECT MAX(number) FROM block_header)) AS newest,
    (SELECT MIN(number) FROM block_header WHERE timestamp >= ? AND timestamp < ?) AS first,
    (SELECT MAX(number) FROM block_header WHERE timestamp >= ? AND timestamp < ?) AS last
FROM chain
"""

BLOCKS = """
SELECT header.number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash,
    verified, rlp
FROM block_header header LEFT JOIN raw_header raw ON raw.number = header.number
WHERE header.number BETWEEN ? AND ? ORDER BY header.number
"""

# The fields that are stored beside the bytes, by the names that they are asked for.
STORED = {"base_fee_per_gas": "base_fee_wei", "gas_used": "gas_used", "gas_limit": "gas_limit"}


@frozen
class _Block:
    number: int
    timestamp: int
    values: tuple[int, ...]
    block_hash: str | None
    parent_hash: str | None
    verified: bool


async def read_columns(
    database: Database, wanted: TimeRange, fields: Sequence[str]
) -> tuple[BlockColumns, BlockRange]:
    """Return some fields of all blocks of a range, and what is known of these blocks.

    Args:
        database: Where the headers are.
        wanted: The range, to the second.
        fields: Names of fields, as headers have them in tables.

    Raises:
        DataNotYet: There is no header at or after the range's end.
        SeriesIncomplete: Blocks are missing, or a field of one, and which.
        StoreError: The database cannot be read.
    """
    start, end = wanted.start_timestamp, wanted.end_timestamp
    found = await database.read(EDGES, [start, end, start, end])
    if not found:
        raise DataNotYet("there are no headers yet: import or simulate some")
    edges = found[0]
    if edges["newest"] is None or edges["newest"] < end:
        reached = "nothing" if edges["newest"] is None else edges["newest"]
        raise DataNotYet(
            f"the range ends at {end} and the headers reach {reached}: the job waits for a header "
            "at or after the end"
        )
    if edges["first"] is None:
        raise SeriesIncomplete(f"there is no block from {start} to {end}: import the headers")
    first, last = int(edges["first"]), int(edges["last"])
    blocks: list[_Block] = []
    # One more at each end, which shows that none is missing there.
    for begin in range(max(first - 1, 0), last + 2, PAGE):
        page = min(begin + PAGE - 1, last + 1)
        rows = await database.read(BLOCKS, [begin, page])
        blocks.extend(_block(row, fields, within=range(first, last + 1)) for row in rows)
    _require_whole(blocks, first, last, start)
    used = [block for block in blocks if first <= block.number <= last]
    verified = all(block.verified for block in used)
    columns = BlockColumns(
        chain_id=edges["chain_id"],
        simulated=bool(edges["simulated"]),
        start_timestamp=start,
        end_timestamp=end,
        first_block=first,
        timestamps=tuple(block.timestamp for block in used),
        columns={
            name: tuple(block.values[place] for block in used) for place, name in enumerate(fields)
        },
        first_hash=used[0].block_hash,
        last_hash=used[-1].block_hash,
        verified=verified,
    )
    known = BlockRange(
        first_block=first,
        last_block=last,
        first_hash=used[0].block_hash,
        last_hash=used[-1].block_hash,
        parent_hash=used[0].parent_hash,
        verified=verified,
        source=edges["source"],
    )
    return columns, known


def _block(row: Row, fields: Sequence[str], within: range) -> _Block:
    rlp = row["rlp"]
    return _Block(
        number=row["number"],
        timestamp=row["timestamp"],
        values=tuple(_values(row, rlp, fields)) if row["number"] in within else (),
        block_hash=row["block_hash"],
        parent_hash=row["parent_hash"],
        verified=rlp is not None and bool(row["verified"]),
    )


def _values(row: Row, rlp: bytes | None, fields: Sequence[str]) -> Iterator[int]:
    """Yield the values of a block: from its bytes, since a table beside them may say anything."""
    if rlp is not None:
        # Imported where it is used: few processes need RLP and keccak.
        from prover_framework.chain.rlp_header import decode_fields

        header = decode_fields(bytes(rlp))
    for name in fields:
        value: int | None
        if rlp is not None:
            found = header.get(name)
            value = found if isinstance(found, int) else None
        else:
            value = row[STORED[name]] if name in STORED else None
        if value is None:
            how = "its fork has none" if rlp is not None else "it is not stored whole"
            raise SeriesIncomplete(f"block {row['number']} has no {name}: {how}")
        yield value


def _require_whole(blocks: Sequence[_Block], first: int, last: int, start: int) -> None:
    """Require that no block of a range is missing, neither within it nor at its ends."""
    numbers = [block.number for block in blocks]
    there = set(numbers)
    if missing := [number for number in range(first, last + 1) if number not in there]:
        raise SeriesIncomplete(
            f"{len(missing)} blocks are missing, the first of them {missing[0]}: import them"
        )
    begins = next(block for block in blocks if block.number == first)
    if first - 1 not in there and first != 0 and begins.timestamp != start:
        raise SeriesIncomplete(
            f"block {first - 1} is missing: it shows that the range begins with block {first}; "
            "import it"
        )
    if last + 1 not in there:
        raise SeriesIncomplete(
            f"block {last + 1} is missing: it shows that the range ends with block {last}; import "
            "it"
        )
