"""The base fee is checked by the rule of its own chain, by what is known of the blocks."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rlp
from attrs import evolve
from real_headers import OP_STACK, PRAGUE, altered, stored

from prover_framework.chain.fee_rules import Eip1559, FixedFee, OpStack
from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.rlp_header import encode_header
from prover_framework.chain.rule_book import BUILT_IN, RuleBook, read_rule_book
from prover_framework.chain.rules import ChainRules, FeePeriod, check_link
from prover_framework.chain.verification import verify_chain
from prover_framework.errors import HeaderInvalid, HeaderRule, SettingsError

MAINNET, BASE, ARBITRUM = BUILT_IN[1], BUILT_IN[8453], BUILT_IN[42161]
BEFORE = Header(20_000_000, 1_720_000_000, 10**10, 16_000_000, 30_000_000)


def after(before: Header, **changes: Any) -> Header:
    return evolve(before, number=before.number + 1, timestamp=before.timestamp + 12, **changes)


# Published vectors of the rules.


@pytest.mark.parametrize(
    ("denominator", "used", "expected"),
    [
        (50, 5_000_000, 1_000_000_000),
        (50, 4_000_000, 996_000_000),
        (50, 10_000_000, 1_020_000_000),
        (250, 5_000_000, 1_000_000_000),
        (250, 4_000_000, 999_200_000),
        (250, 10_000_000, 1_004_000_000),
    ],
)
def test_parameters_of_a_chain_give_the_published_fees(
    denominator: int, used: int, expected: int
) -> None:
    """https://github.com/ethereum-optimism/op-geth, eip1559_test.go, TestCalcBaseFeeOptimism."""
    rule = Eip1559(elasticity=6, denominator=denominator)
    parent = Header(32, 6, 10**9, used, 30_000_000)
    assert rule.next_base_fee_wei(parent) == expected


def op_block(
    used: int, fee: int, extra: bytes, limit: int = 30_000_000, data_used: int = 0
) -> EncodedHeader:
    return altered(
        stored(PRAGUE), gas_used=used, gas_limit=limit, base_fee_per_gas=fee, extra_data=extra,
        blob_gas_used=data_used,
    )  # fmt: skip


def parameters(denominator: int, elasticity: int, minimum: int | None = None) -> bytes:
    """Return the extraData of an OP stack block, of Jovian if there is a minimum."""
    version = b"\0" if minimum is None else b"\1"
    tail = b"" if minimum is None else minimum.to_bytes(8)
    return version + denominator.to_bytes(4) + elasticity.to_bytes(4) + tail


@pytest.mark.parametrize(
    ("used", "expected", "denominator", "elasticity"),
    [
        (15_000_000, 10_000_000, 10, 2),
        (10_000_000, 9_666_667, 10, 2),
        (20_000_000, 10_333_333, 10, 2),
        (3_000_000, 10_000_000, 2, 10),
        (1_000_000, 6_666_667, 2, 10),
        (30_000_000, 55_000_000, 2, 10),
    ],
)
def test_holocene_blocks_say_the_parameters_for_the_next_one(
    used: int, expected: int, denominator: int, elasticity: int
) -> None:
    """The same file, TestCalcBaseFeeOptimismHolocene."""
    parent = op_block(used, 10_000_000, parameters(denominator, elasticity))
    assert OpStack().next_base_fee_wei(parent.header, parent.rlp) == expected


@pytest.mark.parametrize(
    ("fee", "used", "expected", "minimum"),
    [
        (1, 10_000_000, 10**9, 10**9),
        (1, 11_000_000, 10**9, 10**9),
        (2 * 10**9, 20_000_000, 2_040_000_000, 10**9),
        (1, 9_000_000, 10**9, 10**9),
        (2_097_152, 9_000_000, 2_092_958, 2_000_000),
    ],
)
def test_jovian_blocks_say_a_minimum(fee: int, used: int, expected: int, minimum: int) -> None:
    """The same file, TestCalcBaseFeeMinBaseFee."""
    parent = op_block(used, fee, parameters(50, 3, minimum))
    assert OpStack().next_base_fee_wei(parent.header, parent.rlp) == expected


def test_since_jovian_data_counts_as_gas() -> None:
    """https://specs.optimism.io/protocol/jovian/exec-engine.html: the larger one is metered."""
    gas = op_block(20_000_000, 2 * 10**9, parameters(50, 3, 0))
    data = op_block(1_000_000, 2 * 10**9, parameters(50, 3, 0), data_used=20_000_000)
    before_jovian = op_block(1_000_000, 2 * 10**9, parameters(50, 3), data_used=20_000_000)
    fees = [OpStack().next_base_fee_wei(b.header, b.rlp) for b in (gas, data, before_jovian)]
    assert fees[0] == fees[1] == 2_040_000_000
    assert fees[2] is not None
    assert fees[2] < 2 * 10**9


