"""An indexer's table is read by number, as it is, and never written to."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from attrs import evolve
from postgres_server import PostgresServer
from real_headers import LONDON, PRAGUE, PRAGUE_NEXT, stored

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rlp_header import FIELDS, decode_fields
from prover_framework.chain.sources import indexer as module
from prover_framework.chain.sources.indexer import IndexerTable, open_indexer
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.sync import HeaderSync, SyncEvent, SyncRange, Trouble
from prover_framework.database.database import Database
from prover_framework.errors import HeaderInvalid, HeaderRule, SourceError, SourceUnreachable
from prover_framework.jobs.headers import header_store

T = TypeVar("T")
Row = dict[str, Any]

ENTRY = [sys.executable, "-c", "from prover_framework.cli import main; main()"]

START = 1_700_002_800
CHAIN = list(islice(made_whole(simulate(START, 1, first_number=10)), 100))

# As an existing indexer keeps them: numbers and gas as integers, everything else as text.
TYPES = {"number": "BIGINT PRIMARY KEY", "gas_used": "BIGINT", "gas_limit": "BIGINT"}
COLUMNS = ["block_hash", *(field.name for field in FIELDS if field.name != "difficulty")]


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.create_database()
    yield made
    postgres.drop_database(made)


def row_of(item: EncodedHeader) -> Row:
    fields = decode_fields(item.rlp)
    row: Row = {"block_hash": item.header.block_hash}
    for name in COLUMNS[1:]:
        value = fields.get(name)
        if isinstance(value, bytes):
            row[name] = f"0x{value.hex()}"
        elif name in TYPES or value is None:
            row[name] = value
        else:
            row[name] = str(value) if name == "timestamp" else hex(value)
    return row


async def fill(url: str, rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> None:
    connection = await asyncpg.connect(url)
    try:
        types = ", ".join(f"{name} {TYPES.get(name, 'TEXT')}" for name in columns)
        await connection.execute("DROP TABLE IF EXISTS blockheaders")
        await connection.execute(f"CREATE TABLE blockheaders ({types})")
        records = [[row.get(name) for name in columns] for row in rows]
        await connection.copy_records_to_table("blockheaders", records=records, columns=columns)
    finally:
        await connection.close()


@asynccontextmanager
async def table(
    url: str,
    rows: Sequence[Row] | None = None,
    columns: Sequence[str] = COLUMNS,
    *,
    confirmations: int = 0,
    light: bool = False,
) -> AsyncIterator[IndexerTable]:
    await fill(url, [row_of(item) for item in CHAIN] if rows is None else rows, columns)
    async with open_indexer(url, confirmations=confirmations, light=light) as source:
        yield source


async def read(source: IndexerTable, first: int = 10, last: int = 109) -> list[Any]:
    return [item async for page in source.headers(first, last) for item in page]


def sync_from(
    url: str,
    database_url: str,
    use: Callable[[Callable[..., Awaitable[list[SyncEvent]]], HeaderStore], Awaitable[T]],
) -> T:
    """Give a function that syncs from the table, and the store, to another function."""

    async def work() -> T:
        async with Database(database_url) as database:
            store = header_store(database)

            async def sync(chain_id: int | None = 31337, **wanted: int) -> list[SyncEvent]:
                events: list[SyncEvent] = []
                async with open_indexer(url, confirmations=0) as source:
                    await HeaderSync(source, store, chain_id=chain_id, on_event=events.append).run(
                        SyncRange(**wanted)
                    )
                return events

            return await use(sync, store)

    return asyncio.run(work())


# What is read.


def test_whole_headers_are_read_in_pages(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 7)

    async def use() -> None:
        async with table(url) as source:
            assert source.whole
            assert await read(source) == CHAIN
            assert await read(source, 30, 35) == CHAIN[20:26]
            assert await source.newest() == 109
            assert await source.timestamp(10) == START
            assert await source.timestamp(9) is None

    asyncio.run(use())


def typed(row: dict[str, str]) -> Row:
    return {**row, **{name: int(row[name]) for name in TYPES}}


def test_real_headers_are_whole(url: str) -> None:
    async def use() -> None:
        rows = [
            {**row, **{name: int(row[name]) for name in TYPES}} for row in (PRAGUE, PRAGUE_NEXT)
        ]
        async with table(url, rows) as source:
            number = int(PRAGUE["number"])
            assert await read(source, number, number + 1) == [stored(PRAGUE), stored(PRAGUE_NEXT)]
        async with table(url, [typed(LONDON)], [*COLUMNS, "difficulty"]) as source:
            assert await read(source, 12_965_000, 12_965_000) == [stored(LONDON)]

    asyncio.run(use())


def test_a_table_without_all_fields_gives_light_headers(url: str) -> None:
    needed = ["number", "timestamp", "base_fee_per_gas"]

    async def use() -> None:
        async with table(url, columns=[*needed, "gas_used", "gas_limit", "block_hash"]) as source:
            assert not source.whole
            assert await read(source) == [evolve(s.header, parent_hash=None) for s in CHAIN]
        async with table(url, columns=needed) as source:
            assert await read(source) == [
                Header(s.header.number, s.header.timestamp, s.header.base_fee_wei) for s in CHAIN
            ]
        async with table(url, light=True) as source:
            assert await read(source) == [s.header for s in CHAIN]

    asyncio.run(use())


def test_blocks_count_when_enough_others_follow(url: str) -> None:
    async def newest(confirmations: int, rows: Sequence[Row] | None = None) -> int | None:
        async with table(url, rows, confirmations=confirmations) as source:
            return await source.newest()

    assert asyncio.run(newest(64)) == 45
    assert asyncio.run(newest(1000)) is None
    assert asyncio.run(newest(0, [])) is None


def test_every_query_uses_the_index(url: str) -> None:
    async def use() -> None:
        async with table(url) as source:
            connection = await asyncpg.connect(url)
            await connection.execute(
                "INSERT INTO blockheaders (number, timestamp) "
                "SELECT n, '1' FROM generate_series(1000, 60000) AS n; ANALYZE blockheaders"
            )
            await connection.close()
            for query in map(
                source._statement,
                (
                    module.NEWEST,
                    module.TIMESTAMP.replace("$1", "5000"),
                    module.PAGE.replace("$1", "5000").replace("$2", "5999"),
                ),
            ):
                plan = await source._table.fetch(f"EXPLAIN {query}")
                assert "Index" in str(plan)
                assert "Seq Scan" not in str(plan)

    asyncio.run(use())


def test_nothing_can_be_written(url: str) -> None:
    async def use() -> None:
        async with table(url) as source:
            for statement in ("DELETE FROM blockheaders", "CREATE TABLE other (n INT)"):
                with pytest.raises(SourceError, match="read-only"):
                    await source._table.fetch(statement)

    asyncio.run(use())


# What is refused.


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"state_root": "0x" + "11" * 32}, "block_hash", HeaderRule.HASH),
        ({"gas_used": 5}, "block_hash", HeaderRule.HASH),
        ({"block_hash": None}, "block_hash", HeaderRule.HASH),
        ({"timestamp": "soon"}, "timestamp", HeaderRule.FORM),
        ({"miner": None}, "miner", HeaderRule.FORM),
        ({"base_fee_per_gas": None}, "base_fee_per_gas", HeaderRule.FORM),
        ({"blob_gas_used": None}, "blob_gas_used", HeaderRule.FORM),
    ],
)
def test_a_row_that_does_not_verify_is_named_with_field_and_rule(
    url: str, changes: Row, field: str, rule: HeaderRule
) -> None:
    async def use() -> None:
        rows = [row_of(item) for item in CHAIN]
        rows[5] |= changes
        async with table(url, rows) as source:
            with pytest.raises(HeaderInvalid) as caught:
                await read(source)
        assert (caught.value.block, caught.value.field, caught.value.rule) == (15, field, rule)

    asyncio.run(use())


def test_a_table_that_lacks_a_forks_column_is_told_to_be_taken_light(url: str) -> None:
    async def use() -> None:
        async with table(url, columns=COLUMNS[:-3]) as source:
            with pytest.raises(HeaderInvalid, match=r"no column requests_hash or .* --light"):
                await read(source)

    asyncio.run(use())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"base_fee_per_gas": None}, "before the London fork"),
        ({"timestamp": "1e9"}, "timestamp: must be an integer"),
        ({"block_hash": "0x1"}, "block_hash: must be 0x and hexadecimal digits"),
    ],
)
def test_a_light_row_that_is_wrong_is_named(url: str, changes: Row, complaint: str) -> None:
    async def use() -> None:
        rows = [row_of(item) for item in CHAIN]
        rows[5] |= changes
        async with table(url, rows, light=True) as source:
            with pytest.raises(HeaderInvalid, match=f"block 15, .*{complaint}"):
                await read(source)

    asyncio.run(use())


def test_a_block_that_is_missing_is_named(url: str) -> None:
    async def use() -> None:
        async with table(url, [row_of(item) for item in (*CHAIN[:5], *CHAIN[6:])]) as source:
            with pytest.raises(SourceError, match="lacks block 15"):
                await read(source)

    asyncio.run(use())


def test_what_is_no_indexer_is_told_without_a_password(url: str) -> None:
    async def complaint(url: str) -> str:
        with pytest.raises(SourceError) as caught:
            async with open_indexer(url):
                pass
        return str(caught.value)

    async def use() -> None:
        assert "has no table blockheaders" in await complaint(url)
        await fill(url, [], ["number", "timestamp"])
        assert "has no column base_fee_per_gas in its table" in await complaint(url)
        missing = await complaint(url.rpartition("/")[0] + "/no_such_database")
        assert "no_such_database" in missing
        gone = await complaint("postgres://user:password@127.0.0.1:1/chain")
        assert "cannot be reached" in gone
        assert "password" not in gone

    asyncio.run(use())


def test_a_connection_that_breaks_is_made_again(url: str) -> None:
    async def use() -> None:
        async with table(url) as source:
            other = await asyncpg.connect(url)
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'prover' AND datname = current_database()"
            )
            await other.close()
            # The pool may have seen it already, and have another one.
            with suppress(SourceUnreachable):
                await source.newest()
            assert await source.newest() == 109

    asyncio.run(use())


# A sync.


def test_a_sync_takes_verifies_and_goes_on(url: str, database_url: str) -> None:
    async def use(sync: Callable[..., Awaitable[list[SyncEvent]]], store: HeaderStore) -> None:
        await fill(url, [row_of(item) for item in CHAIN[:60]])
        with pytest.raises(SourceError, match="name it with --chain-id"):
            await sync(chain_id=None, from_block=20)
        await sync(from_time=CHAIN[10].header.timestamp + 1)
        assert await store.headers(0, 1000) == [item.header for item in CHAIN[10:60]]
        await fill(url, [row_of(item) for item in CHAIN])
        # The database knows the chain by now.
        await sync(chain_id=None)
        assert await store.headers(0, 1000) == [item.header for item in CHAIN[10:]]
        facts = await store.chain()
        assert facts is not None
        assert (facts.chain_id, facts.source.startswith("the indexer ")) == (31337, True)
        rows = await store.whole_rows(20, 109)
        assert [EncodedHeader(Header(*row[:-1]), row[-1]) for row in rows] == CHAIN[10:]

    sync_from(url, database_url, use)


def test_the_command_reads_from_an_indexer(url: str, tmp_path: Path) -> None:
    asyncio.run(fill(url, [row_of(item) for item in CHAIN]))
    environment = {name: value for name, value in os.environ.items() if "PROVER" not in name}
    environment |= {"PROVER_DATA_DIR": str(tmp_path), "PROVER_INDEXER_URL": url}

    def prover(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [*ENTRY, "headers", "sync", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )

    done = prover("--chain-id", "31337", "--from-block", "10")
    assert done.stdout.splitlines() == [
        "36 headers fetched, 36 of them new, 35 verified, up to block 45",
        "the newest 64 blocks of the indexer are left for later (--confirmations)",
    ]
    rest = prover("--confirmations", "0", "--light")
    assert rest.stdout == "64 headers fetched, 64 of them new, 0 verified, up to block 109\n"
    environment["PROVER_RPC_URL"] = "http://127.0.0.1:1"
    both = prover()
    assert both.stderr.startswith("prover: PROVER_RPC_URL and PROVER_INDEXER_URL are both set")


# Tables of other indexers.


def test_other_names_and_types_of_columns_are_read(url: str) -> None:
    """Times as TIMESTAMPTZ, hashes as BYTEA, numbers as NUMERIC, names as JSON-RPC has them."""
    renamed = {"block_hash": "hash", **{field.name: field.key for field in FIELDS}}

    async def use() -> None:
        connection = await asyncpg.connect(url)
        try:
            fields = decode_fields(CHAIN[0].rlp)
            kinds = {
                name: "BYTEA" if isinstance(value, bytes) else "NUMERIC"
                for name, value in fields.items()
            } | {"timestamp": "TIMESTAMPTZ", "number": "BIGINT", "block_hash": "BYTEA"}
            columns = ", ".join(f'"{renamed[name]}" {kind}' for name, kind in kinds.items())
            await connection.execute("DROP TABLE IF EXISTS blockheaders")
            await connection.execute(f"CREATE TABLE blockheaders ({columns})")
            for item in CHAIN[:5]:
                row: Row = {
                    **decode_fields(item.rlp),
                    "block_hash": bytes.fromhex((item.header.block_hash or "")[2:]),
                    "timestamp": datetime.fromtimestamp(item.header.timestamp, tz=UTC),
                }
                places = ", ".join(f"${place}" for place in range(1, len(kinds) + 1))
                await connection.execute(
                    f"INSERT INTO blockheaders VALUES ({places})", *[row[name] for name in kinds]
                )
        finally:
            await connection.close()
        first = CHAIN[0].header.number
        for light in (False, True):
            async with open_indexer(url, confirmations=0, light=light) as source:
                assert source.whole is not light
                assert await source.newest() == first + 4
                assert await source.timestamp(first) == CHAIN[0].header.timestamp
                expected = [item.header for item in CHAIN[:5]] if light else CHAIN[:5]
                assert await read(source, first, first + 4) == expected

    asyncio.run(use())


class Stopped(Exception):
    """The test has seen enough of a follower."""


def test_a_follower_waits_for_rows_that_come_out_of_order(url: str, database_url: str) -> None:
    first = CHAIN[0].header.number

    async def use() -> None:
        rows = [row_of(item) for item in CHAIN[:10]]
        events: list[SyncEvent] = []

        async def sleep(_: float) -> None:
            newest = await store.newest()
            if newest is not None and newest.number == first + 9:
                raise Stopped
            # The first time a row is missing below the newest; then it has come, too.
            await fill(
                url, rows if events and isinstance(events[-1], Trouble) else [*rows[:7], *rows[8:]]
            )

        async with table(url, rows[:5]) as source, Database(database_url) as database:
            store = header_store(database)
            sync = HeaderSync(source, store, chain_id=31337, on_event=events.append, sleep=sleep)
            with pytest.raises(Stopped):
                await sync.run(SyncRange(from_block=first), 1)
        (trouble,) = [event for event in events if isinstance(event, Trouble)]
        assert f"lacks block {first + 7}" in trouble.message

    asyncio.run(use())
