"""What is moved to another engine is there as it was: receipts byte for byte, and their digests."""

import asyncio
import json
from typing import Any

import pytest
from receipt_bench import GROUP, HOURS, ReceiptBench

from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import TransferError
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.store import JobStore
from prover_framework.jobs.transfer import Moved, export, take_in
from prover_framework.model.jobs import RetryPolicy
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.service import ReceiptService
from prover_framework.proofs.store import ReceiptStore
from prover_framework.receipts.documents import digest, dump_receipt
from prover_framework.settings import Settings


async def lines_of(database: Database) -> list[bytes]:
    return [json.dumps(line).encode() + b"\n" async for line, _ in export(database)]


def test_groups_receipts_and_headers_are_the_same_in_another_database(
    bench: ReceiptBench, database_url: str
) -> None:
    source = bench.runtime
    lines = bench.run(lines_of(source.database))
    before = bench.run(source.receipts.of_group(GROUP))
    stored = bench.run(source.jobs.group(GROUP))
    newest = bench.run(source.headers.newest())
    series = bench.run(source.headers.series_and_blocks(HOURS))

    async def check() -> None:
        async with Database(database_url) as database:
            jobs = JobStore(database, RetryPolicy())
            await jobs.submit(NewGroup("there", (NewJob("there", "twap", "{}", "default"),)))
            moved = await take_in(database, lines)
            assert moved.groups >= 1
            receipts = ReceiptService(
                Settings(), Plugins(found=(), hooks={}), jobs, ReceiptStore(database)
            )
            after = await receipts.of_group(GROUP)
            assert dump_receipt(after) == dump_receipt(before) == bench.group
            assert digest(after) == digest(before)
            assert await jobs.group(GROUP) == stored
            headers = HeaderStore(database)
            assert await headers.newest() == newest
            assert await headers.series_and_blocks(HOURS) == series
            # A second time nothing is changed, and headers are not mixed.
            with pytest.raises(TransferError, match="there are headers already"):
                await take_in(database, lines)
            second = await take_in(database, lines, with_headers=False)
            assert second == Moved(groups=0, there=moved.groups, headers=0)
            # Numbers that the database gives go on after those that came.
            await jobs.submit(NewGroup("next", (NewJob("next", "twap", "{}", "default"),)))
            await receipts.close()

    asyncio.run(check())


async def test_what_is_no_export_is_refused_with_its_line(database_url: str) -> None:
    begin = json.dumps({"format": "prover-framework/export/1"}).encode()
    other = json.dumps({"format": "prover-framework/export/9"}).encode()
    table = json.dumps({"table": "job", "columns": ["id"], "values": [["1"]]}).encode()
    async with Database(database_url) as database:
        for lines, words in (
            ([], "cut off after line 0"),
            ([begin], "cut off after line 1"),
            ([b"{"], "line 1 is no line"),
            ([table], "line 1 is no line"),
            ([other], "this version reads"),
            ([begin, b"[]"], "line 2 is no line"),
            ([begin, table], "line 2 has a table 'job' that this version has otherwise"),
        ):
            with pytest.raises(TransferError, match=words):
                await take_in(database, lines)
        assert not await database.read("SELECT 1 FROM job_group")


def exported(bench: ReceiptBench) -> list[dict[str, Any]]:
    """Return the lines of one group, with those around them."""
    lines = [json.loads(line) for line in bench.run(lines_of(bench.runtime.database))]
    begin = lines.index({"group": GROUP})
    end = lines.index({"end_of_group": GROUP})
    return [lines[0], *lines[begin : end + 1], {"end": {"groups": 1, "headers": 0}}]


def change(lines: list[dict[str, Any]], table: str, column: str, value: object) -> None:
    (line,) = (line for line in lines if line.get("table") == table)
    line["values"][0][line["columns"].index(column)] = value


@pytest.mark.parametrize(
    ("table", "column", "value", "words"),
    [
        ("job", "created_at", "now", "rows that are none of 'job'"),
        ("job", "created_at", 2**63, "rows that are none of 'job'"),
        ("job", "created_at", True, "rows that are none of 'job'"),
        ("job", "created_at", 1.5, "rows that are none of 'job'"),
        ("job", "created_at", None, "rows that are none of 'job'"),
        ("job", "result", ["x"], "rows that are none of 'job'"),
        ("job", "result", "\ud800", "rows that are none of 'job'"),
        ("job", "result", "\0", "rows that are none of 'job'"),
        ("job", "group_id", "of-somebody", "has rows of 'job' that are not its"),
        ("job", "namespace", "other", "has rows of 'job' that are not its"),
        ("job_group", "id", "of-somebody", "has rows of 'job_group' that are not its"),
        ("job_group", "namespace", "other", "has rows of 'job_group' that are not its"),
        ("seal", "job_id", "f" * 32, "has rows of 'seal' that are not its"),
    ],
)
def test_an_export_adds_nothing_to_what_is_of_others_and_nothing_that_is_no_value(
    bench: ReceiptBench, table: str, column: str, value: object, words: str
) -> None:
    lines = exported(bench)
    change(lines, table, column, value)
    with pytest.raises(TransferError, match=words):
        bench.run(take_in(bench.runtime.database, [json.dumps(line).encode() for line in lines]))
