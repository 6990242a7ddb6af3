"""Stored headers are verified page by page, by one process or several, to the same end."""

import asyncio
import io
import pickle
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import attrs
import psutil
import pytest
from real_headers import altered

from prover_framework.chain import parallel
from prover_framework.chain.headers import EncodedHeader
from prover_framework.chain.ingest import COLUMNS
from prover_framework.chain.parallel import verify_blocks
from prover_framework.chain.rule_book import BUILT_IN, SIMULATED
from prover_framework.chain.rules import ChainRules
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.chain.verification import ChainSpan, verify_chain
from prover_framework.chain.verifying import serve
from prover_framework.chain.whole import LENGTH, WHOLE, Task, WholeRow, verify_rows
from prover_framework.database.database import Database
from prover_framework.database.reading import open_reader
from prover_framework.errors import HeaderError, HeaderInvalid, StoreError

CHAIN = list(islice(made_whole(simulate(1_700_002_800, 1, first_number=500)), 40))
FIRST, LAST = 500, 539
HASHES = [encoded.header.block_hash for encoded in CHAIN]


def row(encoded: EncodedHeader) -> list[object]:
    h = encoded.header
    return [
        h.number, h.timestamp, h.base_fee_wei, h.gas_used, h.gas_limit, h.block_hash,
        h.parent_hash, True,
    ]  # fmt: skip


def verified(
    url: str,
    chain: Sequence[EncodedHeader],
    *,
    rules: ChainRules = SIMULATED,
    trusted: str | None = None,
    needed: int = 0,
    processes: int = 1,
    page: int = 7,
    on_progress: Callable[[int], None] | None = None,
) -> ChainSpan | None:
    """Put headers into a database as they are, and verify them."""

    async def work() -> ChainSpan | None:
        async with Database(url) as database:
            async with database.transaction() as connection:
                for table in ("block_header", "raw_header"):
                    await connection.fetch(f"DELETE FROM {table}")
                await connection.copy("block_header", COLUMNS, map(row, chain))
                whole = [(e.header.number, e.rlp) for e in chain if e.rlp]
                await connection.copy("raw_header", ("number", "rlp"), whole)
            return await verify_blocks(
                HeaderStore(database), FIRST, LAST, rules, trusted=trusted, needed=needed,
                processes=processes, page=page, on_progress=on_progress,
            )  # fmt: skip

    return asyncio.run(work())


def with_other(place: int) -> list[EncodedHeader]:
    """Return the chain with another block in one place, which the next one does not follow."""
    other = altered(CHAIN[place], extra_data=b"other")
    return [*CHAIN[:place], other, *CHAIN[place + 1 :]]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_pages_are_verified_as_one_chain(database_url: str, processes: int) -> None:
    seen: list[int] = []
    span = verified(database_url, CHAIN, processes=processes, on_progress=seen.append)
    assert span == verify_chain(CHAIN, SIMULATED)
    assert seen == [7, 14, 21, 28, 35, 40]


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("place", [0, 5, 6, 13, 38])
def test_the_first_fault_is_named_wherever_the_pages_are_cut(
    database_url: str, processes: int, place: int
) -> None:
    # The pages after the first fault have one, too.
    faulty = [*with_other(place)[:-1], EncodedHeader(CHAIN[-1].header, b"no header")]
    with pytest.raises(HeaderInvalid) as caught:
        verified(database_url, faulty, processes=processes)
    assert caught.value.block == FIRST + place + 1
    with pytest.raises(HeaderInvalid) as alone:
        verify_chain(faulty, SIMULATED)
    assert str(caught.value) == str(alone.value)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_block_that_is_not_whole_is_named(database_url: str, processes: int) -> None:
    partly = [*CHAIN[:20], EncodedHeader(CHAIN[20].header, b""), *CHAIN[21:]]
    for chain in (partly, [*CHAIN[:20], *CHAIN[21:]], CHAIN[:20]):
        with pytest.raises(HeaderError, match=r"^block 520 is not stored whole: "):
            verified(database_url, chain, processes=processes)
    # A fault in a page before it comes first.
    with pytest.raises(HeaderInvalid, match=r"^block 504"):
        verified(database_url, with_other(3)[:20], processes=processes)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_trusted_block_is_found_and_ends_the_reading(database_url: str, processes: int) -> None:
    seen: list[int] = []
    span = verified(
        database_url,
        CHAIN,
        trusted=HASHES[10],
        processes=processes,
        page=2,
        on_progress=seen.append,
    )
    assert span is not None
    assert (span.trusted_block, span.last.number) == (510, 511)
    assert seen[-1] == 12
    further = verified(database_url, CHAIN, trusted=HASHES[10], needed=520, processes=processes)
    assert further is not None
    assert (further.trusted_block, further.last.number) == (510, 520)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_hash_that_is_not_there_is_not_found(database_url: str, processes: int) -> None:
    span = verified(database_url, CHAIN, trusted="0x" + "00" * 32, processes=processes)
    assert span is not None
    assert span.trusted_block is None