@pytest.mark.parametrize(
    "extra", [b"\1" + bytes(8), b"\0" + bytes(16), b"\2" + bytes(16), b"x", bytes(8) + b"\1"]
)
def test_parameters_that_are_none_are_refused_by_their_field(extra: bytes) -> None:
    parent = op_block(1, 10**9, extra)
    with pytest.raises(HeaderInvalid) as caught:
        OpStack().next_base_fee_wei(parent.header, parent.rlp)
    assert (caught.value.field, caught.value.block) == ("extra_data", parent.header.number)


def test_a_real_header_of_the_op_stack_makes_its_hash_and_says_its_parameters() -> None:
    header = stored(OP_STACK)
    assert header.header.block_hash == OP_STACK["block_hash"]
    # Its target are 10 million of its 60 million units, of which it used 52,220.
    fee = header.header.base_fee_wei
    expected = fee - fee * (10_000_000 - 52_220) // 10_000_000 // 250
    assert OpStack().next_base_fee_wei(header.header, header.rlp) == expected


@pytest.mark.parametrize("extra", [b"", bytes(9)])
def test_after_a_block_that_says_no_parameters_the_fee_is_not_known(extra: bytes) -> None:
    parent = op_block(1, 10**9, extra)
    assert OpStack().next_base_fee_wei(parent.header, parent.rlp) is None
    child = after(parent.header, parent_hash=parent.header.block_hash, base_fee_wei=5)
    assert not check_link(parent.header, child, BASE, parent.rlp)


def test_a_child_by_the_rule_of_mainnet_is_refused_on_a_chain_of_the_op_stack() -> None:
    parent = op_block(10_000_000, 10_000_000, parameters(10, 2))
    link = {"number": parent.header.number + 1, "timestamp": parent.header.timestamp + 2,
            "parent_hash": parent.header.block_hash}  # fmt: skip
    right = altered(parent, base_fee_per_gas=9_666_667, **link)
    by_mainnet = altered(parent, base_fee_per_gas=9_583_334, **link)
    assert verify_chain([parent, right], BASE) is not None
    with pytest.raises(HeaderInvalid, match="it must be 9666667") as caught:
        verify_chain([parent, by_mainnet], BASE)
    assert caught.value.rule is HeaderRule.BASE_FEE
    assert verify_chain([parent, by_mainnet], BUILT_IN[11155111]) is not None


# Chains.


def test_without_a_rule_hashes_and_links_are_verified_and_that_is_said() -> None:
    parent = stored(PRAGUE)
    child = altered(
        parent, number=parent.header.number + 1, parent_hash=parent.header.block_hash,
        base_fee_per_gas=1,
    )  # fmt: skip
    assert ARBITRUM.fee_rule is None
    # Its blocks are less than a second apart.
    assert child.header.timestamp == parent.header.timestamp
    assert verify_chain([parent, child], ARBITRUM) is not None
    assert check_link(parent.header, child.header, ARBITRUM)
    elsewhere = altered(child, parent_hash=bytes(32))
    with pytest.raises(HeaderInvalid) as caught:
        verify_chain([parent, elsewhere], ARBITRUM)
    assert caught.value.rule is HeaderRule.PARENT


@pytest.mark.parametrize("chain_id", [56, 97])
def test_where_the_fee_is_zero_another_one_is_refused(chain_id: int) -> None:
    free = evolve(BEFORE, base_fee_wei=0)
    check_link(free, after(free), BUILT_IN[chain_id])
    with pytest.raises(HeaderInvalid, match="it must be 0"):
        check_link(free, after(free, base_fee_wei=1), BUILT_IN[chain_id])


@pytest.mark.parametrize("chain_id", [4, 100, 137, 42161, 3503995874084926])
def test_a_chain_that_is_not_known_has_no_rule(chain_id: int) -> None:
    rules = RuleBook().rules_of(chain_id)
    assert rules.fee_rule is None
    check_link(BEFORE, after(BEFORE, base_fee_wei=7), rules)


def test_every_real_header_of_another_chain_makes_its_hash() -> None:
    golden = os.environ.get("PROVER_GOLDEN_DIR")
    if golden is None:
        pytest.skip("PROVER_GOLDEN_DIR names no folder with real headers")
    block = json.loads(Path(golden, "arbitrum_one_96223596.json").read_text("utf-8"))
    header = from_node(block)
    assert header.header.block_hash == block["hash"]
    assert verify_chain([header], ARBITRUM) is not None
    cancun = json.loads(Path(golden, "mainnet_19449567.json").read_text("utf-8"))
    assert from_node(cancun).header.block_hash == cancun["hash"]
    hoodi = json.loads(Path(golden, "hoodi_headers.json").read_text("utf-8"))
    assert verify_chain(list(map(from_node, hoodi)), BUILT_IN[560048]) is not None


