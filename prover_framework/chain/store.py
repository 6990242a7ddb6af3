"""Headers and their hourly sums in the database: taken in whole, read by the hour."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Self

import attrs
from attrs import frozen

from prover_framework.chain import ingest
from prover_framework.chain.columns import read_columns
from prover_framework.chain.headers import Batch, EncodedHeader, Header
from prover_framework.chain.ingest import (
    SUMS,
    Chunk,
    HeaderImport,
    batches_of,
    cut,
    read_chunk,
    remove_headers,
)
from prover_framework.chain.ingest import ChainFacts as ChainFacts  # for those who import
from prover_framework.chain.ingest import ImportReport as ImportReport
from prover_framework.chain.ingest import require_chain as require_chain
from prover_framework.chain.rule_book import RuleBook
from prover_framework.chain.rules import ChainRules
from prover_framework.chain.shared_series import ReadSeries, SharedSeries, Wanted
from prover_framework.database.batching import Batcher
from prover_framework.database.database import Database
from prover_framework.database.engine import Row
from prover_framework.errors import (
    DataNotYet,
    HeaderError,
    SeriesIncomplete,
)
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.names import MAX_INT64
from prover_framework.model.series import (
    HOUR_SECONDS,
    BlockRange,
    HourlySeries,
    SeriesKind,
    TimeRange,
)

# Jobs that begin within so long of one another may look at the chain together.
LOOK_SECONDS = 0.05

# From this many new headers on, the database is told to look at its tables anew.
BULK = 100_000
TABLES = ("block_header", "raw_header", "hourly_base_fee")

# An error names this many missing hours and counts the others.
SHOWN_HOURS = 5

# An error names this many ranges of missing blocks; the status of the headers has all of them.
SHOWN_HOLES = 5

# A status names this many gaps; whoever has more of them wants to know that first.
SHOWN_GAPS = 20

STORED = """
SELECT number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash
FROM block_header WHERE number BETWEEN ? AND ? ORDER BY number
"""

CHAIN = "SELECT chain_id, simulated, source FROM chain"

NEWEST = """
SELECT number, timestamp FROM block_header WHERE number = (SELECT MAX(number) FROM block_header)
"""

# In one statement, since every job asks for all of it.
CHAIN_AND_NEWEST = """
SELECT chain.chain_id, chain.simulated, chain.source, chain.data_version,
    newest.number, newest.timestamp, newest.block_hash
FROM chain LEFT JOIN block_header AS newest
    ON newest.number = (SELECT MAX(number) FROM block_header)
"""

# The hours of a range, the timestamps of three blocks that show whether the outer hours are whole
# (the one before the first, the first, and the one after the last), and the hashes at both ends.
# One statement sees one state of the database, so that an import in between cannot make old sums
# look complete.
SERIES = """
SELECT hour, sum_wei, count, verified_count, first_block, last_block,
    CASE WHEN hour = ? THEN
        (SELECT timestamp FROM block_header WHERE number = first_block - 1) END AS time_before,
    CASE WHEN hour = ? THEN
        (SELECT timestamp FROM block_header WHERE number = first_block) END AS time_first,
    CASE WHEN hour = ? THEN
        (SELECT block_hash FROM block_header WHERE number = first_block) END AS first_hash,
    CASE WHEN hour = ? THEN
        (SELECT parent_hash FROM block_header WHERE number = first_block) END AS parent_hash,
    CASE WHEN hour = ? THEN
        (SELECT block_hash FROM block_header WHERE number = last_block) END AS last_hash,
    CASE WHEN hour = ? THEN
        (SELECT timestamp FROM block_header
         WHERE number = NULLIF(last_block, 9223372036854775807) + 1) END AS time_after,
    CASE WHEN hour = ? THEN (SELECT data_version FROM chain) END AS data_version