def test_a_process_that_is_killed_is_told_in_a_sentence(database_url: str) -> None:
    def kill(_: int) -> None:
        for child in psutil.Process().children():
            if parallel.VERIFYING in child.cmdline():
                child.kill()

    with pytest.raises(HeaderError, match="ended from outside"):
        verified(database_url, CHAIN, processes=2, page=1, on_progress=kill)


def test_no_process_is_left(database_url: str) -> None:
    with pytest.raises(HeaderInvalid):
        verified(database_url, with_other(3), processes=3, page=1)
    assert not [c for c in psutil.Process().children() if parallel.VERIFYING in c.cmdline()]


async def test_another_process_that_cannot_read_says_so(database_url: str, tmp_path: Path) -> None:
    async with Database(database_url) as database:

        class Elsewhere:
            where = tmp_path / "none.sqlite3"

            async def whole_rows(self, first: int, last: int) -> Sequence[WholeRow]:
                chain = CHAIN[first - FIRST : last - FIRST + 1]
                return [(*row(each)[:-1], each.rlp) for each in chain]

        with pytest.raises(StoreError, match=f"the database {Elsewhere.where} refused: unable"):
            await verify_blocks(Elsewhere(), FIRST, LAST, SIMULATED, processes=2, page=4)
        assert database.where


async def test_rows_are_read_without_the_orm(database_url: str) -> None:
    verified_span = await asyncio.to_thread(verified, database_url, CHAIN)

    def read() -> ChainSpan:
        reader = open_reader(where)
        with pytest.raises(StoreError, match=r"^the database .* refused: "):
            reader.read("SELECT none FROM block_header", [])
        rows = reader.read(WHOLE, [FIRST, LAST])
        reader.close()
        return verify_rows(rows, FIRST, LAST, SIMULATED)

    async with Database(database_url) as database:
        where = database.where
    assert await asyncio.to_thread(read) == verified_span


@pytest.mark.parametrize("rules", [SIMULATED, BUILT_IN[1], BUILT_IN[100], BUILT_IN[56]])
def test_columns_of_stored_headers_come_to_what_each_of_them_does(rules: ChainRules) -> None:
    one = CHAIN[20].header
    chains = [CHAIN, with_other(20), with_other(0)]
    for change in (
        {"gas_used": None},
        {"gas_limit": 7},
        {"timestamp": 3},
        {"block_hash": HASHES[21]},
        {"parent_hash": None},
    ):
        changed = EncodedHeader(attrs.evolve(one, **cast(Any, change)), CHAIN[20].rlp)
        chains.append([*CHAIN[:20], changed, *CHAIN[21:]])
    for chain in chains:
        rows = [(*row(each)[:-1], each.rlp) for each in chain]
        try:
            expected: ChainSpan | str | None = verify_chain(chain, rules, HASHES[30])
        except HeaderInvalid as error:
            expected = str(error)
        try:
            found: ChainSpan | str = verify_rows(rows, FIRST, LAST, rules, HASHES[30])
        except HeaderInvalid as error:
            found = str(error)
        assert found == expected


def test_a_process_answers_in_order_what_it_is_asked(database_url: str) -> None:
    expected = verified(database_url, CHAIN, page=40)
    asked, answers = io.BytesIO(), io.BytesIO()

    async def where() -> Path | str:
        async with Database(database_url) as database:
            return database.where

    pages = [(FIRST, LAST), (LAST, LAST + 1), (FIRST + 1, LAST)]
    for message in (Task(asyncio.run(where()), SIMULATED, HASHES[10]), *pages):
        data = pickle.dumps(message)
        asked.write(LENGTH.pack(len(data)) + data)
    asked.seek(0)
    serve(asked, answers)
    answers.seek(0)
    found = []
    while head := answers.read(LENGTH.size):
        found.append(pickle.loads(answers.read(*LENGTH.unpack(head))))
    assert expected is not None
    assert found[0] == attrs.evolve(expected, trusted_block=510)
    assert str(found[1]).startswith("block 540 is not stored whole")
    assert found[2].first.number == 501


def test_a_process_that_is_told_nothing_ends() -> None:
    answers = io.BytesIO()
    serve(io.BytesIO(), answers)
    assert not answers.getvalue()
