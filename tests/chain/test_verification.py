"""One altered field in one header out of many is found, and block, field and rule are named."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from real_headers import LONDON, PRAGUE, PRAGUE_NEXT, SHANGHAI, altered, stored

from prover_framework.chain.headers import EncodedHeader, Header, next_base_fee_wei
from prover_framework.chain.rlp_header import FIELDS, FORKS, decode_fields
from prover_framework.chain.rule_book import BUILT_IN, SIMULATED
from prover_framework.chain.rules import begins_chain, check_link
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.verification import ChainSpan, verify_chain
from prover_framework.errors import HeaderInvalid, HeaderRule

MAINNET, SEPOLIA = BUILT_IN[1], BUILT_IN[11155111]
CHAIN = list(islice(made_whole(simulate(1_700_002_800, 1, first_number=500)), 40))
PRESENT = FIELDS[: FORKS["Prague"]]
COLUMNS = {"number", "timestamp", "base_fee_per_gas", "gas_used", "gas_limit", "parent_hash"}


def fault(headers: Sequence[EncodedHeader]) -> HeaderInvalid:
    with pytest.raises(HeaderInvalid) as caught:
        verify_chain(headers, SIMULATED)
    return caught.value


@st.composite
def alterations(draw: st.DrawFn) -> tuple[int, str, EncodedHeader]:
    """Alter one field of one header: return its place, the field, and the header."""
    place = draw(st.integers(0, len(CHAIN) - 1))
    field = draw(st.sampled_from(PRESENT))
    old = decode_fields(CHAIN[place].rlp)[field.name]
    if isinstance(old, bytes):
        size = len(old) if field.size is None else field.size
        values: st.SearchStrategy[Any] = st.binary(min_size=size, max_size=size)
    else:
        values = st.integers(0, field.maximum or 0) | st.integers(max(old - 2, 0), old + 2)
    new = draw(values.filter(lambda value: value != old))
    return place, field.name, altered(CHAIN[place], **{field.name: new})


# What is altered, is found.


def test_a_chain_that_is_whole_is_verified() -> None:
    span = verify_chain(CHAIN, SIMULATED)
    assert span == ChainSpan(CHAIN[0].header, CHAIN[-1].header)
    assert span is not None
    assert len(span) == len(CHAIN)


def test_two_real_blocks_are_a_chain_and_a_third_is_not_of_it() -> None:
    span = verify_chain([stored(PRAGUE), stored(PRAGUE_NEXT)], SIMULATED)
    assert span is not None
    assert span.last.block_hash == PRAGUE_NEXT["block_hash"]
    error = fault([stored(PRAGUE), stored(PRAGUE_NEXT), stored(SHANGHAI)])
    assert (error.block, error.field, error.rule) == (18722845, "number", HeaderRule.NUMBER)


@given(alterations())
def test_a_field_that_is_altered_in_the_bytes_is_found_and_named(
    alteration: tuple[int, str, EncodedHeader],
) -> None:
    place, name, header = alteration
    told = CHAIN[place].header
    error = fault(
        [*CHAIN[:place], EncodedHeader(told, header.rlp), *CHAIN[place + 1 :]],
    )
    assert error.block == told.number
    # The hash tells that one of the fields is altered; which, if it is stored twice.
    if name in COLUMNS:
        assert (error.field, error.rule) == (name, HeaderRule.STORED)
    else:
        assert (error.field, error.rule) == ("block_hash", HeaderRule.HASH)


@given(alterations())
def test_a_field_that_is_altered_where_its_bytes_are_not_is_found_and_named(
    alteration: tuple[int, str, EncodedHeader],
) -> None:
    place, name, header = alteration
    assume(name in COLUMNS)
    told = evolve(header.header, block_hash=CHAIN[place].header.block_hash)
    error = fault([*CHAIN[:place], EncodedHeader(told, CHAIN[place].rlp), *CHAIN[place + 1 :]])
    assert (error.field, error.rule) == (name, HeaderRule.STORED)
    assert error.block == told.number


@given(alterations())
def test_a_field_that_is_altered_with_hash_and_all_is_found_where_the_chain_parts(
    alteration: tuple[int, str, EncodedHeader],
) -> None:
    place, name, header = alteration
    # What is altered at the end is found by whoever trusts the hash of the end.
    assume(place < len(CHAIN) - 1)
    error = fault([*CHAIN[:place], header, *CHAIN[place + 1 :]])
    rules = {
        "number": HeaderRule.NUMBER,
        "timestamp": HeaderRule.TIMESTAMP,
        "parent_hash": HeaderRule.PARENT,
        "base_fee_per_gas": HeaderRule.BASE_FEE,
        "gas_used": HeaderRule.GAS,
        "gas_limit": HeaderRule.GAS,
    }
    # Either its own fields show it, or the next block, which names the hash that it had.
    assert (error.block, error.rule) in [
        (header.header.number, rules.get(name)),
        (CHAIN[place + 1].header.number, rules.get(name)),
        (CHAIN[place + 1].header.number, HeaderRule.PARENT),
    ]


@given(st.integers(0, len(CHAIN) - 1), st.data())
def test_a_byte_that_is_altered_is_found_in_its_block(place: int, data: st.DataObject) -> None:
    encoded = bytearray(CHAIN[place].rlp)
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    told = CHAIN[place].header
    error = fault([*CHAIN[:place], EncodedHeader(told, bytes(encoded)), *CHAIN[place + 1 :]])
    assert error.block == told.number
    assert str(error).startswith(f"block {told.number}")


@pytest.mark.parametrize("place", [1, 20, 38])
def test_a_block_that_is_missing_twice_or_out_of_order_is_named(place: int) -> None:
    follower = CHAIN[place + 1]
    missing = fault([*CHAIN[:place], *CHAIN[place + 1 :]])
    assert (missing.block, missing.rule) == (follower.header.number, HeaderRule.NUMBER)
    twice = fault([*CHAIN[:place], CHAIN[place], CHAIN[place], *CHAIN[place + 1 :]])
    assert (twice.block, twice.rule) == (CHAIN[place].header.number, HeaderRule.NUMBER)


def test_the_first_fault_of_several_is_named() -> None:
    faulty = [
        stored if place not in (7, 9) else EncodedHeader(stored.header, CHAIN[0].rlp)
        for place, stored in enumerate(CHAIN)
    ]
    assert fault(faulty).block == CHAIN[7].header.number


def test_a_column_that_is_empty_contradicts_nothing() -> None:
    empty = [
        EncodedHeader(Header(s.header.number, s.header.timestamp, s.header.base_fee_wei), s.rlp)
        for s in CHAIN
    ]
    assert verify_chain(empty, SIMULATED) == verify_chain(CHAIN, SIMULATED)


def test_no_headers_span_nothing() -> None:
    assert verify_chain([], SIMULATED) is None


# Links.


@pytest.mark.parametrize(("parent", "child"), list(pairwise(CHAIN[:4])))
def test_a_block_follows_from_its_parent_alone(parent: EncodedHeader, child: EncodedHeader) -> None:
    assert check_link(parent.header, child.header, SIMULATED)


@pytest.mark.parametrize("unknown", ["block_hash", "gas_used", "gas_limit"])
def test_a_link_is_not_whole_when_something_of_the_parent_is_unknown(unknown: str) -> None:
    changes: dict[str, Any] = {unknown: None}
    parent = evolve(CHAIN[0].header, **changes)
    assert not check_link(parent, CHAIN[1].header, SIMULATED)
    with pytest.raises(HeaderInvalid, match=r"rule: timestamp"):
        check_link(parent, evolve(CHAIN[1].header, timestamp=parent.timestamp), SIMULATED)


@given(st.integers(0, 10**12).filter(lambda fee: fee != CHAIN[1].header.base_fee_wei))
def test_a_base_fee_that_does_not_follow_is_told_with_the_one_that_does(fee: int) -> None:
    parent = CHAIN[0].header
    with pytest.raises(HeaderInvalid) as caught:
        check_link(parent, evolve(CHAIN[1].header, base_fee_wei=fee), SIMULATED)
    expected = next_base_fee_wei(parent.base_fee_wei, parent.gas_used or 0, parent.gas_limit or 0)
    assert caught.value.rule is HeaderRule.BASE_FEE
    assert str(expected) in str(caught.value)


def test_a_parent_without_a_gas_target_is_named_itself() -> None:
    parent = evolve(CHAIN[0].header, gas_used=0, gas_limit=1)
    with pytest.raises(HeaderInvalid) as caught:
        check_link(parent, CHAIN[1].header, SIMULATED)
    assert (caught.value.block, caught.value.rule) == (parent.number, HeaderRule.GAS)


# Where a chain begins.


def test_the_first_london_block_begins_the_chain_with_the_initial_base_fee() -> None:
    london = stored(LONDON).header
    assert begins_chain(london, MAINNET)
    assert not begins_chain(stored(SHANGHAI).header, MAINNET)
    with pytest.raises(HeaderInvalid, match="must be 1000000000") as caught:
        begins_chain(evolve(london, base_fee_wei=10**9 + 1), MAINNET)
    assert caught.value.rule is HeaderRule.BASE_FEE


def test_a_base_fee_before_the_chain_had_any_is_refused() -> None:
    with pytest.raises(HeaderInvalid, match="the first block with one is 12965000"):
        begins_chain(evolve(stored(LONDON).header, number=12_964_999), MAINNET)


def test_a_chain_younger_than_london_begins_at_block_0_with_a_fee_of_its_own() -> None:
    genesis = Header(0, 5, 7)
    assert begins_chain(genesis, SEPOLIA)
    assert not begins_chain(evolve(genesis, number=1), SEPOLIA)
