"""Keeps the headers in the database up with a chain: what is missing is fetched, verified, stored.

Each page is committed by itself, so a sync that is stopped goes on where it was. When the chain has
taken another branch, the stored tail gives way to it, and whoever follows is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from attrs import frozen

from prover_framework.chain.headers import EncodedHeader, Header, differences
from prover_framework.chain.ingest import ChainFacts, require_chain
from prover_framework.chain.sources.base import HeaderSource
from prover_framework.chain.store import HeaderStore
from prover_framework.errors import (
    HeaderError,
    HeaderInvalid,
    HeaderRule,
    SourceError,
    SourceUnreachable,
    StoreError,
)

# Headers that are stored in one transaction. A sync that is killed fetches as many again, at most.
PAGE_HEADERS = 500

# How far back the place is looked for where the chain has parted from what is stored. A finalized
# block never gives way; the longest branch that ever did on mainnet had fewer than ten blocks.
MAX_REORG_BLOCKS = 1024

# Blocks that are compared with what is stored at a time.
REORG_STEP = 32

# How often in a row a chain may take another branch while it is being fetched.
MAX_BRANCHES = 5


@frozen(kw_only=True)
class SyncRange:
    """What is wanted of a chain. Both ends may be left open.

    Args:
        from_block: Where to begin; also before what is stored already.
        from_time: The same as Unix seconds: with the last block at or before this time.
        to_block: Where to end.
        to_time: The same as Unix seconds: with the first block at or after this time.
    """

    from_block: int | None = None
    from_time: int | None = None
    to_block: int | None = None
    to_time: int | None = None


@frozen
class Fetched:
    """Headers were stored.

    Args:
        first_block: The first of them.
        last_block: The last of them.
        new: How many were not there before.
        verified: How many are verified.
        end: The block that is being fetched up to.
    """

    first_block: int
    last_block: int
    new: int
    verified: int
    end: int


@frozen
class Replaced:
    """The chain has taken another branch, which has replaced the stored tail.

    Args:
        after_block: The last block that both branches have.
        dropped: How many stored blocks have given way.
        new: How many blocks have come instead.
    """

    after_block: int
    dropped: int
    new: int


@frozen
class CaughtUp:
    """Everything that is wanted and that the source has is stored; the next look is later.

    Args:
        block: The newest block that the source has; None if it has none to be followed.
        next_block: The first that is not stored yet.
    """

    block: int | None
    next_block: int


@frozen
class Trouble:
    """The source or the database cannot be used at the moment; the next look is later."""

    message: str


SyncEvent = Fetched | Replaced | CaughtUp | Trouble
Sleep = Callable[[float], Awaitable[None]]


class HeaderSync:
    """Brings the headers of one chain from a source into the database.

    Args:
        source: Where they come from.
        store: Where they go.
        chain_id: The chain that they are of; None to believe the source.
        on_event: Told what happens.
        sleep: How waits are waited.
    """

    def __init__(
        self,
        source: HeaderSource,
        store: HeaderStore,
        *,
        chain_id: int | None = None,
        on_event: Callable[[SyncEvent], None] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._source = source
        self._store = store
        self._chain_id = chain_id
        self._on_event = on_event
        self._sleep = sleep

    async def run(self, wanted: SyncRange, follow_seconds: float | None = None) -> None:
        """Fetch what is missing.

        Args:
            wanted: What of the chain.
            follow_seconds: How often to look for new blocks afterwards; None to end instead.

        Raises:
            HeaderConflict: The database holds another chain.
            HeaderInvalid: A header does not verify.
            HeaderError: The chain of the source has too little in common with what is stored, or
                nothing says where to begin.
            SourceError: The source cannot be used.
            StoreError: The database cannot be used.
        """
        facts = await self._claim()
        begin = await self._catch_up(facts, await self._begin(wanted), wanted)
        reached = await self._reached(wanted)
        while follow_seconds is not None and not reached:
            await self._sleep(follow_seconds)
            try:
                begin = await self._catch_up(facts, begin, wanted)
                reached = await self._reached(wanted)
            except (SourceUnreachable, StoreError) as error:
                # Whoever follows a chain sees nodes and databases come and go.
                self._on_event(Trouble(str(error)))

    async def _claim(self) -> ChainFacts:
        """Return what is to be said of the chain, if it is the one that is stored."""
        stored = await self._store.chain()
        told = await self._source.chain_id()
        if told is not None and self._chain_id is not None and told != self._chain_id:
            raise SourceError(
                f"{self._source.name} is of chain {told}, and chain {self._chain_id} is wanted"
            )
        chain_id = self._chain_id if told is None else told
        if chain_id is None:
            if stored is None or stored.simulated:
                raise SourceError(
                    f"{self._source.name} does not tell its chain: name it with --chain-id"
                )
            chain_id = stored.chain_id
        facts = ChainFacts(chain_id, simulated=False, source=self._source.name)
        require_chain(stored, facts)
        return facts

    async def _begin(self, wanted: SyncRange) -> int:
        if wanted.from_block is not None:
            return wanted.from_block
        if wanted.from_time is not None:
            return await self._block_before(wanted.from_time)
        newest = await self._store.newest()
        if newest is None:
            raise HeaderError(
                "no headers are stored yet: say where to begin with --from-block or --from-time"
            )
        return newest.number + 1

    async def _reached(self, wanted: SyncRange) -> bool:
        newest = await self._store.newest()
        if newest is None:
            return False
        return (wanted.to_block is not None and newest.number >= wanted.to_block) or (
            wanted.to_time is not None and newest.timestamp >= wanted.to_time
        )

    async def _catch_up(self, facts: ChainFacts, begin: int, wanted: SyncRange) -> int:
        """Fetch what is missing from one block on; return where to begin the next time."""
        branches = 0
        while True:
            tip = await self._source.newest()
            branch = None if tip is None else await self._follow_branch(facts, tip)
            if branch is not None:
                begin = min(begin, branch + 1)
            end = await self._end(wanted, tip)
            if end is None or end < begin:
                break
            try:
                await self._fetch(facts, begin, end)
            except HeaderInvalid as error:
                # The source's chain may have taken another branch in between.
                branches += 1
                if error.rule is not HeaderRule.PARENT or branches == MAX_BRANCHES:
                    raise
                continue
            begin = end + 1
            break
        self._on_event(CaughtUp(tip, begin))
        return begin

    async def _end(self, wanted: SyncRange, tip: int | None) -> int | None:
        if tip is None:
            return None
        ends = [tip]
        if wanted.to_block is not None:
            ends.append(wanted.to_block)
        if wanted.to_time is not None:
            ends.append(await self._block_at(wanted.to_time, tip))
        return min(ends)

    async def _fetch(self, facts: ChainFacts, begin: int, end: int) -> None:
        """Fetch what is missing of some blocks, both ends included."""
        while (begin := await self._store.first_missing(begin, whole=self._source.whole)) <= end:
            there = await self._store.next_stored(begin, whole=self._source.whole)
            last = end if there is None else min(there - 1, end)
            page: list[Header | EncodedHeader] = []
            async with aclosing(self._source.headers(begin, last)) as parts:
                async for part in parts:
                    page.extend(part)
                    if len(page) >= PAGE_HEADERS:
                        await self._take(facts, page, end)
                        page = []
            if page:
                await self._take(facts, page, end)
            begin = last + 1

    async def _take(
        self, facts: ChainFacts, page: Sequence[Header | EncodedHeader], end: int
    ) -> None:
        report = await self._store.import_headers(page, facts)
        first, last = _header(page[0]).number, _header(page[-1]).number
        self._on_event(Fetched(first, last, report.new, report.verified, end))

    # Another branch.

    async def _follow_branch(self, facts: ChainFacts, tip: int) -> int | None:
        """Replace the stored tail if the source has another one.

        Returns:
            The last block that is stored then; None if nothing had to be replaced.
        """
        newest = await self._store.newest()
        if newest is None:
            return None
        top = min(newest.number, tip)
        stored = await self._store.headers(top, top)
        if not stored or not list(differences(stored[0], (await self._told(top, top))[0])):
            return None
        common = await self._common_block(top)
        branch: list[Header | EncodedHeader] = []
        async with aclosing(self._source.headers(common + 1, top)) as pages:
            async for page in pages:
                branch.extend(page)
        report = await self._store.import_headers(branch, facts, replace_after=common)
        self._on_event(Replaced(common, report.replaced, report.new))
        return top

    async def _common_block(self, top: int) -> int:
        """Return the last block below one that differs that is the same here and there."""
        for high in range(top, max(top - MAX_REORG_BLOCKS, -1), -REORG_STEP):
            low = max(high - REORG_STEP + 1, 0)
            told = {header.number: header for header in await self._told(low, high)}
            for header in reversed(await self._store.headers(low, high)):
                if not list(differences(header, told[header.number])):
                    return header.number
        raise HeaderError(
            f"{self._source.name} has other blocks than are stored, for more than "
            f"{MAX_REORG_BLOCKS} blocks up to {top}: is it of another chain? "
            "Use another database (PROVER_DATA_DIR)"
        )

    async def _told(self, first: int, last: int) -> list[Header]:
        async with aclosing(self._source.headers(first, last)) as pages:
            return [_header(item) async for page in pages for item in page]

    # Blocks by their time.

    async def _block_before(self, time: int) -> int:
        """Return the last block at or before a time."""
        tip = await self._source.newest()
        if tip is None:
            raise SourceError(f"{self._source.name} has no blocks yet")
        number = await self._block_at(time, tip)
        if not await self._at_or_after(number, time + 1) or number == 0:
            return number
        if await self._source.timestamp(number - 1) is None:
            raise SourceError(
                f"{self._source.name} has no block before {number}, which is later than {time}: "
                f"begin with --from-block {number}, or use a node with all history"
            )
        return number - 1

    async def _block_at(self, time: int, tip: int) -> int:
        """Return the first block at or after a time; the newest if there is none yet."""
        if not await self._at_or_after(tip, time):
            return tip
        low, high = 0, tip
        while low < high:
            middle = (low + high) // 2
            if await self._at_or_after(middle, time):
                high = middle
            else:
                low = middle + 1
        return high

    async def _at_or_after(self, number: int, time: int) -> bool:
        # A source that lacks a block lacks all before it.
        timestamp = await self._source.timestamp(number)
        return timestamp is not None and timestamp >= time


def _header(item: Header | EncodedHeader) -> Header:
    return item.header if isinstance(item, EncodedHeader) else item
