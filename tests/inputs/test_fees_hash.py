"""The fees hash is the on-chain store's."""

import csv
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.inputs.fees_hash import (
    batch_digest,
    fees_hash,
    hash_words,
)
from prover_framework.model.felt import MAX_FELT, felt_from_float

# Computed by the Cairo contract of the on-chain store, from equal felts.
FELT = 0x6322CF2B00000000000000000000000000000000
DIGEST_OF_180 = (
    1899064690, 2582884512, 4135155955, 798422494, 171281208, 1706336902, 1452034954, 2201301487,
)  # fmt: skip
HASH_OF_5760 = (
    2742400919, 928893470, 783653877, 3849600438, 875778534, 2708382470, 3020714680, 2794336563,
)  # fmt: skip


def test_a_batch_has_the_contracts_digest() -> None:
    assert hash_words(batch_digest([FELT] * 180)) == DIGEST_OF_180


def test_eight_months_have_the_contracts_hash() -> None:
    assert hash_words(fees_hash([FELT] * 5760)) == HASH_OF_5760


def test_one_batch_is_hashed_twice_too() -> None:
    assert fees_hash([FELT] * 180) == sha256(batch_digest([FELT] * 180)).digest()


def test_the_last_batch_may_be_shorter() -> None:
    felts = [FELT + i for i in range(200)]
    inner = batch_digest(felts[:180]) + batch_digest(felts[180:])
    assert fees_hash(felts) == sha256(inner).digest()


def test_words_are_least_significant_first_and_written_big_endian() -> None:
    felt = sum(word << (32 * place) for place, word in enumerate(range(1, 9)))
    written = b"".join(word.to_bytes(4) for word in range(1, 9))
    assert felt <= MAX_FELT
    assert batch_digest([felt]) == sha256(written).digest()


@given(st.binary(min_size=32, max_size=32))
def test_a_hash_and_its_words_are_one(digest: bytes) -> None:
    assert len(hash_words(digest)) == 8
    assert b"".join(word.to_bytes(4) for word in hash_words(digest)) == digest


@given(st.lists(st.integers(0, MAX_FELT), min_size=2, max_size=8, unique=True))
def test_the_hash_depends_on_the_order(felts: list[int]) -> None:
    assert fees_hash(felts) != fees_hash(felts[::-1])


@pytest.mark.parametrize("felt", [-1, MAX_FELT + 1])
def test_what_is_no_felt_has_no_hash(felt: int) -> None:
    with pytest.raises(ValueError, match="felt"):
        fees_hash([felt])


def test_the_golden_hours_have_the_golden_hash() -> None:
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    with (Path(folder) / "mainnet_hourly_base_fee.csv").open() as lines:
        felts = [felt_from_float(float(row["base_fee_wei"])) for row in csv.DictReader(lines)]
    expected = json.loads((Path(folder) / "expected.json").read_text())
    (golden,) = (value for key, value in expected.items() if key.startswith("fees hash"))
    assert len(felts) == 2184
    assert hash_words(fees_hash(felts)) == tuple(golden)


@given(st.lists(st.integers(0, MAX_FELT), max_size=400))
def test_the_hash_is_that_of_its_definition(felts: list[int]) -> None:
    def batch(part: list[int]) -> bytes:
        words = [(felt >> (32 * place)) % 2**32 for felt in part for place in range(8)]
        return sha256(b"".join(word.to_bytes(4) for word in words)).digest()

    inner = b"".join(batch(felts[start : start + 180]) for start in range(0, len(felts), 180))
    assert fees_hash(felts) == sha256(inner).digest()
