"""Takes headers into the database: compared with what is stored, and verified where they are whole.

A header counts as verified if its hash is that of its own bytes, its parent hash is that of the
stored block before it, and its base fee follows from that block. This is found out as headers come
in, and again for a stored block that gets the block before it.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import islice, pairwise
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from prover_framework.chain.headers import Batch, EncodedHeader, Header, HeaderColumns, differences
from prover_framework.chain.rules import (
    ChainRules,
    begins_chain,
    check_gas,
    check_link,
    check_time,
    surely_linked,
)
from prover_framework.database.engine import Connection, Row
from prover_framework.errors import (
    HeaderConflict,
    HeaderError,
    HeaderInvalid,
    HeaderRule,
    NumberTooLarge,
)
from prover_framework.model.names import MAX_INT64
from prover_framework.model.series import HOUR_SECONDS

# Headers of one transaction: enough to make the cost of a commit small, few enough for somebody who
# wants to write to the same file of SQLite to get in between within some tens of milliseconds, and
# for memory to stay flat.
CHUNK = 4000

COLUMNS = (
    "number",
    "timestamp",
    "base_fee_wei",
    "gas_used",
    "gas_limit",
    "block_hash",
    "parent_hash",
    "verified",
)

# The bytes are looked up for each header: a server without statistics would go through all of them.
KNOWN = """
SELECT header.number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash,
    verified, (SELECT raw.number FROM raw_header raw WHERE raw.number = header.number) AS whole
FROM block_header header
"""

# What is stored of the numbers of one chunk, to be compared with the chunk before it goes in.
BETWEEN = KNOWN + "WHERE header.number BETWEEN ? AND ?"

# The nearest stored blocks on either side of it.
BEFORE = KNOWN + "WHERE header.number < ? ORDER BY header.number DESC LIMIT 1"
AFTER = KNOWN + "WHERE header.number > ? ORDER BY header.number LIMIT 1"

FILL = """
UPDATE block_header
SET gas_used = ?, gas_limit = ?, block_hash = ?, parent_hash = ?, verified = ? WHERE number = ?
"""

# What the headers of each hour add up to.
SUMS = """
SELECT timestamp - timestamp % 3600 AS hour, CAST(SUM(base_fee_wei) AS BIGINT) AS sum_wei,
    COUNT(*) AS count, SUM(CASE WHEN verified THEN 1 ELSE 0 END) AS verified_count,
    MIN(number) AS first_block, MAX(number) AS last_block
FROM block_header WHERE timestamp BETWEEN ? AND ?
GROUP BY timestamp - timestamp % 3600
"""

SUM_UP = f"""
INSERT INTO hourly_base_fee (hour, sum_wei, count, verified_count, first_block, last_block)
{SUMS}
ON CONFLICT (hour) DO UPDATE SET
    sum_wei = excluded.sum_wei, count = excluded.count,
    verified_count = excluded.verified_count,
    first_block = excluded.first_block, last_block = excluded.last_block
"""

# Its one row has the number 1, so that two writers cannot make two.
STORED_CHAIN = "SELECT chain_id, simulated, source FROM chain WHERE id = 1"
BEGIN_CHAIN = """
INSERT INTO chain (id, chain_id, simulated, source, data_version) VALUES (1, ?, ?, ?, ?)
"""
GO_ON_WITH_CHAIN = "UPDATE chain SET source = ?, data_version = ? WHERE id = 1"

BYTES = "SELECT number, rlp FROM raw_header WHERE number BETWEEN ? AND ?"

SPAN = """
SELECT COUNT(*) AS count, MAX(number) AS last, MIN(timestamp) AS first_time,
    MAX(timestamp) AS last_time
