"""The seed depends on what it should and nothing else."""

from hashlib import sha256
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.errors import EmptyRange
from prover_framework.inputs.fees_hash import fees_hash, hash_words
from prover_framework.inputs.hourly_base_fee import HourlyBaseFee
from prover_framework.model.proofs import RangeParameters
from prover_framework.model.series import HourlySeries, SeriesKind, TimeRange
from prover_framework.proofs.parameters import parameters_beside_range, range_of, with_range
from prover_framework.proofs.seed import SeedInput, derive_seed
from prover_framework.serialization.types import LongInteger

HOUR = 3600
MAX_INT = 2**63 - 1
FIRST_HOUR = 472_222 * HOUR


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


def inputs(series: HourlySeries, **changes: Any) -> dict[str, SeedInput]:
    kind = HourlyBaseFee()
    stated = SeedInput(kind.name, kind.version, series.chain_id, kind.seed_part(kind.facts(series)))
    return {"fees": evolve(stated, **changes)}


def seed(
    *,
    proof_type: str = "max_return",
    version: str = "1",
    parameters: object = PARAMETERS,
    series: HourlySeries = SERIES,
    **changes: Any,
) -> str:
    return derive_seed(
        proof_type=proof_type,
        version=version,
        hours=range_of(parameters),
        parameters=parameters_beside_range(parameters),
        inputs=inputs(series, **changes),
    ).hex()


def test_a_seed_is_the_hash_of_a_canonical_statement() -> None:
    words = ",".join(map(str, hash_words(fees_hash(SERIES.felts()))))
    statement = (
        '{"inputs":{"fees":{"chain_id":1,"kind":"hourly_base_fee","kind_version":"1","part":{'
        f'"fees_hash":[{words}],'
        f'"first_hour":{FIRST_HOUR},"last_hour":{FIRST_HOUR + HOUR}}}}}}},'
        '"parameters":{},"proof_type":"max_return",'
        f'"range":[{FIRST_HOUR},{FIRST_HOUR + 2 * HOUR}],"version":"1"}}'
    )
    assert seed() == sha256(b"prover-framework/seed/2\0" + statement.encode()).hexdigest()


def test_seeds_do_not_change_from_release_to_release() -> None:
    # Every result that was ever drawn depends on these digits: a change breaks verification.
    assert seed() == "c0a79dd76b91a4a282b2a3cc095e9b5c18e7d392dfc710769a0c6a2548e03a26"
    plain = RangeParameters(start_timestamp=0, end_timestamp=MAX_INT)
    assert (
        seed(proof_type="reserve_price", parameters=plain)
        == "c301a989e9f46612c48a7ff266a9e6484d349835abd3d90a458d628ad3d37152"
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
        {"kind_version": "2"},
        {"kind": "other"},
        {"part": None},
    ],
    ids=[
        "type", "version", "parameter", "other parameter", "chain", "hours", "fees", "longer",
        "version of the kind", "kind", "part",
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
    items: tuple[LongInteger, ...] = ()


def test_parameters_without_a_range_count_in_full() -> None:
    assert seed(parameters=Unranged(1)) != seed(parameters=Unranged(2))


def test_a_computation_without_data_has_a_seed() -> None:
    nothing = derive_seed(proof_type="a", version="1", hours=None, parameters={}, inputs={})
    named = derive_seed(proof_type="b", version="1", hours=None, parameters={}, inputs={})
    assert len(nothing) == 32
    assert nothing != named


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
    parameters = evolve(PARAMETERS, weight=0.25)
    hours = range_of(parameters)
    assert hours == TimeRange(FIRST_HOUR, FIRST_HOUR + 2 * HOUR)
    rest = parameters_beside_range(parameters)
    assert rest == {"weight": 0.25}
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