def from_node(block: dict[str, Any]) -> EncodedHeader:
    from prover_framework.chain.rlp_header import FIELDS

    return encode_header({field.name: block.get(field.key) for field in FIELDS})


def test_a_test_chain_of_its_own_is_verified_from_london_to_osaka() -> None:
    golden = os.environ.get("PROVER_GOLDEN_DIR")
    if golden is None:
        pytest.skip("PROVER_GOLDEN_DIR names no folder with real headers")
    rules = ChainRules(name="hive", fees=(FeePeriod(0, Eip1559()),), london_block=27)
    data = Path(golden, "hive_chain_london_to_osaka.rlp").read_bytes()
    headers = []
    while data:
        block, used = first_item(data)
        data = data[used:]
        if len(block[0]) > 15:
            headers.append(encode_rlp(block[0]))
    span = verify_chain(headers, rules)
    assert span is not None
    assert (span.first.number, span.last.number) == (27, 54)


def first_item(data: bytes) -> tuple[Any, int]:
    from rlp.codec import consume_length_prefix

    _, _, length, start = consume_length_prefix(data, 0)
    return rlp.decode(data[: start + length]), start + length


def encode_rlp(items: list[bytes]) -> EncodedHeader:
    from prover_framework.chain.rlp_header import read_header

    encoded = rlp.encode(items)
    return EncodedHeader(read_header(encoded), encoded)


# What is known is checked.


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"base_fee_wei": 10**10}, HeaderRule.BASE_FEE),
        ({"timestamp": BEFORE.timestamp}, HeaderRule.TIMESTAMP),
    ],
)
def test_a_row_without_hashes_is_checked_by_its_gas(
    change: dict[str, Any], rule: HeaderRule
) -> None:
    right = after(BEFORE, base_fee_wei=10_083_333_333)
    assert not check_link(BEFORE, right, MAINNET), "there are no hashes, so it is not verified"
    with pytest.raises(HeaderInvalid) as caught:
        check_link(BEFORE, evolve(right, **change), MAINNET)
    assert caught.value.rule is rule


# The file of the settings.


def rule_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "chains.json"
    path.write_text(text)
    return path


def test_a_file_brings_rules_of_further_chains(tmp_path: Path) -> None:
    document = {
        "chains": [
            {
                "chain_id": 137,
                "name": "Polygon",
                "fees": [
                    {"from_block": 10, "rule": "eip1559", "denominator": 16},
                    {"from_block": 20, "rule": "eip1559", "denominator": 64, "minimum_wei": 30},
                    {"from_block": 30, "rule": "fixed", "wei": 7},
                    {"from_block": 40, "rule": "op_stack"},
                    {"from_block": 50, "rule": "none"},
                ],
            }
        ]
    }
    rules = read_rule_book(rule_file(tmp_path, json.dumps(document))).rules_of(137)
    assert [rules.fee_rule_after(number) for number in (9, 10, 20, 30, 40, 50)] == [
        None, Eip1559(denominator=16), Eip1559(denominator=64, minimum_wei=30), FixedFee(wei=7),
        OpStack(), None,
    ]  # fmt: skip
    assert rules.fee_rule == "Polygon: Eip1559, FixedFee, OpStack"
    parent = Header(20, 5, 32, 0, 30_000_000)
    check_link(parent, after(parent, base_fee_wei=32), rules)
    with pytest.raises(HeaderInvalid, match="it must be 32"):
        check_link(parent, after(parent, base_fee_wei=28), rules)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "the document must be an object"),
        ('{"chain": []}', "has 'chain'; what it may have is chains"),
        ('{"chains": [{"chain_id": "1"}]}', "chain_id must be 0.."),
        ('{"chains": [{"chain_id": 5, "fees": [{"rule": "magic"}]}]}', "there is no rule 'magic'"),
        (
            '{"chains": [{"chain_id": 5, "fees": [{"rule": "none"}, {"rule": "none"}]}]}',
            "from_block must rise",
        ),
        ('{"chains": [{"chain_id": 5, "fees": [{"rule": "fixed"}]}]}', "wei must be 0.."),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_rule_book(rule_file(tmp_path, text))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("read", [read_rule_book])
def test_a_file_that_is_not_there_is_named(
    read: Callable[[Path], RuleBook], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read(tmp_path / "nothing.json")