FROM (
    SELECT number, timestamp FROM block_header WHERE number BETWEEN ? AND ?
    ORDER BY number LIMIT ?
) AS part
"""
COUNT = "SELECT COUNT(*) AS count FROM block_header WHERE number BETWEEN ? AND ?"
REMOVE = "DELETE FROM block_header WHERE number BETWEEN ? AND ?"
REMOVE_RAW = "DELETE FROM raw_header WHERE number BETWEEN ? AND ?"
REMOVE_HOURS = "DELETE FROM hourly_base_fee WHERE hour BETWEEN ? AND ?"
UNVERIFY = "UPDATE block_header SET verified = FALSE WHERE number = ?"


@frozen
class ChainFacts:
    """Which chain the database holds.

    Args:
        chain_id: Its id (EIP-155).
        simulated: Whether it is a simulation.
        source: What the headers were last taken from, for people.
    """

    chain_id: int
    simulated: bool
    source: str


class Unverified(StrEnum):
    """Why a header that came in is not verified."""

    FIELDS = "not all of their fields are there"
    PARENT = "the block before is not stored"
    PARENT_FIELDS = "of the block before, the hash or the gas is not known"
    PARAMETERS = "the block before does not say how the base fee goes on"


@frozen
class ImportReport:
    """What an import came to.

    Args:
        read: How many headers came.
        new: How many of them were not there before.
        verified: How many of them are verified now.
        replaced: How many stored headers gave way to those of another branch of the chain.
        unverified: Why the others are not verified, and how many for each reason.
    """

    read: int
    new: int
    verified: int = 0
    replaced: int = 0
    unverified: tuple[tuple[Unverified, int], ...] = field(default=(), eq=False)

    def __add__(self, other: "ImportReport") -> "ImportReport":
        """Sum up two parts of an import."""
        return ImportReport(
            self.read + other.read,
            self.new + other.new,
            self.verified + other.verified,
            self.replaced + other.replaced,
            tuple((Counter(dict(self.unverified)) + Counter(dict(other.unverified))).most_common()),
        )


@define
class _Block:
    """A block of a chunk or beside it, as it will be stored.

    Args:
        header: What is kept of it.
        rlp: Its bytes, if they have come now.
        whole: Whether its bytes are stored or have come.
        verified: Whether it is verified.
        stored: What is kept of it so far, if it is stored.
        was_verified: Whether it has been verified so far.
        stored_rlp: Its bytes, if they are stored and have been read.
        unverified: Why it is not verified, where that is so.
    """

    header: Header
    rlp: bytes | None = None
    whole: bool = False
    verified: bool = False
    stored: Header | None = None
    was_verified: bool = False
    stored_rlp: bytes | None = None
    unverified: Unverified | None = None


Chunk: TypeAlias = HeaderColumns | Sequence[_Block]
"""Some headers of an import, as `read_chunk` has read them. Columns obey all rules of the chain, as
far as the headers beside them do not matter."""


class HeaderImport:
    """A part of an import that goes in whole or not at all, in one transaction of its own."""

    def __init__(self, connection: Connection, facts: ChainFacts, rules: ChainRules) -> None:
        self._connection = connection
        self._facts = facts
        self._rules = rules
        self._unverified: Counter[Unverified] = Counter()
        self._read = self._new = self._verified = self._replaced = 0
        self._first: int | None = None
        self._last = 0

    async def begin(self) -> None:
        """Wait until no other import is under way, and claim the database for the chain."""
        # Two imports at once would each sum up hours without the other's blocks.
        await self._connection.lock("headers")
        await _claim_chain(self._connection, self._facts)

    async def drop_after(self, number: int) -> None:
        """Drop the blocks after one that is stored: they are of a branch that was given up."""
        found = await self._connection.fetch(BETWEEN, [number, number])
        if not found:
            raise HeaderError(f"block {number} is not stored, so nothing can replace what follows")
        timestamp = found[0]["timestamp"]
        if number < MAX_INT64:
            # Bounded at both ends: what is not, a server without statistics takes for a third of
            # the table, and goes through all of it.
            following = [number + 1, MAX_INT64]
            (dropped,) = await self._connection.fetch(COUNT, following)
            self._replaced = dropped["count"]
            await self._connection.fetch(REMOVE_RAW, following)
            await self._connection.fetch(REMOVE, following)
            hour = timestamp - timestamp % HOUR_SECONDS
            await self._connection.fetch(REMOVE_HOURS, [hour + 1, MAX_INT64])
        # What is left of its hour has another sum.
        self._touch(timestamp)

    async def take(self, blocks: Chunk) -> None:
        """Take in a chunk of blocks, as `read_chunk` makes them.

        Raises:
            HeaderConflict: They contradict those that are stored.
            HeaderInvalid: One breaks a rule of the chain.
        """
        if isinstance(blocks, HeaderColumns):
            first, last = blocks.numbers[0], blocks.numbers[-1]
        else:
            first, last = blocks[0].header.number, blocks[-1].header.number
        stored = await self._connection.fetch(BETWEEN, [first, last])
        before = [_known(row) for row in await self._connection.fetch(BEFORE, [first])]
        after = [_known(row) for row in await self._connection.fetch(AFTER, [last])]
        try:
            if not isinstance(blocks, HeaderColumns):
                await self._take(blocks, stored, before, after)
            elif stored or self._rules.needs_bytes:
                await self._take(list(map(_Block, blocks)), stored, before, after)
            else:
                await self._take_columns(blocks, before, after)
        except HeaderConflict as error:
            raise HeaderConflict(f"{error}; nothing from block {first} on was imported") from None

    async def _take_columns(
        self, blocks: HeaderColumns, before: Sequence[_Block], after: Sequence[_Block]
    ) -> None:
        """Take in headers between which nothing is stored; only those at the ends can be wrong."""
        self._verify([*before, _Block(blocks.header(0))], begin=len(before))
        self._verify([_Block(blocks.header(len(blocks) - 1)), *after], begin=1)
        there = [
            (name, column)
            for name, column in zip(COLUMNS, blocks.columns, strict=False)
            if column is not None
        ]
        names, columns = zip(*there, strict=True)
        # What is not there has a default.
        await self._connection.copy("block_header", names, zip(*columns, strict=True))
        for timestamp in (blocks.timestamps[0], blocks.timestamps[-1]):
            self._touch(timestamp)
        await self._write(after)
        self._new += len(blocks)
        self._read += len(blocks)
        self._unverified[Unverified.FIELDS] += len(blocks)

    async def _take(
        self,
        blocks: Sequence[_Block],
        stored: Sequence[Row],
        before: Sequence[_Block],
        after: Sequence[_Block],
    ) -> None:
        known = {row["number"]: _known(row) for row in stored}
        for block in blocks:
            if block.header.number in known:
                _merge(block, known.pop(block.header.number))
        if known:
            line: Sequence[_Block] = sorted(
                [*blocks, *known.values()], key=lambda block: block.header.number
            )
        else:
            line = blocks
        if self._rules.needs_bytes:
            await self._read_bytes([*before, *line])
        self._verify([*before, *line, *after], begin=len(before))
        await self._write([*line, *after])
        self._read += len(blocks)
        self._verified += sum(block.verified for block in blocks)
        self._unverified.update(
            block.unverified for block in blocks if block.unverified and not block.verified
        )

    async def finish(self) -> ImportReport:
        """Bring the hourly sums up to date.

        Raises:
            HeaderError: The sum of an hour is too large.
        """
        if self._first is not None:
            begin = self._first - self._first % HOUR_SECONDS
            end = min(self._last - self._last % HOUR_SECONDS + HOUR_SECONDS - 1, MAX_INT64)
            try:
                await self._connection.fetch(SUM_UP, [begin, end])
            except NumberTooLarge:
                raise HeaderError(
                    "the base fees of one hour add up to more than 2^63 - 1 wei: "
                    "these cannot be base fees in wei"
                ) from None
        return ImportReport(
            self._read,
            self._new,
            self._verified,
            self._replaced,
            tuple(self._unverified.most_common()),
        )

    async def _read_bytes(self, line: Sequence[_Block]) -> None:
        """Read the stored bytes of blocks, where those after them need them."""
        lacking = {b.header.number: b for b in line if b.whole and b.rlp is None}
        if lacking:
            for row in await self._connection.fetch(BYTES, [min(lacking), max(lacking)]):
                if block := lacking.get(row["number"]):
                    block.stored_rlp = bytes(row["rlp"])

    def _verify(self, line: Sequence[_Block], *, begin: int) -> None:
        """Check each block against the one before, from a place of the line on."""
        if begin == 0:
            self._verify_first(line[0])
        for before, block in pairwise(line):
            header, previous = block.header, before.header
            if header.number != previous.number + 1:
                self._require_later(previous, header)
                self._verify_first(block)
                continue
            rlp = before.stored_rlp if before.rlp is None else before.rlp
            try:
                complete = check_link(previous, header, self._rules, rlp)
            except HeaderInvalid as error:
                raise _told(error, previous, header, whole=block.whole) from None
            block.verified = block.whole and complete
            if not block.verified:
                block.unverified = _why(previous, self._rules) if block.whole else Unverified.FIELDS

    def _verify_first(self, block: _Block) -> None:
        """Check a block without the one before it."""
        block.verified = begins_chain(block.header, self._rules, whole=block.whole) and block.whole
        block.unverified = Unverified.PARENT if block.whole else Unverified.FIELDS

    def _require_later(self, before: Header, header: Header) -> None:
        try:
            check_time(before, header, self._rules)
        except HeaderInvalid as error:
            raise _told(error, before, header, whole=True) from None

    async def _write(self, line: Sequence[_Block]) -> None:
        fresh = [block for block in line if block.stored is None]
        changed = [
            block
            for block in line
            if block.stored is not None
            and (block.header != block.stored or block.verified != block.was_verified)
        ]
        if fresh:
            await self._connection.copy(
                "block_header", COLUMNS, [_row(block.header, block.verified) for block in fresh]
            )
        if changed:
            await self._connection.run_many(
                FILL,
                [
                    [*_row(block.header, block.verified)[3:], block.header.number]
                    for block in changed
                ],
            )
        raw = [(block.header.number, block.rlp) for block in line if block.rlp is not None]
        if raw:
            await self._connection.copy("raw_header", ("number", "rlp"), raw)
        for block in (*fresh[:1], *fresh[-1:], *changed[:1], *changed[-1:]):
            self._touch(block.header.timestamp)
        self._new += len(fresh)

    def _touch(self, timestamp: int) -> None:
        """Note that the sums of an hour have to be brought up to date, and those in between."""
        self._first = timestamp if self._first is None else min(self._first, timestamp)
        self._last = max(self._last, timestamp)


async def remove_headers(connection: Connection, first: int, last: int) -> tuple[int, int | None]:
    """Take blocks out in a transaction, as many as go in at once, from the first of some on.

    Returns:
        How many there were, and the last of them.
    """
    await connection.lock("headers")
    (span,) = await connection.fetch(SPAN, [first, last, CHUNK])
    if not span["count"]:
        return 0, None
    last = span["last"]
    await connection.fetch(REMOVE_RAW, [first, last])
    await connection.fetch(REMOVE, [first, last])
    if last < MAX_INT64:
        await connection.fetch(UNVERIFY, [last + 1])
    begin = span["first_time"] - span["first_time"] % HOUR_SECONDS
    # The block after the last may be in the next hour, and its being verified is counted there.
    end = span["last_time"] - span["last_time"] % HOUR_SECONDS
    after = await connection.fetch(AFTER, [last])
    if after and after[0]["number"] == last + 1:
        end = after[0]["timestamp"] - after[0]["timestamp"] % HOUR_SECONDS
    await connection.fetch(REMOVE_HOURS, [begin, end])
    await connection.fetch(SUM_UP, [begin, min(end + HOUR_SECONDS - 1, MAX_INT64)])
    if not await connection.fetch("SELECT number FROM block_header LIMIT 1", []):
        await connection.fetch("DELETE FROM chain", [])
    await connection.fetch("UPDATE chain SET data_version = ?", [_new_version()])
    return int(span["count"]), int(last)


def batches_of(headers: Iterable[Header | EncodedHeader]) -> Iterator[Batch]:
    """Yield headers in batches."""
    iterator = iter(headers)
    while batch := list(islice(iterator, CHUNK)):
        yield batch


def cut(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the headers of batches in others, each of as many as go in at once."""
    kept: Batch = []
    for batch in batches:
        if not kept:
            kept = batch
        elif isinstance(kept, HeaderColumns) and isinstance(batch, HeaderColumns):
            kept = kept.joined(batch)
        else:
            kept = [*kept, *batch]
        begin = 0
        while len(kept) - begin >= CHUNK:
            yield _part(kept, begin, begin + CHUNK)
            begin += CHUNK
        if begin:
            kept = _part(kept, begin, len(kept))
    if kept:
        yield kept


