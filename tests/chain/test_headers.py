"""The base fee of a block follows from its parent by the EIP-1559 rule."""

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import assume, given
from hypothesis import strategies as st

from prover_framework.chain.headers import MAX_BASE_FEE_WEI, Header, next_base_fee_wei

# Five consecutive blocks of Sepolia from 8006481 on: base fee in wei, gas used, gas limit.
SEPOLIA = [
    (0xA0BA15, 16_280_370, 35_964_811),
    (0x9ED346, 26_603_125, 35_929_691),
    (0xA85F1D, 6_474_401, 35_894_605),
    (0x9AEAE1, 22_542_456, 35_929_657),
    (0x9FDA11, 16_433_358, 35_894_571),
]

base_fees = st.integers(0, MAX_BASE_FEE_WEI) | st.integers(0, 100)


@st.composite
def parents(draw: st.DrawFn, *, even_limit: bool = False) -> tuple[int, int, int]:
    target = draw(st.integers(1, 10**9))
    limit = 2 * target if even_limit else draw(st.integers(2 * target, 2 * target + 1))
    return draw(base_fees), draw(st.integers(0, limit)), limit


@pytest.mark.parametrize(("parent", "child"), list(pairwise(SEPOLIA)))
def test_real_blocks_follow_from_their_parents(
    parent: tuple[int, int, int], child: tuple[int, int, int]
) -> None:
    assert next_base_fee_wei(*parent) == child[0]


def test_every_golden_block_follows_from_its_parent() -> None:
    golden = os.environ.get("PROVER_GOLDEN_DIR")
    if golden is None:
        pytest.skip("PROVER_GOLDEN_DIR names no folder with real headers")
    blocks = json.loads((Path(golden) / "sepolia_headers.json").read_text("utf-8"))
    assert len(blocks) >= 2
    for parent, child in pairwise(blocks):
        assert int(child["number"]) == int(parent["number"]) + 1
        assert next_base_fee_wei(
            int(parent["base_fee_per_gas"], 16), int(parent["gas_used"]), int(parent["gas_limit"])
        ) == int(child["base_fee_per_gas"], 16)


@given(parents())
def test_the_change_is_the_distance_to_the_target_over_eight_targets_rounded_down(
    parent: tuple[int, int, int],
) -> None:
    base_fee, used, limit = parent
    target = limit // 2
    change = base_fee * abs(used - target) // (8 * target)
    expected = base_fee + max(change, 1) if used > target else base_fee - change
    assert next_base_fee_wei(base_fee, used, limit) == expected


@given(parents(even_limit=True))
def test_the_fee_changes_by_an_eighth_at_most_but_can_always_rise_by_one_wei(
    parent: tuple[int, int, int],
) -> None:
    base_fee, used, limit = parent
    after = next_base_fee_wei(base_fee, used, limit)
    assert base_fee - base_fee // 8 <= after <= base_fee + max(base_fee // 8, 1)
    assert (after > base_fee) == (used > limit // 2)


@given(base_fees, st.integers(1, 10**9))
def test_empty_and_full_blocks_change_the_fee_by_exactly_an_eighth(
    base_fee: int, target: int
) -> None:
    assume(base_fee >= 8)
    assert next_base_fee_wei(base_fee, 0, 2 * target) == base_fee - base_fee // 8
    assert next_base_fee_wei(base_fee, 2 * target, 2 * target) == base_fee + base_fee // 8


@given(base_fees, st.integers(1, 10**9))
def test_a_block_that_uses_its_target_leaves_the_fee_as_it_is(base_fee: int, target: int) -> None:
    assert next_base_fee_wei(base_fee, target, 2 * target) == base_fee
    assert next_base_fee_wei(base_fee, target, 2 * target + 1) == base_fee


def test_a_fee_of_zero_rises_by_one_wei_and_falls_no_further() -> None:
    assert next_base_fee_wei(0, 15_000_001, 30_000_000) == 1
    assert next_base_fee_wei(0, 0, 30_000_000) == 0
    assert next_base_fee_wei(7, 0, 30_000_000) == 7


@pytest.mark.parametrize("parent", [(1, 0, 1), (1, 0, 0), (1, -1, 30), (1, 31, 30), (-1, 1, 30)])
def test_a_parent_that_cannot_be_is_refused(parent: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no block has a base fee"):
        next_base_fee_wei(*parent)


def test_a_header_needs_three_values_and_stays_as_it_was_made() -> None:
    header = Header(1, 12, 10**9)
    assert header == Header(number=1, timestamp=12, base_fee_wei=10**9, gas_used=None)
    assert (header.gas_limit, header.block_hash, header.parent_hash) == (None, None, None)
    with pytest.raises(FrozenInstanceError):
        header.number = 2  # type: ignore[misc]
    assert not hasattr(header, "__dict__")
