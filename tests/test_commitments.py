"""The fees hash is the on-chain store's; the seed depends on what it should and nothing else."""

import csv
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.commitments import (
    batch_digest,
    derive_seed,
    fees_hash,
    hash_from_words,
    hash_words,
    parameters_beside_range,
    range_of,
    with_range,
)
from prover_framework.errors import EmptyRange
from prover_framework.felt import MAX_FELT, felt_from_float
from prover_framework.model import HourlySeries, RangeParameters, SeriesKind, TimeRange

# Computed by the Cairo contract of the on-chain store, from equal felts.
FELT = 0x6322CF2B00000000000000000000000000000000
DIGEST_OF_180 = (
    1899064690, 2582884512, 4135155955, 798422494, 171281208, 1706336902, 1452034954, 2201301487,
)  # fmt: skip
HASH_OF_5760 = (
    2742400919, 928893470, 783653877, 3849600438, 875778534, 2708382470, 3020714680, 2794336563,
)  # fmt: skip

HOUR = 3600
MAX_INT = 2**63 - 1
FIRST_HOUR = 472_222 * HOUR


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
    assert hash_from_words(hash_words(digest)) == digest


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


@frozen(kw_only=True)
class Windowed(RangeParameters):
    window_hours: int = 720
    weight: float = field(default=0.5)


SERIES = HourlySeries(
    chain_id=1,
    simulated=False,
    kind=SeriesKind.BLOCKS,
    first_hour=FIRST_HOUR,
    sums_wei=(300, 500),
    counts=(3, 4),
    first_block=17,
    last_block=23,
)
PARAMETERS = Windowed(start_timestamp=FIRST_HOUR + 5, end_timestamp=FIRST_HOUR + 2 * HOUR + 5)


def seed(
    *,
    proof_type: str = "max_return",
    version: str = "1",
    parameters: object = PARAMETERS,
    series: HourlySeries = SERIES,
    series_hash: bytes | None = None,
) -> str:
    return derive_seed(
        proof_type=proof_type,
        version=version,
        chain_id=series.chain_id,
        first_hour=series.first_hour,
        last_hour=series.last_hour,
        series_hash=series_hash or fees_hash(series.felts()),
        parameters=parameters_beside_range(parameters),
    ).hex()


def test_a_seed_is_the_hash_of_a_canonical_statement() -> None:
    hash_hex = fees_hash(SERIES.felts()).hex()
    statement = (
        '{"chain_id":1,'
        f'"fees_hash":"{hash_hex}",'
        f'"first_hour":{FIRST_HOUR},"last_hour":{FIRST_HOUR + HOUR},'
        '"parameters":{"weight":0.5,"window_hours":720},'
        '"proof_type":"max_return","version":"1"}'
    )
    assert seed() == sha256(b"prover-framework/seed/1\0" + statement.encode()).hexdigest()


def test_seeds_do_not_change_from_release_to_release() -> None:
    # Every result that was ever drawn depends on these digits: a change breaks verification.
    assert seed() == "54c97d9bfa5e1c9b27af75b31a2612e05c81719db84ae4c4b340047e7792986f"
    plain = RangeParameters(start_timestamp=0, end_timestamp=MAX_INT)
    assert (
        seed(proof_type="reserve_price", parameters=plain)
        == "95f1c34500a880146b964951af0ef1bc3f9b43c4bf5ec3d8b33c1009c1479470"
    )


@given(st.integers(0, HOUR - 1), st.integers(0, HOUR - 1))
def test_the_seconds_within_the_outer_hours_do_not_move_the_seed(start: int, end: int) -> None:
    parameters = evolve(
        PARAMETERS,
        start_timestamp=FIRST_HOUR + start,
        end_timestamp=FIRST_HOUR + 2 * HOUR + end,
    )
    assert seed(parameters=parameters) == seed()