def _part(batch: Batch, begin: int, end: int) -> Batch:
    return batch.part(begin, end) if isinstance(batch, HeaderColumns) else batch[begin:end]


def read_chunk(batches: Iterator[Batch], rules: ChainRules) -> Chunk:
    """Read the next headers and check each by itself; none are left when the list is empty.

    Args:
        batches: Of as many headers as go in at once; see `cut`.
        rules: Those of the chain.

    Raises:
        HeaderInvalid: One that is whole does not have its hash.
        HeaderError: They are not in order, or their source is malformed.
    """
    batch = next(batches, [])
    columns = _columns(batch)
    if columns is not None and surely_linked(columns, rules):
        return columns
    blocks = list(map(_incoming, batch))
    for before, block in pairwise(blocks):
        if block.header.number <= before.header.number:
            raise HeaderError(
                f"block {block.header.number} comes after block {before.header.number}: headers "
                "come once each, in the order of their numbers"
            )
    return blocks


def _columns(batch: Batch) -> HeaderColumns | None:
    """Return headers in columns; None if there are none or one of them is whole."""
    if isinstance(batch, HeaderColumns):
        return batch
    headers = [header for header in batch if isinstance(header, Header)]
    return HeaderColumns.of(headers) if headers and len(headers) == len(batch) else None


