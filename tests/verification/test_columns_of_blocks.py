"""Fields of blocks are bound to the verifier's own anchor: through the bytes they are read from."""

from collections.abc import Iterable

import pytest

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.rlp_header import decode_fields, encode_header
from prover_framework.chain.sources.simulated import made_whole, simulate
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.inputs.block_headers import block_headers
from prover_framework.inputs.hourly_base_fee import hourly_base_fees
from prover_framework.inputs.trusted import Sources
from prover_framework.model.findings import Finding, Outcome
from prover_framework.model.series import TimeRange
from prover_framework.plugins.loading import load
from prover_framework.proofs.inputs import load_here
from prover_framework.serialization.converter import structure
from prover_framework.verification.chain_check import ChainCheck

FIRST_HOUR = 472_222 * 3600
CHAIN = tuple(made_whole(simulate(FIRST_HOUR, 1)))
LAST = CHAIN[-1].header
WANTED = TimeRange(CHAIN[3].header.timestamp, CHAIN[20].header.timestamp)

# One of the blocks of the range.
ALTERED = CHAIN[10]


async def followed(
    url: str, headers: Iterable[Header | EncodedHeader], instead: bytes | None = None
) -> Finding:
    """Return what following the blocks of a range to the last one comes to."""
    kind = load(()).kind("block_headers")
    need = block_headers(WANTED, ["gas_used", "base_fee_per_gas"])
    async with Database(url) as database:
        store = HeaderStore(database)
        facts = ChainFacts(1559, simulated=True, source="a test")
        await store.import_headers(headers, facts)
        if instead is not None:
            change = "UPDATE raw_header SET rlp = ? WHERE number = ?"
            await database.write(change, [instead, ALTERED.header.number])
        wanted = structure(need.query, kind.kind.need_type)
        loaded = await load_here(kind, wanted, Sources(headers=store))
        check = ChainCheck(store, "this database", LAST.block_hash, 1)
        finding = await check.follow(loaded)
    assert finding is not None
    return finding


async def test_true_blocks_lead_to_the_anchor(database_url: str) -> None:
    finding = await followed(database_url, CHAIN)
    assert finding.outcome is Outcome.PASSED
    assert finding.reason.endswith("and end with the trusted one")


@pytest.mark.parametrize("name", ["gas_used", "gas_limit", "blob_gas_used", "timestamp"])
async def test_one_altered_figure_under_a_right_base_fee_is_refused(
    database_url: str, name: str
) -> None:
    fields = dict(decode_fields(ALTERED.rlp))
    value = fields[name]
    assert isinstance(value, int)
    altered = encode_header({**fields, name: value + 1})
    assert altered.header.base_fee_wei == ALTERED.header.base_fee_wei
    finding = await followed(database_url, CHAIN, instead=altered.rlp)
    assert finding.outcome is Outcome.FAILED
    assert str(ALTERED.header.number) in finding.reason


async def test_blocks_without_bytes_lead_nowhere(database_url: str) -> None:
    finding = await followed(database_url, [stored.header for stored in CHAIN])
    assert finding.outcome is Outcome.NOT_POSSIBLE
    assert "is not stored whole" in finding.reason


async def test_on_a_chain_without_a_rule_it_is_said_that_fees_were_not_checked(
    database_url: str,
) -> None:
    kind = load(()).kind("hourly_base_fee")
    wanted = structure(
        hourly_base_fees(TimeRange(FIRST_HOUR, FIRST_HOUR + 3600)).query, kind.kind.need_type
    )
    async with Database(database_url) as database:
        store = HeaderStore(database)
        await store.import_headers(CHAIN, ChainFacts(987_654, simulated=False, source="a test"))
        loaded = await load_here(kind, wanted, Sources(headers=store))
        # The hour ends with the block before the last one.
        finding = await ChainCheck(store, "here", LAST.block_hash, 1).follow(loaded)
    assert loaded.provenance["fee_rule"] is None, "so the receipt says it"
    assert finding is not None
    assert finding.outcome is Outcome.PASSED
    assert "are linked, have fees that chain 987654 has no rule for" in finding.reason
