"""What a verifier compares receipts with: a database, a file, or a node.

Whoever runs the verifier names it, by options of a command or by settings of a service; whoever
sends a receipt never does.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

import attrs
from attrs import frozen

from prover_framework.chain.headers import Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.rule_book import RuleBook, read_rule_book
from prover_framework.chain.rules import ChainRules
from prover_framework.chain.sources.opening import open_node
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.sync import HeaderSync, SyncRange
from prover_framework.database.database import Database
from prover_framework.database.opening import open_database
from prover_framework.errors import HeaderError
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.series import HOUR_SECONDS, BlockRange, HourlySeries, TimeRange
from prover_framework.sandbox.slot import Slot
from prover_framework.settings import VERIFY_WITH_NODE, Settings
from prover_framework.verification.chain_check import FollowedHeaders
from prover_framework.verification.checks import CheckName, Report
from prover_framework.verification.verifier import Verifier

if TYPE_CHECKING:
    from prover_framework.chain.sources.node import EthereumNode

# Ethereum mainnet.
DEFAULT_CHAIN_ID = 1

# Ethereum has had base fees since August 2021. A range of twenty years is no proof's, but an
# attempt to keep a node busy.
MAX_HOURS = 175_320

# Two years of blocks, from the beginning of a range to the block that is trusted.
MAX_BLOCKS = 5_256_000


@frozen
class Compared:
    """Headers to compare a receipt with.

    Args:
        headers: The headers; none when there are none.
        name: What messages call them.
    """

    headers: FollowedHeaders | None
    name: str


class Source(Protocol):
    """Where the verifier's headers come from."""

    def headers(self) -> AbstractAsyncContextManager[Compared]:
        """Have the headers that a receipt is to be compared with.

        Raises:
            SourceError: They cannot be had.
            StoreError: The database refused.
        """
        ...


class StoredHeaders:
    """Headers of an open database."""

    def __init__(self, headers: HeaderStore | None, name: str) -> None:
        self._compared = Compared(headers, name)

    @asynccontextmanager
    async def headers(self) -> AsyncIterator[Compared]:
        """Lend them."""
        yield self._compared


class NodeHeaders:
    """Headers of the node of the settings, fetched for each receipt anew."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def headers(self) -> AsyncIterator[Compared]:
        """Fetch what is looked at, when it is looked at.

        The node is requested for hours, not for the blocks that a receipt names.
        """
        async with _database_aside(self._settings) as database, open_node(self._settings) as node:
            store = HeaderStore(database, rules=_rules(self._settings))
            yield Compared(FetchedHeaders(node, store), "the node")


class FetchedHeaders:
    """Headers of a node that are fetched when they are asked for.

    Args:
        node: Where they come from.
        store: Where they are kept.
    """

    def __init__(self, node: "EthereumNode", store: HeaderStore) -> None:
        self._node = node
        self._store = store

    async def series_and_blocks(self, wanted: TimeRange) -> tuple[HourlySeries, BlockRange]:
        """Fetch the hours of a range and a block at each of their ends; return them."""
        hours = wanted.require_hours()
        await self._fetch(TimeRange(hours.start, hours.stop))
        return await self._store.series_and_blocks(wanted)

    async def block_columns(
        self, wanted: TimeRange, fields: Sequence[str]
    ) -> tuple[BlockColumns, BlockRange]:
        """Fetch the blocks of a range and one at each of its ends; return fields of them."""
        await self._fetch(wanted)
        return await self._store.block_columns(wanted, fields)

    async def wrong_hours(self, first_timestamp: int, last_timestamp: int) -> list[int]:
        """Return the hours whose sums are not those of their headers."""
        return await self._store.wrong_hours(first_timestamp, last_timestamp)

    async def number_of(self, block_hash: str) -> int | None:
        """Return the number that the node has for a hash."""
        return await self._node.number_of(block_hash)

    async def rules(self) -> ChainRules:
        """Return the rules of the node's chain."""
        return await self._store.rules()

    async def headers(self, first: int, last: int) -> list[Header]:
        """Return some blocks that were fetched."""
        return await self._store.headers(first, last)

    async def keep_whole(self, first: int, last: int) -> HeaderStore:
        """Fetch some blocks; return where they are stored with their bytes."""
        if last - first >= MAX_BLOCKS:
            raise HeaderError(
                f"blocks {first} to {last} are more than are fetched ({MAX_BLOCKS:,}): name a "
                "trusted block that is nearer"
            )
        await self._sync(SyncRange(from_block=first, to_block=last))
        return self._store

    async def _fetch(self, wanted: TimeRange) -> None:
        hours = (wanted.end_timestamp - wanted.start_timestamp) // HOUR_SECONDS
        if hours > MAX_HOURS:
            raise HeaderError(
                f"the range has {hours:,} hours, more than are fetched ({MAX_HOURS:,})"
            )
        await self._sync(SyncRange(from_time=wanted.start_timestamp, to_time=wanted.end_timestamp))

    async def _sync(self, wanted: SyncRange) -> None:
        await HeaderSync(self._node, self._store).run(wanted)


@asynccontextmanager
async def open_file(
    settings: Settings, file: Path, chain_id: int = DEFAULT_CHAIN_ID
) -> AsyncIterator[StoredHeaders]:
    """Read the headers of a CSV file.

    Raises:
        HeaderError: They cannot be taken in.
    """
    from prover_framework.chain.sources.csv_file import read_batches

    async with _database_aside(settings) as database:
        headers = HeaderStore(database, rules=_rules(settings))
        facts = ChainFacts(chain_id, simulated=False, source=f"file {file.name}")
        await headers.import_batches(read_batches(file), facts)
        yield StoredHeaders(headers, file.name)


@asynccontextmanager
async def open_source(settings: Settings, name: str) -> AsyncIterator[Source]:
    """Open the source that the settings name.

    Args:
        settings: They name it.
        name: What messages call the database of the settings, if it is that.

    Raises:
        HeaderError: Headers of a file cannot be taken in.
        StoreError: The database cannot be used.
    """
    match settings.verify_headers:
        case None:
            async with open_database(settings) as database:
                yield StoredHeaders(HeaderStore(database, rules=_rules(settings)), name)
        case chosen if chosen == VERIFY_WITH_NODE:
            yield NodeHeaders(settings)
        case file:
            async with open_file(settings, Path(file)) as headers:
                yield headers


async def verify_with(
    source: Source,
    verifier: Verifier,
    body: bytes,
    requested: frozenset[CheckName] | None = None,
    *,
    slot: Slot | None = None,
) -> Report:
    """Check a receipt with the headers of a source; see `Verifier.verify`.

    Raises:
        SourceError: The headers cannot be had.
        StoreError: The database refused.
    """
    async with source.headers() as compared:
        able = attrs.evolve(verifier, headers=compared.headers, source=compared.name)
        return await able.verify(body, requested, slot=slot)


def _rules(settings: Settings) -> RuleBook:
    return read_rule_book(settings.chain_rules)


@asynccontextmanager
async def _database_aside(settings: Settings) -> AsyncIterator[Database]:
    """Open a database that nobody keeps: headers are read from it as from any other."""
    with TemporaryDirectory(prefix="prover-verify-") as directory:
        aside = attrs.evolve(settings, data_dir=Path(directory), database_url=None)
        async with open_database(aside) as database:
            yield database