FROM hourly_base_fee WHERE hour >= ? AND hour < ? ORDER BY hour
"""

# Hours whose sums are not those of their headers, and hours that only one side has.
SUMS_KEPT = """
SELECT hour, sum_wei, count, verified_count, first_block, last_block FROM hourly_base_fee
WHERE hour BETWEEN ? AND ?
"""
WRONG_HOURS = f"""
SELECT DISTINCT hour FROM (SELECT * FROM ({SUMS}) AS sums UNION ALL {SUMS_KEPT}) AS both_sides
GROUP BY hour, sum_wei, count, verified_count, first_block, last_block HAVING COUNT(*) <> 2
ORDER BY hour
"""  # noqa: S608 - no value of anyone's

# What is kept of blocks, or of their bytes, counted and looked up by number.
SPAN = {
    True: "SELECT COUNT(*) AS count, MAX(number) AS newest FROM raw_header "
    "WHERE number BETWEEN ? AND ?",
    False: "SELECT COUNT(*) AS count, MAX(number) AS newest FROM block_header "
    "WHERE number BETWEEN ? AND ?",
}
COUNT = {
    True: "SELECT COUNT(*) AS count FROM raw_header WHERE number BETWEEN ? AND ?",
    False: ingest.COUNT,
}
NEXT = {
    True: "SELECT MIN(number) AS next FROM raw_header WHERE number > ?",
    False: "SELECT MIN(number) AS next FROM block_header WHERE number > ?",
}

RLP = "SELECT rlp FROM raw_header WHERE number = ?"

NUMBER_OF = "SELECT number FROM block_header WHERE block_hash = ?"

# Hours that are not whole, or do not follow on the ones before.
UNEVEN = """
SELECT previous_last, first_block, last_block FROM (
    SELECT hour, count, first_block, last_block,
        LAG(hour) OVER (ORDER BY hour) AS previous_hour,
        LAG(last_block) OVER (ORDER BY hour) AS previous_last
    FROM hourly_base_fee
) AS hours
WHERE last_block - first_block + 1 <> count
    OR first_block <> previous_last + 1
    OR hour <> previous_hour + 3600
ORDER BY hour
"""

TOTALS = """
SELECT COUNT(*) AS hours, SUM(count) AS count, SUM(verified_count) AS verified,
    MIN(first_block) AS first_block, MAX(last_block) AS last_block
FROM hourly_base_fee
"""

# The newest hours alone: however long the chain, that is a bounded part of it.
RECENT = """
SELECT SUM(count) AS count, SUM(verified_count) AS verified,
    MIN(first_block) AS first_block, MAX(last_block) AS last_block
