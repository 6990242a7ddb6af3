"""Headers in columns surely obey the rules, or each of them is looked at."""

import asyncio
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Any, cast

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.chain import ingest
from prover_framework.chain.fee_rules import Eip1559, FeeRule, FixedFee, OpStack
from prover_framework.chain.headers import Batch, EncodedHeader, Header, HeaderColumns
from prover_framework.chain.ingest import ChainFacts, ImportReport, cut
from prover_framework.chain.rule_book import BUILT_IN, SIMULATED
from prover_framework.chain.rules import (
    ChainRules,
    FeePeriod,
    check_gas,
    check_link,
    surely_linked,
)
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import HeaderError

CHAIN = list(islice(simulate(1_680_000_000 // 3600 * 3600, 1, first_number=10), 30))
WHOLE = list(made_whole(CHAIN))

RULES = {
    "simulated": SIMULATED,
    "mainnet": BUILT_IN[1],
    "begins in the middle": ChainRules(name="x", fees=SIMULATED.fees, london_block=15),
    "no rule": BUILT_IN[100],
    "equal times": BUILT_IN[42161],
    "fixed": BUILT_IN[56],
    "own parameters": ChainRules(
        name="x", fees=(FeePeriod(0, Eip1559(elasticity=4, denominator=5, minimum_wei=10**10)),)
    ),
    "changing": ChainRules(name="x", fees=(FeePeriod(0, None), FeePeriod(20, Eip1559()))),
    "OP": BUILT_IN[10],
}

changes = st.fixed_dictionaries(
    {},
    optional={
        "number": st.integers(0, 60),
        "timestamp": st.integers(0, CHAIN[-1].timestamp + 20),
        "base_fee_wei": st.sampled_from([0, 1, 7, 10**9, CHAIN[3].base_fee_wei]),
        "gas_used": st.sampled_from([None, 0, 15_000_000, 30_000_000, 30_000_001]),
        "gas_limit": st.sampled_from([None, 0, 1, 2, 30_000_000]),
        "block_hash": st.sampled_from([None, "0x" + "11" * 32]),
        "parent_hash": st.sampled_from([None, "0x" + "11" * 32]),
    },
)


def of_whole() -> list[Header]:
    return [encoded.header for encoded in WHOLE]


@st.composite
def altered(draw: st.DrawFn) -> list[Header]:
    headers = list(draw(st.sampled_from([CHAIN, of_whole()])))
    for place, change in draw(st.lists(st.tuples(st.integers(0, 29), changes), max_size=2)):
        headers[place] = evolve(headers[place], **cast(Any, change))
    begin = draw(st.integers(0, 29))
    return headers[begin : draw(st.integers(begin + 1, 30))]


@given(altered(), st.sampled_from(list(RULES)))
def test_what_surely_obeys_the_rules_obeys_them(headers: list[Header], name: str) -> None:
    rules = RULES[name]
    if surely_linked(HeaderColumns.of(headers), rules):
        for header in headers:
            check_gas(header)
        for before, header in pairwise(headers):
            check_link(before, header, rules)


@pytest.mark.parametrize("headers", [CHAIN, of_whole()])
def test_a_chain_is_sure_of_itself(headers: list[Header]) -> None:
    columns = HeaderColumns.of(headers)
    assert surely_linked(columns, SIMULATED)
    assert surely_linked(columns, RULES["no rule"])
    light = [Header(h.number, h.timestamp, h.base_fee_wei) for h in headers]
    assert surely_linked(HeaderColumns.of(light), SIMULATED)


@given(
    fees=st.lists(st.integers(0, 10**12), min_size=2, max_size=2),
    used=st.integers(0, 100),
    limit=st.integers(1, 100),
    rule=st.builds(
        Eip1559,
        elasticity=st.integers(1, 5),
        denominator=st.integers(1, 10),
        minimum_wei=st.integers(0, 10**12),
    ),
)
def test_a_fee_surely_follows_only_where_it_is_the_next_one(
    fees: list[int], used: int, limit: int, rule: Eip1559
) -> None:
    parent = Header(1, 1, fees[0], min(used, limit), limit)
    if limit < rule.elasticity:
        assert not rule.surely_follow(HeaderColumns.of([parent, Header(2, 2, fees[1], 0, limit)]))
        return
    expected = rule.next_base_fee_wei(parent)
    assert expected is not None
    for fee in (expected, fees[1]):
        columns = HeaderColumns.of([parent, Header(2, 2, fee, 0, limit)])
        assert rule.surely_follow(columns) is (fee == expected)


@pytest.mark.parametrize(("rule", "sure"), [(FixedFee(wei=7), True), (OpStack(), False)])
def test_other_rules_of_fees(rule: FeeRule, *, sure: bool) -> None:
    headers = [Header(1, 1, 9), Header(2, 2, 7), Header(3, 3, 7)]
    assert rule.surely_follow(HeaderColumns.of(headers)) is sure
    headers[2] = Header(3, 3, 8)
    assert not rule.surely_follow(HeaderColumns.of(headers))


def told(headers: Sequence[Header], url: str, known: Sequence[Header]) -> object:
    """Return what an import comes to, what is stored then, or the words of its refusal."""

    async def work() -> object:
        async with Database(url) as database:
            store = HeaderStore(database)
            for table in ("block_header", "hourly_base_fee", "chain"):
                await database.write(f"DELETE FROM {table}")
            facts = ChainFacts(1559, simulated=True, source="test")
            try:
                await store.import_headers(known, facts)
                report: ImportReport | str = await store.import_headers(headers, facts)
            except HeaderError as error:
                report = f"{type(error).__name__} {error}"
            stored = await store.headers(0, 2**63 - 1)
            hours = await database.read("SELECT * FROM hourly_base_fee ORDER BY hour")
            return report, stored, [tuple(hour) for hour in hours]

    return asyncio.run(work())


def test_an_import_in_columns_comes_to_what_one_of_single_headers_does(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "CHUNK", 7)
    whole = of_whole()
    low = evolve(CHAIN[9], base_fee_wei=7)
    cases = [
        (CHAIN, []),
        (CHAIN, [CHAIN[12]]),
        (CHAIN, [low]),
        (CHAIN[10:], [low]),
        (CHAIN[:9], [low]),
        (CHAIN[10:], [evolve(CHAIN[0], timestamp=2**40)]),
        ([*CHAIN[:16], evolve(CHAIN[16], base_fee_wei=7), *CHAIN[17:]], []),
        ([*CHAIN[:16], evolve(CHAIN[16], gas_used=2**40), *CHAIN[17:]], []),
        ([*CHAIN[:3], *CHAIN[2:]], []),
        ([*CHAIN[:12], *CHAIN[13:]], []),
        (whole, []),
        ([*whole[:20], evolve(whole[20], parent_hash="0x" + "00" * 32)], whole[3:5]),
    ]
    for headers, known in cases:
        in_columns = told(headers, database_url, known)
        with monkeypatch.context() as singly:
            singly.setattr(ingest, "surely_linked", lambda *_: False)
            assert in_columns == told(headers, database_url, known)


batches = st.lists(
    st.one_of(
        st.lists(st.sampled_from([*CHAIN, *WHOLE]), max_size=9),
        st.lists(st.sampled_from([*CHAIN, *of_whole()]), min_size=1, max_size=9).map(
            HeaderColumns.of
        ),
    ),
    max_size=5,
)


@given(batches, st.integers(1, 6))
def test_batches_are_cut_anew_and_keep_every_header(given: list[Batch], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "CHUNK", size)
        parts = list(cut(iter(given)))
    assert all(len(part) == size for part in parts[:-1])
    everything: list[Header | EncodedHeader] = [header for batch in given for header in batch]
    assert [header for part in parts for header in part] == everything
    if all(isinstance(batch, HeaderColumns) for batch in given):
        assert all(isinstance(part, HeaderColumns) for part in parts)