@pytest.mark.parametrize(
    "change",
    [
        {"first_block": 1, "last_block": 7},
        {"kind": SeriesKind.HOURLY},
        {"simulated": True},
    ],
    ids=["block range", "kind of source", "label of the source"],
)
def test_where_the_fees_came_from_does_not_move_the_seed(change: dict[str, Any]) -> None:
    assert seed(series=evolve(SERIES, **change)) == seed()


def test_only_the_means_count_and_not_how_many_blocks_they_are_made_from() -> None:
    doubled = evolve(SERIES, sums_wei=(600, 1000), counts=(6, 8))
    assert seed(series=doubled) == seed()


@pytest.mark.parametrize(
    "change",
    [
        {"proof_type": "twap"},
        {"version": "2"},
        {"parameters": evolve(PARAMETERS, window_hours=719)},
        {"parameters": evolve(PARAMETERS, weight=0.25)},
        {"series": evolve(SERIES, chain_id=2)},
        {"series": evolve(SERIES, first_hour=FIRST_HOUR + HOUR)},
        {"series": evolve(SERIES, sums_wei=(300, 501))},
        {"series": evolve(SERIES, sums_wei=(300, 500, 7), counts=(3, 4, 1))},
        {
            "series": evolve(SERIES, sums_wei=(300, 500, 7), counts=(3, 4, 1)),
            "series_hash": fees_hash(SERIES.felts()),
        },
        {"series_hash": bytes(32)},
    ],
    ids=[
        "type", "version", "parameter", "other parameter", "chain", "hours", "fees", "longer",
        "last hour alone", "hash",
    ],
)  # fmt: skip
def test_everything_else_moves_the_seed(change: dict[str, Any]) -> None:
    assert seed(**change) != seed()


def test_a_default_that_is_spelled_out_gives_the_same_seed() -> None:
    spelled = Windowed(
        start_timestamp=PARAMETERS.start_timestamp,
        end_timestamp=PARAMETERS.end_timestamp,
        window_hours=720,
        weight=0.5,
    )
    assert seed(parameters=spelled) == seed()


@frozen
class Unranged:
    start_timestamp: int
    items: tuple[int, ...] = ()


def test_parameters_without_a_range_count_in_full() -> None:
    assert seed(parameters=Unranged(1)) != seed(parameters=Unranged(2))


@given(st.integers(2**53 - 3, 2**64), st.integers(2**53 - 3, 2**64))
def test_integers_of_any_size_have_seeds_of_their_own(one: int, other: int) -> None:
    for a, b in ((one, other), (-one, -other), (one, one + 1), (one, -one)):
        seeds = seed(parameters=Unranged(1, (a,))), seed(parameters=Unranged(1, (b,)))
        assert (seeds[0] == seeds[1]) is (a == b)
    assert seed(series=evolve(SERIES, chain_id=one)) != seed()


@given(chain_id=st.integers(1, 2**63 - 1), hour=st.integers(0, 2**50).map(lambda n: n * HOUR))
def test_every_chain_and_hour_has_a_seed(chain_id: int, hour: int) -> None:
    assert len(seed(series=evolve(SERIES, chain_id=chain_id, first_hour=hour))) == 64


def test_parameters_are_their_whole_hours_and_the_rest() -> None:
    hours = range_of(PARAMETERS)
    assert hours == TimeRange(FIRST_HOUR, FIRST_HOUR + 2 * HOUR)
    rest = parameters_beside_range(PARAMETERS)
    assert rest == {"window_hours": 720, "weight": 0.5}
    assert with_range(rest, hours) == {
        **rest,
        "start_timestamp": FIRST_HOUR,
        "end_timestamp": FIRST_HOUR + 2 * HOUR,
    }
    assert range_of(Unranged(1)) is None
    assert with_range({"start_timestamp": 1}, None) == {"start_timestamp": 1}


def test_a_range_without_a_whole_hour_is_none() -> None:
    with pytest.raises(EmptyRange):
        range_of(Windowed(start_timestamp=5, end_timestamp=6))