FROM (
    SELECT count, verified_count, first_block, last_block
    FROM hourly_base_fee ORDER BY hour DESC LIMIT ?
) AS recent
"""
RECENT_HOURS = 7 * 24


@frozen
class Gap:
    """Blocks or whole hours that are missing between two stored blocks.

    Args:
        after_block: The last block before the gap.
        before_block: The first block after it.
        from_timestamp: Unix seconds of the former.
        to_timestamp: Unix seconds of the latter.
    """

    after_block: int
    before_block: int
    from_timestamp: int
    to_timestamp: int

    @property
    def missing_blocks(self) -> int:
        """How many blocks are missing."""
        return self.before_block - self.after_block - 1

    @property
    def missing_hours(self) -> int:
        """How many whole hours have no block."""
        hours = self.to_timestamp // HOUR_SECONDS - self.from_timestamp // HOUR_SECONDS
        return max(hours - 1, 0)


@frozen(kw_only=True)
class HeaderStatus:
    """What headers there are.

    Args:
        chain: The chain they belong to.
        count: How many there are.
        verified: How many of them are verified.
        hours: How many hours have at least one.
        first_block: The lowest number.
        last_block: The highest number.
        first_timestamp: Unix seconds of the former.
        last_timestamp: Unix seconds of the latter.
        gaps: What is missing in between, from the beginning and not more than were asked for.
    """

    chain: ChainFacts
    count: int
    verified: int
    hours: int
    first_block: int
    last_block: int
    first_timestamp: int
    last_timestamp: int
    gaps: tuple[Gap, ...]

    @property
    def missing_blocks(self) -> int:
        """How many blocks are missing in between, in all gaps."""
        return self.last_block - self.first_block + 1 - self.count

    @property
    def missing_hours(self) -> int:
        """How many whole hours in between have no block, in all gaps."""
        spanned = self.last_timestamp // HOUR_SECONDS - self.first_timestamp // HOUR_SECONDS + 1
        return spanned - self.hours


@frozen(kw_only=True)
class RecentHeaders:
    """The headers of the newest week that there is.

    Args:
        chain: The chain they belong to.
        count: How many there are.
        verified: How many of them are verified.
        missing_blocks: How many are missing between the first and the last of them.
        newest_block: The number of the newest.
        newest_timestamp: Its Unix seconds.
    """

    chain: ChainFacts
    count: int
    verified: int
    missing_blocks: int
    newest_block: int
    newest_timestamp: int


class HeadersSince:
    """The headers as they were at any time since a moment, for jobs that begin together.

    A worker takes jobs by tens, and each would look at the chain: that costs more than the rest of
    a small job's data. So a job makes do with a look of a job before it, if it had this one already
    when that look began. What was stored before a job was taken is seen by it in any case.

    Args:
        store: All headers.
        moment: By the event loop's clock.
    """

    def __init__(self, store: "HeaderStore", moment: float) -> None:
        self._store = store
        self._moment = moment

    async def series_and_blocks(self, wanted: TimeRange) -> tuple[HourlySeries, BlockRange]:
        """Return the hourly base fees of a range; see `HeaderStore.series_and_blocks`."""
        return await self._store.series_and_blocks(wanted, since=self._moment)

    async def block_columns(
        self, wanted: TimeRange, fields: Sequence[str]
    ) -> tuple[BlockColumns, BlockRange]:
        """Return some fields of all blocks of a range; see `HeaderStore.block_columns`."""
        return await self._store.block_columns(wanted, fields)

    async def wrong_hours(self, first_timestamp: int, last_timestamp: int) -> list[int]:
        """Return hours whose sums are wrong; see `HeaderStore.wrong_hours`."""
        return await self._store.wrong_hours(first_timestamp, last_timestamp)


class HeaderStore:
    """The headers of one chain.

    Args:
        database: Where they are.
        on_new: Awaited after headers have come in: jobs that wait for them go on. A store that is
            only read needs none.
        rules: The rules of chains; those that are built in unless given.
        look_seconds: For how long a look at the chain may serve jobs that were there when it began.
    """

    def __init__(
        self,
        database: Database,
        on_new: Callable[[], Awaitable[object]] | None = None,
        rules: RuleBook | None = None,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._look_seconds = look_seconds
        self._database = database
        self._on_new = on_new
        self._rules = rules or RuleBook()
        self._shared = SharedSeries()
        # Jobs that begin at the same time look at the chain together.
        self._look: Batcher[None, Row | None] = Batcher(self._look_for_all)
        # The last look, and when it began by the event loop's clock.
        self._looked: tuple[float, Row | None] = -math.inf, None

    def rules_of(self, facts: ChainFacts) -> ChainRules:
        """Return the rules that headers of a chain are checked by."""
        return self._rules.rules_of(facts.chain_id, simulated=facts.simulated)

    async def rules(self) -> ChainRules:
        """Return the rules of the chain that is stored.

        Raises:
            HeaderError: There is none.
            StoreError: The database cannot be read.
        """
        facts = await self.chain()
        if facts is None:
            raise HeaderError("there are no headers")
        return self.rules_of(facts)

    async def import_headers(
        self,
        headers: Iterable[Header | EncodedHeader],
        facts: ChainFacts,
        on_progress: Callable[[int], None] | None = None,
        *,
        replace_after: int | None = None,
    ) -> ImportReport:
        """Take in headers; those that are whole are verified.

        They go in by parts, each whole and with its hourly sums, so that others can write in
        between. What fails leaves the parts before it: the same import again goes on from there. A
        branch goes in at once, together with what it replaces.

        Args:
            headers: In the order of their numbers, each once.
            facts: The chain they belong to.
            on_progress: Told how many were read so far.
            replace_after: A stored block after which the chain has another branch now: what is
                stored of the old one gives way.

        Raises:
            HeaderConflict: They belong to another chain than the stored ones or contradict them.
            HeaderInvalid: One that is whole breaks a rule of the chain.
            HeaderError: Their source is malformed.
            StoreError: The database refused.
        """
        return await self.import_batches(
            batches_of(headers), facts, on_progress, replace_after=replace_after
        )

    async def import_batches(
        self,
        batches: Iterable[Batch],
        facts: ChainFacts,
        on_progress: Callable[[int], None] | None = None,
        *,
        replace_after: int | None = None,
    ) -> ImportReport:
        """Take in headers as `import_headers` does, which come many at a time, some in columns."""
        report = ImportReport(0, 0)
        try:
            async with aclosing(_chunks(cut(batches), self.rules_of(facts))) as chunks:
                parts = self._import_parts(chunks, facts, replace_after)
                async with aclosing(parts):
                    async for part in parts:
                        report += part
                        if on_progress and part.read:
                            on_progress(report.read)
            if report.new >= BULK:
                await self._database.analyze(TABLES)
        finally:
            if self._on_new is not None and (report.new or report.replaced):
                await self._on_new()
        return report

    async def count(self, first: int, last: int) -> int:
        """Return how many blocks are stored of some, both ends included.

        Raises:
            StoreError: The database cannot be read.
        """
        (found,) = await self._read(COUNT[False], first, last)
        return int(found["count"])

    async def remove(self, first: int, last: int) -> int:
        """Take blocks out, both ends included; return how many there were.

        The hours that they were in are added up anew, and the block after them is not verified any
        more. A database without headers holds no chain.

        Raises:
            StoreError: The database refused.
        """
        removed = 0
        while True:
            async with self._database.transaction() as connection:
                count, up_to = await remove_headers(connection, first, last)
            removed += count
            if up_to is None or up_to >= last:
                return removed
            first = up_to + 1
            await self._database.let_others_write()

    async def _import_parts(
        self,
        chunks: AsyncGenerator[Chunk, None],
        facts: ChainFacts,
        replace_after: int | None,
    ) -> AsyncGenerator[ImportReport, None]:
        """Take in each chunk in a transaction of its own; a branch and what it replaces in one."""
        # Without any headers it is still found out whether the chain is the right one.
        chunk: Chunk = await anext(chunks, [])
        while True:
            async with self._database.transaction() as connection:
                part = HeaderImport(connection, facts, self.rules_of(facts))
                await part.begin()
                if replace_after is not None:
                    await part.drop_after(replace_after)
                if chunk:
                    await part.take(chunk)
                if replace_after is not None:
                    async for chunk in chunks:
                        await part.take(chunk)
                report = await part.finish()
            yield report
            chunk = await anext(chunks, [])
            if not chunk:
                return
            await self._database.let_others_write()

    async def chain(self) -> ChainFacts | None:
        """Return which chain the database holds, if it holds one.

        Raises:
            StoreError: The database cannot be read.
        """
        rows = await self._read(CHAIN)
        return _facts(rows[0]) if rows else None

    async def status(self, *, max_gaps: int = SHOWN_GAPS) -> HeaderStatus | None:
        """Return what headers there are; None when there are none.

        Raises:
            StoreError: The database cannot be read.
        """
        facts = await self.chain()
        (totals,) = await self._read(TOTALS)
        if facts is None or not totals["hours"]:
            return None
        (first,) = await self._read(STORED, totals["first_block"], totals["first_block"])
        (last,) = await self._read(STORED, totals["last_block"], totals["last_block"])
        return HeaderStatus(
            chain=facts,
            count=totals["count"],
            verified=totals["verified"],
            hours=totals["hours"],
            first_block=first["number"],
            last_block=last["number"],
            first_timestamp=first["timestamp"],
            last_timestamp=last["timestamp"],
            gaps=tuple(await self._gaps(max_gaps)),
        )

    async def recent(self) -> RecentHeaders | None:
        """Return how the newest headers are; None when there are none.

        It costs the same however many there are, so that it can be asked again and again.

        Raises:
            StoreError: The database cannot be read.
        """
        facts, newest = await self.chain(), await self.newest()
        if facts is None or newest is None:
            return None
        (row,) = await self._read(RECENT, RECENT_HOURS)
        count = int(row["count"] or 0)
        spanned = row["last_block"] - row["first_block"] + 1 if count else 0
        return RecentHeaders(
            chain=facts,
            count=count,
            verified=int(row["verified"] or 0),
            missing_blocks=spanned - count,
            newest_block=newest.number,
            newest_timestamp=newest.timestamp,
        )

    def since(self, moment: float) -> "HeadersSince":
        """Return the headers for a job that was taken at a moment; see `HeadersSince`."""
        return HeadersSince(self, moment)

    async def series_and_blocks(
        self, wanted: TimeRange, since: float = math.inf
    ) -> tuple[HourlySeries, BlockRange]:
        """Return the hourly base fees of a range, and what is known of its blocks.

        Args:
            wanted: The range.
            since: A moment by the event loop's clock; a look at the chain that has begun after it
                will do, if that is not too long ago.

        Raises:
            EmptyRange: The range holds no whole hour.
            DataNotYet: There is no header at or after the range's last whole hour has ended.
            SeriesIncomplete: Hours or blocks are missing, and which.
            StoreError: The database cannot be read.
        """
        hours = wanted.require_hours()
        began, chain = self._looked
        now = asyncio.get_running_loop().time()
        if began < max(since, now - self._look_seconds) or not _reaches(chain, hours):
            chain = await self._look(None)
        if chain is None:
            raise DataNotYet("there are no headers yet: import or simulate some")
        newest = chain["timestamp"]
        if newest is None or newest < hours.stop:
            reached = "nothing" if newest is None else newest
            raise DataNotYet(
                f"the range ends at {hours.stop} and the headers reach {reached}: "
                "the job waits for a header at or after the end"
            )
        asked = Wanted(hours, tuple(chain))
        read = await self._shared.get(asked, lambda: self._read_series(hours, chain))
        return read.series, read.blocks

    async def _look_for_all(self, asking: Sequence[None]) -> list[Row | None]:
        began = asyncio.get_running_loop().time()
        rows = await self._read(CHAIN_AND_NEWEST)
        self._looked = began, rows[0] if rows else None
        return [self._looked[1]] * len(asking)

    async def _read_series(self, hours: range, chain: Row) -> ReadSeries:
        facts = _facts(chain)
        first, last = hours[0], hours[-1]
        rows = await self._read(SERIES, *[first] * 4, *[last] * 2, first, hours.start, hours.stop)
        if len(rows) != len(hours):
            raise _missing_hours(hours, [row["hour"] for row in rows])
        columns = tuple(islice(zip(*rows, strict=True), 6))
        _, sums, counts, verified_counts, firsts, lasts = columns
        # Whole columns are compared first: of thousands of hours none is looked at by itself.
        if firsts[1:] != tuple(last + 1 for last in lasts[:-1]):
            for hour, last, first in zip(hours, lasts, firsts[1:], strict=False):
                if first != last + 1:
                    raise _missing_blocks(last, first, hour)
        if counts != tuple(map(_count, firsts, lasts)):
            for hour, count, first, last in zip(hours, counts, firsts, lasts, strict=True):
                if last - first + 1 != count:
                    raise _holes(await self._read(STORED, first, last), hour)
        _require_whole_edges(
            hours,
            first_block=firsts[0],
            last_block=lasts[-1],
            before_first=rows[0]["time_before"],
            first=rows[0]["time_first"],
            after_last=rows[-1]["time_after"],
        )
        series = HourlySeries(
            chain_id=facts.chain_id,
            simulated=facts.simulated,
            kind=SeriesKind.HOURLY if set(counts) == {1} else SeriesKind.BLOCKS,
            first_hour=hours.start,
            sums_wei=sums,
            counts=counts,
            first_block=firsts[0],
            last_block=lasts[-1],
        )
        blocks = BlockRange(
            first_block=firsts[0],
            last_block=lasts[-1],
            first_hash=rows[0]["first_hash"],
            last_hash=rows[-1]["last_hash"],
            parent_hash=rows[0]["parent_hash"],
            verified=counts == verified_counts,
            source=facts.source,
            fee_rule=self.rules_of(facts).fee_rule,
        )
        is_current = rows[0]["data_version"] == chain["data_version"]
        return ReadSeries(series, blocks, is_current)

    async def block_columns(
        self, wanted: TimeRange, fields: Sequence[str]
    ) -> tuple[BlockColumns, BlockRange]:
        """Return some fields of all blocks of a range; see `read_columns`."""
        columns, blocks = await read_columns(self._database, wanted, fields)
        facts = ChainFacts(columns.chain_id, simulated=columns.simulated, source=blocks.source)
        return columns, attrs.evolve(blocks, fee_rule=self.rules_of(facts).fee_rule)

    async def newest(self) -> Header | None:
        """Return the block with the highest number, if there are any.

        Raises:
            StoreError: The database cannot be read.
        """
        found = await self._read(NEWEST)
        return (await self.headers(found[0]["number"], found[0]["number"]))[0] if found else None

    async def number_of(self, block_hash: str) -> int | None:
        """Return the number of the block that is stored with a hash, if there is one.

        Raises:
            StoreError: The database cannot be read.
        """
        # Nothing else asks for blocks by their hash, so that no index is kept for it.
        for row in await self._database.read(NUMBER_OF, [block_hash]):
            return int(row["number"])
        return None

    async def rlp(self, number: int) -> bytes | None:
        """Return the bytes of a block's header, if they are stored.

        Raises:
            StoreError: The database cannot be read.
        """
        rows = await self._read(RLP, number)
        return bytes(rows[0]["rlp"]) if rows else None

    async def headers(self, first: int, last: int) -> list[Header]:
        """Return what is stored of some blocks, both ends included, in order.

        Raises:
            StoreError: The database cannot be read.
        """
        return [Header(*row) for row in await self._read(STORED, first, last)]

    async def wrong_hours(self, first_timestamp: int, last_timestamp: int) -> list[int]:
        """Return the hours of some time whose stored sums are not those of their headers.

        Args:
            first_timestamp: Unix seconds in the first of the hours.
            last_timestamp: Unix seconds in the last one.

        Raises:
            StoreError: The database cannot be read.
        """
        begin = first_timestamp - first_timestamp % HOUR_SECONDS
        end = last_timestamp - last_timestamp % HOUR_SECONDS
        within = (begin, min(end + HOUR_SECONDS - 1, MAX_INT64))
        return [row["hour"] for row in await self._read(WRONG_HOURS, *within, begin, end)]

    async def first_missing(self, first: int, *, whole: bool) -> int:
        """Return the first number from one on that has no block.

        Args:
            first: Where to begin.
            whole: Whether a block without all its fields counts as missing.

        Raises:
            StoreError: The database cannot be read.
        """
        # A server without statistics would go through the whole table, were there no upper bound.
        (span,) = await self._read(SPAN[whole], first, MAX_INT64)
        if not span["count"]:
            return first
        low, high = first, int(span["newest"]) + 1
        if span["count"] == high - low:
            return high
        # Halve: all numbers below `low` are there, and one below or at `high` is missing.
        while low < high:
            middle = (low + high) // 2
            (found,) = await self._read(COUNT[whole], low, middle)
            if found["count"] == middle - low + 1:
                low = middle + 1
            else:
                high = middle
        return low

    async def next_stored(self, after: int, *, whole: bool) -> int | None:
        """Return the next number after one that has a block, or a whole one, if there is any.

        Raises:
            StoreError: The database cannot be read.
        """
        (found,) = await self._read(NEXT[whole], after)
        number: int | None = found["next"]
        return number

    @property
    def where(self) -> Path | str:
        """Where another process finds the headers."""
        return self._database.where

    async def keep_whole(self, first: int, last: int) -> Self:  # noqa: ARG002
        """Return itself: all that is there is stored."""
        return self

    async def whole_rows(self, first: int, last: int) -> Sequence[Any]:
        """Return rows of `WHOLE` for some blocks, both ends included, as far as they are there.

        Raises:
            StoreError: The database cannot be read.
        """
        # Imported where it is used: RLP and keccak take time to import, and few processes need it.
        from prover_framework.chain.whole import WHOLE

        return await self._read(WHOLE, first, last)

    async def _read(self, query: str, *values: int) -> Sequence[Row]:
        return await self._database.read(query, values)

    async def _gaps(self, limit: int) -> list[Gap]:
        gaps: list[Gap] = []
        for row in await self._read(UNEVEN):
            if len(gaps) >= limit:
                break
            # From the last block before the hour, where there is one: the gap may lie between.
            first = row["previous_last"]
            first = row["first_block"] if first is None else first
            blocks = await self._read(STORED, first, row["last_block"])
            gaps.extend(
                gap for gap in _gaps_between(blocks) if gap.missing_blocks or gap.missing_hours
            )
        return gaps[:limit]


async def _chunks(batches: Iterator[Batch], rules: ChainRules) -> AsyncGenerator[Chunk, None]:
    """Read headers in a thread, so that the next are read while the database takes in these."""
    reading = asyncio.create_task(asyncio.to_thread(read_chunk, batches, rules))
    try:
        while chunk := await reading:
            reading = asyncio.create_task(asyncio.to_thread(read_chunk, batches, rules))
            yield chunk
    finally:
        # A thread cannot be stopped, and nobody can close what it reads meanwhile.
        await asyncio.wait({reading})
        if not reading.cancelled():
            reading.exception()


def _reaches(chain: Row | None, hours: range) -> bool:
    """Tell whether the headers reach the end of some hours."""
    return chain is not None and (chain["timestamp"] or 0) >= hours.stop


def _facts(row: Row) -> ChainFacts:
    return ChainFacts(row["chain_id"], simulated=bool(row["simulated"]), source=row["source"])


def _count(first: int, last: int) -> int:
    return last - first + 1


def _missing_hours(hours: range, present: Sequence[int]) -> SeriesIncomplete:
    known = set(present)
    count = len(hours) - len(known)
    # A range may span more hours than fit into memory, so no list of all that are missing is made.
    named = ", ".join(str(hour) for hour in islice(_without(hours, known), SHOWN_HOURS))
    more = f" and {count - SHOWN_HOURS} more" if count > SHOWN_HOURS else ""
    return SeriesIncomplete(
        f"{count} of {len(hours)} hours have no block: those that begin at {named}{more}; "
        "import their headers"
    )


def _without(hours: range, known: set[int]) -> Iterator[int]:
    return (hour for hour in hours if hour not in known)


def _gaps_between(blocks: Sequence[Row]) -> Iterator[Gap]:
    for a, b in pairwise(blocks):
        yield Gap(a["number"], b["number"], a["timestamp"], b["timestamp"])


def _holes(blocks: Sequence[Row], hour: int) -> SeriesIncomplete:
    holes = [gap for gap in _gaps_between(blocks) if gap.missing_blocks]
    named = ", ".join(_blocks_in(gap) for gap in holes[:SHOWN_HOLES])
    more = " and more" if len(holes) > SHOWN_HOLES else ""
    return SeriesIncomplete(
        f"{sum(gap.missing_blocks for gap in holes)} blocks are missing in the hour that begins "
        f"at {hour}: {named}{more}; import them"
    )


def _blocks_in(gap: Gap) -> str:
    first, last = gap.after_block + 1, gap.before_block - 1
    return str(first) if first == last else f"{first}..{last}"


def _missing_blocks(before: int, after: int, hour: int) -> SeriesIncomplete:
    return SeriesIncomplete(
        f"blocks {before + 1}..{after - 1} are missing at the end of the hour that begins at "
        f"{hour} or the start of the next: import them"
    )


def _require_whole_edges(
    hours: range,
    *,
    first_block: int,
    last_block: int,
    before_first: int | None,
    first: int,
    after_last: int | None,
) -> None:
    """Require that the first and the last hour are whole.

    Blocks could be missing at the outer ends of these hours; that none are is shown by a block at
    the very start or the one before it, and by the block after the last.
    """
    if before_first is None and first != hours.start and first_block != 0:
        raise SeriesIncomplete(
            f"block {first_block - 1} is missing: the first stored block of the range, "
            f"{first_block}, has timestamp {first}, and blocks between {hours.start} and that may "
            "be missing; import at least one block before the range"
        )
    if after_last is None:
        raise SeriesIncomplete(
            f"block {last_block + 1} is missing after the last stored block of the range: import it"
        )