def require_chain(stored: ChainFacts | None, facts: ChainFacts) -> None:
    """Require that headers are of the chain that is stored, if one is.

    Raises:
        HeaderConflict: They are not.
    """
    if stored is None:
        return
    if (stored.chain_id, stored.simulated) != (facts.chain_id, facts.simulated):
        raise HeaderConflict(
            f"this database holds {_chain_name(stored)} and the headers are of "
            f"{_chain_name(facts)}: use another database (PROVER_DATA_DIR)"
        )


async def _claim_chain(connection: Connection, facts: ChainFacts) -> None:
    found = await connection.fetch(STORED_CHAIN)
    if not found:
        values = [facts.chain_id, facts.simulated, facts.source, _new_version()]
        await connection.fetch(BEGIN_CHAIN, values)
        return
    ((chain_id, simulated, source),) = found
    require_chain(ChainFacts(chain_id, simulated=bool(simulated), source=source), facts)
    await connection.fetch(GO_ON_WITH_CHAIN, [facts.source, _new_version()])


def _new_version() -> str:
    """Return a data version that there has not been, not even of a chain that is gone."""
    return secrets.token_hex(8)


def _told(
    error: HeaderInvalid, before: Header, header: Header, *, whole: bool
) -> HeaderConflict | HeaderInvalid:
    """Return what is wrong between two blocks: as a rule it is one contradicting the other."""
    if error.rule is HeaderRule.TIMESTAMP:
        return HeaderConflict(
            f"block {header.number} has timestamp {header.timestamp}, which is not after "
            f"that of block {before.number} ({before.timestamp})"
        )
    if error.rule is HeaderRule.PARENT and not whole:
        return HeaderConflict(
            f"block {header.number} has the parent hash {header.parent_hash}, and the hash of "
            f"block {before.number} is {before.block_hash}"
        )
    return error


