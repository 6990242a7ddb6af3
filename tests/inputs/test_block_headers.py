"""Block headers as input: which blocks, when they are whole, and what binds their values."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.errors import DataNotYet, RequestError, SeriesIncomplete
from prover_framework.inputs.block_headers import FIELDS, BlockHeaders, BlocksWanted, block_headers
from prover_framework.inputs.trusted import Sources
from prover_framework.model.blocks import BlockColumns
from prover_framework.model.inputs import Chain
from prover_framework.model.series import TimeRange
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import Json

FIRST_HOUR = 472_222 * 3600
CHAIN = tuple(made_whole(simulate(FIRST_HOUR, 2)))
FACTS = ChainFacts(1559, simulated=True, source="a test")

KIND = BlockHeaders()


def light(headers: tuple[EncodedHeader, ...]) -> list[Header]:
    return [stored.header for stored in headers]


def wanted(start: int, end: int, *fields: str) -> BlocksWanted:
    need = block_headers(TimeRange(start, end), fields or FIELDS)
    return structure(need.query, BlocksWanted)


async def load(
    url: str, headers: list[Header] | list[EncodedHeader], need: BlocksWanted
) -> BlockColumns:
    async with Database(url) as database:
        store = HeaderStore(database)
        await store.import_headers(headers, FACTS)
        loaded = await KIND.load_here(need, Sources(headers=store))
    assert loaded.provenance["blocks"] == len(loaded.data)
    assert loaded.provenance["fee_rule"], "the rule of simulated chains is known"
    return loaded.data


def at(place: int) -> int:
    return CHAIN[place].header.timestamp


async def test_the_columns_are_those_of_the_blocks_of_the_range(database_url: str) -> None:
    columns = await load(database_url, list(CHAIN), wanted(at(3), at(10)))
    inside = light(CHAIN[3:10])
    assert columns.first_block == inside[0].number
    assert columns.last_block == inside[-1].number
    assert columns.timestamps == tuple(header.timestamp for header in inside)
    assert columns["gas_used"] == tuple(header.gas_used for header in inside)
    assert columns["base_fee_per_gas"] == tuple(header.base_fee_wei for header in inside)
    assert columns["blob_gas_used"] == (0,) * len(inside)
    assert (columns.first_hash, columns.last_hash) == (inside[0].block_hash, inside[-1].block_hash)
    assert columns.verified
    facts = KIND.facts(columns)
    assert (facts.start_timestamp, facts.end_timestamp) == (at(3), at(10))
    assert facts.fields == tuple(sorted(FIELDS))
    assert KIND.chain(columns) == Chain(1559, simulated=True)


async def test_a_range_may_begin_between_two_blocks(database_url: str) -> None:
    columns = await load(database_url, list(CHAIN), wanted(at(3) - 1, at(10) + 1, "gas_used"))
    assert columns.first_block == CHAIN[3].header.number
    assert columns.last_block == CHAIN[10].header.number


async def test_values_without_bytes_are_stated_as_unverified(database_url: str) -> None:
    need = wanted(at(3), at(10), "gas_used", "gas_limit", "base_fee_per_gas")
    columns = await load(database_url, light(CHAIN), need)
    assert not columns.verified
    assert not KIND.facts(columns).verified
    assert await problem(columns) == "values of some blocks are not from the bytes of their headers"


async def problem(columns: BlockColumns) -> str | None:
    return await KIND.confirm(columns, headers=None)  # type: ignore[arg-type]


async def test_a_field_that_is_nowhere_is_named_with_its_block(database_url: str) -> None:
    number = CHAIN[3].header.number
    with pytest.raises(SeriesIncomplete, match=f"block {number} has no blob_gas_used: it is not"):
        await load(database_url, light(CHAIN), wanted(at(3), at(10), "blob_gas_used"))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (2, "is missing: it shows that the range begins with"),
        (5, "1 blocks are missing, the first of them"),
        (10, "is missing: it shows that the range ends with"),
    ],
    ids=["before", "within", "after"],
)
async def test_a_missing_block_is_named(database_url: str, missing: int, said: str) -> None:
    there = [header for place, header in enumerate(light(CHAIN)) if place != missing]
    with pytest.raises(SeriesIncomplete, match=said) as caught:
        # One second more than the block before, so that the range does not begin with a block.
        await load(database_url, there, wanted(at(2) + 1, at(10), "gas_used"))
    assert str(CHAIN[missing].header.number) in str(caught.value)


async def test_a_range_that_the_chain_has_not_reached_waits(database_url: str) -> None:
    with pytest.raises(DataNotYet, match="the job waits for a header at or after the end"):
        await load(database_url, list(CHAIN), wanted(at(3), at(-1) + 1))


async def test_no_block_in_a_range_is_no_data(database_url: str) -> None:
    with pytest.raises(SeriesIncomplete, match="there is no block from"):
        await load(database_url, list(CHAIN), wanted(at(3) + 1, at(3) + 2))


COLUMNS = BlockColumns(
    chain_id=1,
    simulated=False,
    start_timestamp=10,
    end_timestamp=40,
    first_block=7,
    timestamps=(10, 22, 34),
    columns={"gas_used": (1, 2, 3), "gas_limit": (9, 9, 9)},
    first_hash="0x" + "11" * 32,
    last_hash="0x" + "22" * 32,
    verified=True,
)


@given(st.sampled_from(["gas_used", "gas_limit"]), st.integers(0, 2), st.integers(1, 2**62))
def test_every_value_is_bound(field: str, place: int, change: int) -> None:
    values = list(COLUMNS.columns[field])
    values[place] += change
    altered = attrs.evolve(COLUMNS, columns={**COLUMNS.columns, field: tuple(values)})
    verdict = KIND.compare(KIND.facts(altered), COLUMNS)
    assert not verdict.accepted
    assert verdict.reason.startswith("values_sha256: it is stated as")
    assert KIND.canonical(altered) != KIND.canonical(COLUMNS)
    assert KIND.seed_part(KIND.facts(altered)) != KIND.seed_part(KIND.facts(COLUMNS))


def test_who_has_verified_them_and_unknown_hashes_make_no_difference() -> None:
    for other in (
        attrs.evolve(COLUMNS, verified=False),
        attrs.evolve(COLUMNS, first_hash=None, last_hash=None),
    ):
        facts = KIND.facts(other)
        assert KIND.compare(facts, COLUMNS).accepted
        assert KIND.seed_part(facts) == KIND.seed_part(KIND.facts(COLUMNS))
    elsewhere = attrs.evolve(COLUMNS, last_hash="0x" + "33" * 32)
    assert not KIND.compare(KIND.facts(elsewhere), COLUMNS).accepted


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"fields": []}, "fields: must be some of base_fee_per_gas"),
        ({"fields": ["colour"]}, "fields: must be some of base_fee_per_gas"),
        ({"fields": ["gas_used", "gas_used"]}, "each once"),
        ({"end_timestamp": 5}, "end_timestamp: must be after start_timestamp"),
        ({"start_timestamp": -1}, "start_timestamp: "),
    ],
)
def test_needs_that_have_no_meaning_are_refused(query: dict[str, Json], said: str) -> None:
    sound: dict[str, Json] = {"start_timestamp": 10, "end_timestamp": 20, "fields": ["gas_used"]}
    with pytest.raises(RequestError, match=said):
        structure({**sound, **query}, BlocksWanted)
