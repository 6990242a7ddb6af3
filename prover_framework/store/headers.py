"""Headers and their hourly sums in the database: taken in whole, read by the hour."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise

from attrs import frozen
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.exceptions import OperationalError

from prover_framework.chain.headers import Header
from prover_framework.errors import (
    DataNotYet,
    HeaderConflict,
    HeaderError,
    SeriesIncomplete,
)
from prover_framework.model import HOUR_SECONDS, HourlySeries, SeriesKind, TimeRange
from prover_framework.store.database import Database
from prover_framework.store.models import Chain, HourlyBaseFee

# Rows for one statement: enough to make the cost of a statement vanish, few enough for memory to
# stay flat.
CHUNK = 20_000

# An error names this many missing hours and counts the others.
SHOWN_HOURS = 5

INSERT = """
INSERT INTO block_header
    (number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
    gas_used = COALESCE(block_header.gas_used, excluded.gas_used),
    gas_limit = COALESCE(block_header.gas_limit, excluded.gas_limit),
    block_hash = COALESCE(block_header.block_hash, excluded.block_hash),
    parent_hash = COALESCE(block_header.parent_hash, excluded.parent_hash)
"""

# What is stored of the numbers of one chunk, to be compared with the chunk before it goes in.
STORED = """
SELECT number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash, parent_hash
FROM block_header WHERE number BETWEEN ? AND ? ORDER BY number
"""

# Nearest stored neighbours of a number; a header must lie between them in time as well.
BEFORE = "SELECT number, timestamp FROM block_header WHERE number < ? ORDER BY number DESC LIMIT 1"
AFTER = "SELECT number, timestamp FROM block_header WHERE number > ? ORDER BY number LIMIT 1"

SUM_UP = """
INSERT INTO hourly_base_fee (hour, sum_wei, count, first_block, last_block)
SELECT timestamp - timestamp % 3600, SUM(base_fee_wei), COUNT(*), MIN(number), MAX(number)
FROM block_header WHERE timestamp >= ? AND timestamp < ?
GROUP BY timestamp - timestamp % 3600
ON CONFLICT (hour) DO UPDATE SET
    sum_wei = excluded.sum_wei, count = excluded.count,
    first_block = excluded.first_block, last_block = excluded.last_block
"""

SERIES = """
SELECT hour, sum_wei, count, first_block, last_block
FROM hourly_base_fee WHERE hour >= ? AND hour < ? ORDER BY hour
"""


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


@frozen
class ImportReport:
    """What an import came to: headers read, and how many of them were new."""

    read: int
    new: int


@frozen
class Gap:
    """Blocks that are missing between two stored ones.

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


@frozen(kw_only=True)
class HeaderStatus:
    """What headers there are; times in Unix seconds."""

    chain: ChainFacts
    count: int
    hours: int
    first_block: int
    last_block: int
    first_timestamp: int
    last_timestamp: int
    gaps: tuple[Gap, ...]


class HeaderStore:
    """The headers of one chain."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def import_headers(
        self,
        headers: Iterable[Header],
        facts: ChainFacts,
        on_progress: Callable[[int], None] | None = None,
    ) -> ImportReport:
        """Take in headers, all of them or none.

        Args:
            headers: In the order of their numbers.
            facts: The chain they belong to.
            on_progress: Told how many were read so far.

        Raises:
            HeaderConflict: They belong to another chain than the stored ones or contradict them.
            HeaderError: Their source is malformed.
        """
        read = new = 0
        first: int | None = None
        last = 0
        async with self._database.transaction() as connection:
            await self._claim_chain(connection, facts)
            for chunk in _chunks(headers):
                new += await self._insert(connection, chunk)
                read += len(chunk)
                first = chunk[0].timestamp if first is None else first
                last = chunk[-1].timestamp
                if on_progress:
                    on_progress(read)
            if first is not None:
                await self._sum_up(connection, TimeRange(first, last + HOUR_SECONDS))
        return ImportReport(read, new)

    async def chain(self) -> ChainFacts | None:
        """Return which chain the database holds, if it holds one."""
        row = await Chain.first(using_db=self._database.reader)
        return ChainFacts(row.chain_id, row.simulated, row.source) if row else None

    async def status(self, *, max_gaps: int = 20) -> HeaderStatus | None:
        """Return what headers there are; None when there are none."""
        facts = await self.chain()
        reader = self._database.reader
        rows = await HourlyBaseFee.all().using_db(reader).order_by("hour")
        if facts is None or not rows:
            return None
        ends = []
        for number in (rows[0].first_block, rows[-1].last_block):
            _, found = await reader.execute_query(STORED, [number, number])
            ends.append(int(found[0]["timestamp"]))
        gaps = await self._gaps(reader, rows, max_gaps)
        return HeaderStatus(
            chain=facts,
            count=sum(row.count for row in rows),
            hours=len(rows),
            first_block=rows[0].first_block,
            last_block=rows[-1].last_block,
            first_timestamp=ends[0],
            last_timestamp=ends[1],
            gaps=tuple(gaps),
        )

    async def hourly_series(self, wanted: TimeRange) -> HourlySeries:
        """Return the hourly base fees of a range.

        Raises:
            EmptyRange: The range holds no whole hour.
            DataNotYet: There is no header at or after the range's last whole hour has ended.
            SeriesIncomplete: Hours or blocks are missing, and which.
        """
        hours = wanted.require_hours()
        reader = self._database.reader
        facts = await self.chain()
        if facts is None:
            raise DataNotYet("there are no headers yet: import or simulate some")
        _, newest = await reader.execute_query(
            "SELECT timestamp, number FROM block_header ORDER BY number DESC LIMIT 1"
        )
        if not newest or newest[0]["timestamp"] < wanted.end_hour:
            reached = newest[0]["timestamp"] if newest else "nothing"
            raise DataNotYet(
                f"the range ends at {wanted.end_hour} and the headers reach {reached}: "
                "the job waits for a header at or after the end"
            )
        _, rows = await reader.execute_query(SERIES, [hours.start, hours.stop])
        if len(rows) != len(hours):
            raise _missing_hours(hours, {row["hour"] for row in rows})
        columns = tuple(zip(*(tuple(row) for row in rows), strict=True))
        _, sums, counts, firsts, lasts = columns
        for position, (block_before, block_after) in enumerate(pairwise(_ends(firsts, lasts))):
            if block_after[0] != block_before[1] + 1:
                raise _missing_blocks(block_before[1], block_after[0], hours[position])
        for hour, count, first, last in zip(hours, counts, firsts, lasts, strict=True):
            if last - first + 1 != count:
                raise SeriesIncomplete(
                    f"{last - first + 1 - count} blocks between {first} and {last} are missing "
                    f"in the hour that begins at {hour}: import them"
                )
        await self._check_edges(reader, hours, firsts[0], lasts[-1])
        return HourlySeries(
            chain_id=facts.chain_id,
            simulated=facts.simulated,
            kind=SeriesKind.HOURLY if set(counts) == {1} else SeriesKind.BLOCKS,
            first_hour=hours.start,
            sums_wei=sums,
            counts=counts,
            first_block=firsts[0],
            last_block=lasts[-1],
        )

    async def _claim_chain(self, connection: BaseDBAsyncClient, facts: ChainFacts) -> None:
        row = await Chain.first(using_db=connection)
        if row is None:
            await Chain.create(
                id=1,
                chain_id=facts.chain_id,
                simulated=facts.simulated,
                source=facts.source,
                using_db=connection,
            )
            return
        if (row.chain_id, row.simulated) != (facts.chain_id, facts.simulated):
            raise HeaderConflict(
                f"this database holds {_chain_name(row.chain_id, simulated=row.simulated)} and the "
                f"headers are of {_chain_name(facts.chain_id, simulated=facts.simulated)}: use "
                "another database (PROVER_DATA_DIR)"
            )
        row.source = facts.source
        await row.save(using_db=connection)

    async def _insert(self, connection: BaseDBAsyncClient, chunk: Sequence[Header]) -> int:
        _, rows = await connection.execute_query(STORED, [chunk[0].number, chunk[-1].number])
        stored = {row["number"]: Header(*row) for row in rows}
        known = 0
        for header in chunk:
            other = stored.get(header.number)
            if other is not None:
                _require_same(header, other)
                known += 1
        await self._check_neighbours(connection, chunk, stored)
        await connection.execute_many(
            INSERT,
            [
                [
                    header.number,
                    header.timestamp,
                    header.base_fee_wei,
                    header.gas_used,
                    header.gas_limit,
                    header.block_hash,
                    header.parent_hash,
                ]
                for header in chunk
            ],
        )
        return len(chunk) - known

    async def _check_neighbours(
        self,
        connection: BaseDBAsyncClient,
        chunk: Sequence[Header],
        stored: dict[int, Header],
    ) -> None:
        """Require that time rises with the number across what is stored and what comes."""
        _, before = await connection.execute_query(BEFORE, [chunk[0].number])
        _, after = await connection.execute_query(AFTER, [chunk[-1].number])
        merged = {header.number: header.timestamp for header in chain(chunk, stored.values())}
        merged |= {row["number"]: row["timestamp"] for row in (*before, *after)}
        for (number, timestamp), (later, later_timestamp) in pairwise(sorted(merged.items())):
            if later_timestamp <= timestamp:
                raise HeaderConflict(
                    f"block {later} has timestamp {later_timestamp}, which is not after that of "
                    f"block {number} ({timestamp}); one of them is stored already"
                )

    async def _sum_up(self, connection: BaseDBAsyncClient, touched: TimeRange) -> None:
        try:
            await connection.execute_query(SUM_UP, [touched.first_hour, touched.end_hour])
        except OperationalError as error:
            if "integer overflow" in str(error):
                raise HeaderError(
                    "the base fees of one hour add up to more than 2^63 - 1 wei: "
                    "these can not be base fees in wei"
                ) from None
            raise

    async def _gaps(
        self, reader: BaseDBAsyncClient, rows: Sequence[HourlyBaseFee], limit: int
    ) -> list[Gap]:
        gaps: list[Gap] = []
        for previous, row in pairwise([rows[0], *rows]):
            if len(gaps) >= limit:
                break
            holed = row.last_block - row.first_block + 1 != row.count
            if holed or (row is not previous and row.first_block != previous.last_block + 1):
                first = previous.last_block if row is not previous else row.first_block
                _, found = await reader.execute_query(STORED, [first, row.last_block])
                gaps.extend(
                    Gap(a["number"], b["number"], a["timestamp"], b["timestamp"])
                    for a, b in pairwise(found)
                    if b["number"] != a["number"] + 1
                )
        return gaps[:limit]

    async def _check_edges(
        self, reader: BaseDBAsyncClient, hours: range, first: int, last: int
    ) -> None:
        """Require that the first and the last hour are whole.

        Blocks could be missing at the outer ends of these hours; that none are is shown by a
        block at the very start or the one before it, and by the block after the last.
        """
        _, found = await reader.execute_query(STORED, [max(first - 1, 0), first])
        if found[0]["number"] == first and found[0]["timestamp"] != hours.start and first != 0:
            raise SeriesIncomplete(
                f"block {first - 1} is missing: the first stored block of the range, {first}, has "
                f"timestamp {found[0]['timestamp']}, and blocks between {hours.start} and that may "
                "be missing; import at least one block before the range"
            )
        _, found = await reader.execute_query(STORED, [last + 1, last + 1])
        if not found:
            raise SeriesIncomplete(
                f"block {last + 1} is missing after the last stored block of the range: import it"
            )


def _chunks(headers: Iterable[Header]) -> Iterator[list[Header]]:
    iterator = iter(headers)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _ends(firsts: Sequence[int], lasts: Sequence[int]) -> Iterator[tuple[int, int]]:
    return zip(firsts, lasts, strict=True)


def _chain_name(chain_id: int, *, simulated: bool) -> str:
    return f"{'simulated ' if simulated else ''}chain {chain_id}"


def _require_same(header: Header, stored: Header) -> None:
    differences = [
        f"{name} {ours} (stored: {theirs})"
        for name, ours, theirs in (
            ("timestamp", header.timestamp, stored.timestamp),
            ("base_fee_per_gas", header.base_fee_wei, stored.base_fee_wei),
            ("gas_used", header.gas_used, stored.gas_used),
            ("gas_limit", header.gas_limit, stored.gas_limit),
            ("block_hash", header.block_hash, stored.block_hash),
            ("parent_hash", header.parent_hash, stored.parent_hash),
        )
        if ours is not None and theirs is not None and ours != theirs
    ]
    if differences:
        raise HeaderConflict(
            f"block {header.number} is stored with other values: {', '.join(differences)}; "
            "nothing was imported"
        )


def _missing_hours(hours: range, present: set[int]) -> SeriesIncomplete:
    missing = [hour for hour in hours if hour not in present]
    named = ", ".join(str(hour) for hour in missing[:SHOWN_HOURS])
    more = f" and {len(missing) - SHOWN_HOURS} more" if len(missing) > SHOWN_HOURS else ""
    return SeriesIncomplete(
        f"{len(missing)} of {len(hours)} hours have no block: those that begin at {named}{more}; "
        "import their headers"
    )


def _missing_blocks(before: int, after: int, hour: int) -> SeriesIncomplete:
    return SeriesIncomplete(
        f"blocks {before + 1}..{after - 1} are missing at the end of the hour that begins at "
        f"{hour} or the start of the next: import them"
    )