def _why(parent: Header, rules: ChainRules) -> Unverified:
    """Return what keeps a block with all its fields from being verified, if anything does."""
    if parent.block_hash is None or parent.gas_used is None or parent.gas_limit is None:
        return Unverified.PARENT_FIELDS
    return Unverified.PARAMETERS if rules.fees else Unverified.PARENT_FIELDS


def _chain_name(facts: ChainFacts) -> str:
    return f"{'simulated ' if facts.simulated else ''}chain {facts.chain_id}"


def _incoming(item: Header | EncodedHeader) -> _Block:
    if isinstance(item, Header):
        check_gas(item)
        return _Block(item)
    # Imported where it is used: RLP and keccak take 20 MB, and most processes need neither.
    from prover_framework.chain.verification import check_header

    return _Block(check_header(item), item.rlp, whole=True)


def _known(row: Row) -> _Block:
    *values, verified, whole = row
    header = Header(*values)
    return _Block(
        header,
        whole=whole is not None,
        verified=bool(verified),
        stored=header,
        was_verified=bool(verified),
    )


def _merge(block: _Block, known: _Block) -> None:
    """Let a block that comes have what is stored of it already.

    Raises:
        HeaderConflict: They contradict each other.
    """
    ours, theirs = block.header, known.header
    if different := list(differences(ours, theirs)):
        raise HeaderConflict(
            f"block {ours.number} is stored with other values: "
            + ", ".join(f"{column} {mine} (stored: {other})" for column, mine, other in different)
            + f'. If what is stored is wrong, "prover headers remove --from-block {ours.number} '
            f'--to-block {ours.number}", or more, takes it out'
        )
    block.header = evolve(
        ours,
        gas_used=theirs.gas_used if ours.gas_used is None else ours.gas_used,
        gas_limit=theirs.gas_limit if ours.gas_limit is None else ours.gas_limit,
        block_hash=theirs.block_hash if ours.block_hash is None else ours.block_hash,
        parent_hash=theirs.parent_hash if ours.parent_hash is None else ours.parent_hash,
    )
    block.stored = known.stored
    block.was_verified = known.was_verified
    if known.whole:
        block.whole, block.rlp = True, None


def _row(header: Header, verified: bool) -> list[object]:  # noqa: FBT001
    """Return the values of `COLUMNS`."""
    return [
        header.number,
        header.timestamp,
        header.base_fee_wei,
        header.gas_used,
        header.gas_limit,
        header.block_hash,
        header.parent_hash,
        verified,
    ]
