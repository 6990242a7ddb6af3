"""Headers are only as good as the block that the verifier trusts: anybody can link others."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner
from node_server import node_in_thread
from receipt_bench import END, ReceiptBench, receipt_bench, rows, told

from prover_framework.chain.headers import EncodedHeader, Header, next_base_fee_wei
from prover_framework.chain.sources.simulated import BLOCKS_PER_HOUR, made_whole, simulate
from prover_framework.cli.main import prover
from prover_framework.model.findings import Outcome
from prover_framework.verification.checks import Check, CheckName, Report

HOURS = 4
FIRST_HOUR = END - HOURS * 3600
FIRST_NUMBER = 18_000_000

# What is asked for: the hours without the outer ones, so that the chain goes on before and after.
FIRST_USED, LAST_USED = BLOCKS_PER_HOUR, 3 * BLOCKS_PER_HOUR - 1
PROOFS = {"twap": {"start_timestamp": FIRST_HOUR + 3600, "end_timestamp": END - 3600}}


def chain(seed: int) -> list[EncodedHeader]:
    """Return whole headers that are linked and obey EIP-1559: somebody's chain."""
    light = simulate(FIRST_HOUR, HOURS, first_number=FIRST_NUMBER, seed=seed)
    return list(made_whole(light))


REAL, FABRICATED = chain(1), chain(2)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiptBench]:
    """Those who follow the real chain."""
    directory = tmp_path_factory.mktemp("honest")
    with receipt_bench(directory, headers=REAL, plugins=["twap"], proofs=PROOFS) as bench:
        yield bench


@pytest.fixture(scope="module")
def dishonest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiptBench]:
    """Somebody who has made a chain of his own, and a receipt over it."""
    directory = tmp_path_factory.mktemp("dishonest")
    with receipt_bench(directory, headers=FABRICATED, plugins=["twap"], proofs=PROOFS) as bench:
        yield bench


def row(report: Report, check: CheckName) -> Check:
    [found] = [row for row in report.checks if row.check is check]
    return found


def block_hash(stored: EncodedHeader) -> str:
    assert stored.header.block_hash is not None
    return stored.header.block_hash


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(LAST_USED + 1, id="the next"),
        pytest.param(-1, id="a later one", marks=pytest.mark.slow),
    ],
)
def test_hours_that_lead_to_a_trusted_block_are_the_chains(
    honest: ReceiptBench, place: int
) -> None:
    report = honest.verify(honest.group, trusted_hash=block_hash(REAL[place]))
    assert report.accepted, told(report)
    found = row(report, CheckName.CHAIN)
    assert (found.outcome, found.asked) == (Outcome.PASSED, True)
    assert (
        f"blocks {FIRST_NUMBER + FIRST_USED} to {REAL[place].header.number} are linked"
        in found.reason
    )
    assert "the headers are linked to the trusted block" in report.strength
    assert report.strength.endswith("On trust: the plugins that are installed here; the trusted "
                                    "block.")  # fmt: skip


def test_a_fabricated_chain_is_not_the_verifiers(
    honest: ReceiptBench, dishonest: ReceiptBench
) -> None:
    """It links and obeys EIP-1559, the result follows from it, and its maker has signed it."""
    own = dishonest.verify(dishonest.group, trusted_hash=block_hash(FABRICATED[-1]))
    assert own.accepted, "to himself it is as good as can be"
    report = honest.verify(dishonest.group, pinned=dishonest.verifier.pinned)
    assert not report.accepted
    assert "fees_hash: it is stated as" in told(report)
    assert {check.check for check in rows(report)} == {CheckName.INPUT, CheckName.PROVENANCE}


def test_a_fabricated_chain_does_not_lead_to_a_real_block(
    dishonest: ReceiptBench,
) -> None:
    """A verifier who takes the maker's headers, too, has a block that he trusts."""
    report = dishonest.verify(dishonest.group, trusted_hash=block_hash(REAL[-1]))
    assert not report.accepted
    found = row(report, CheckName.CHAIN)
    assert found.outcome is Outcome.NOT_POSSIBLE
    assert "has no block of the trusted hash" in found.reason
    assert "the headers are linked" not in report.strength
    assert "that the verifier's headers are the chain's" in report.strength


def test_a_block_before_the_end_says_nothing_of_what_follows(honest: ReceiptBench) -> None:
    """Nor does the last one itself: what comes after it may belong to the last hour, too."""
    for place in (LAST_USED - 1, LAST_USED):
        report = honest.verify(honest.group, trusted_hash=block_hash(REAL[place]))
        assert not report.accepted
        assert f"the trusted block is {FIRST_NUMBER + place}, and the data ends" in told(report)
        assert "name one after that" in told(report)


Forged = Sequence[Header | EncodedHeader]

LIGHT = Header(FIRST_NUMBER, 0, 10**9)


def without_first(chain: list[EncodedHeader]) -> Forged:
    """Hide the first blocks of the first hour behind one that is said to come before it."""
    hidden = evolve(LIGHT, number=FIRST_NUMBER + FIRST_USED + 9, timestamp=FIRST_HOUR + 3599)
    return [hidden, *chain[FIRST_USED + 10 :]]


def without_last(chain: list[EncodedHeader]) -> Forged:
    """Hide the last blocks of the last hour behind one that is said to come after it."""
    last = chain[LAST_USED - 10].header
    fee = next_base_fee_wei(last.base_fee_wei, last.gas_used or 0, last.gas_limit or 0)
    number = FIRST_NUMBER + LAST_USED - 9
    hidden = evolve(LIGHT, number=number, timestamp=END - 3600 + 1, base_fee_wei=fee)
    return [*chain[: LAST_USED - 9], hidden]


@pytest.mark.parametrize(
    ("forge", "place", "said"),
    [
        (without_first, -1, f"block {FIRST_NUMBER + FIRST_USED + 9} is not stored whole"),
        (without_last, LAST_USED - 10, "name one after that"),
        (without_last, LAST_USED + 1, "has no block of the trusted hash"),
    ],
    ids=["first", "last", "last, and a later block"],
)
def test_blocks_can_not_be_hidden_at_the_ends(
    tmp_path: Path, forge: Callable[[list[EncodedHeader]], Forged], place: int, said: str
) -> None:
    """All blocks that are left are real and lead to a real one, and the mean is another."""
    with receipt_bench(tmp_path, headers=forge(REAL), plugins=["twap"], proofs=PROOFS) as bench:
        assert bench.verify(bench.group).accepted, "to whom the headers are all there is"
        report = bench.verify(bench.group, trusted_hash=block_hash(REAL[place]))
        assert not report.accepted
        assert row(report, CheckName.CHAIN).outcome is Outcome.NOT_POSSIBLE
        assert said in told(report)


def test_sums_that_are_not_those_of_the_headers_are_found(tmp_path: Path) -> None:
    """The headers are real, whole and lead to a real block; the hours beside them do not."""
    with receipt_bench(tmp_path, headers=REAL, plugins=["twap"], proofs=PROOFS) as bench:
        change = "UPDATE hourly_base_fee SET sum_wei = sum_wei + ? WHERE hour = ?"
        bench.run(bench.runtime.database.write(change, [1, FIRST_HOUR + 3600]))
        group = bench.prove("again", PROOFS)
        assert bench.verify(group).accepted
        report = bench.verify(group, trusted_hash=block_hash(REAL[-1]))
        assert not report.accepted
        found = row(report, CheckName.CHAIN)
        assert found.outcome is Outcome.FAILED
        assert f"the first of them that of {FIRST_HOUR + 3600}" in found.reason


def test_without_a_trusted_block_nothing_is_followed(honest: ReceiptBench) -> None:
    report = honest.verify(honest.group)
    assert report.accepted
    assert row(report, CheckName.CHAIN).outcome is Outcome.NOT_POSSIBLE
    assert not honest.verify(honest.group, CheckName.CHAIN).accepted


def test_a_stored_header_that_was_altered_is_named(honest: ReceiptBench) -> None:
    database = honest.runtime.database
    number = FIRST_NUMBER + FIRST_USED + 17
    change = "UPDATE block_header SET base_fee_wei = base_fee_wei + ? WHERE number = ?"
    honest.run(database.write(change, [1, number]))
    try:
        report = honest.verify(honest.group, trusted_hash=block_hash(REAL[-1]))
    finally:
        honest.run(database.write(change, [-1, number]))
    assert not report.accepted
    assert row(report, CheckName.CHAIN).outcome is Outcome.FAILED
    assert str(number) in row(report, CheckName.CHAIN).reason


def test_headers_without_their_bytes_can_not_be_followed(honest: ReceiptBench) -> None:
    database = honest.runtime.database
    number = FIRST_NUMBER + FIRST_USED + 17
    (raw,) = honest.run(database.read("SELECT rlp FROM raw_header WHERE number = ?", [number]))
    honest.run(database.write("DELETE FROM raw_header WHERE number = ?", [number]))
    try:
        report = honest.verify(honest.group, trusted_hash=block_hash(REAL[-1]))
    finally:
        honest.run(
            database.write("INSERT INTO raw_header (number, rlp) VALUES (?, ?)", [number, raw[0]])
        )
    assert row(report, CheckName.CHAIN).outcome is Outcome.NOT_POSSIBLE
    assert f"block {number} is not stored whole" in told(report)


def test_a_receipt_over_whole_headers_names_their_hashes(honest: ReceiptBench) -> None:
    provenance = honest.document("twap")["provenance"]["inputs"]["hourly_base_fee"]
    assert provenance["first_block_hash"] == block_hash(REAL[FIRST_USED])
    assert provenance["last_block_hash"] == block_hash(REAL[LAST_USED])
    document = honest.document("twap")
    document["provenance"]["inputs"]["hourly_base_fee"]["last_block_hash"] = block_hash(
        FABRICATED[0]
    )
    report = honest.verify(honest.sign(document))
    assert not report.accepted
    assert "last_block_hash: it is stated as" in told(report)


def test_the_same_headers_give_the_same_statement_whatever_engine_or_source(
    honest: ReceiptBench, tmp_path: Path, database_url: str
) -> None:
    """Whole headers or a file of fees, one database or another: what is claimed is the same."""
    light = [stored.header for stored in REAL]
    fees = [Header(h.number, h.timestamp, h.base_fee_wei) for h in light]
    with receipt_bench(
        tmp_path, headers=fees, plugins=["twap"], proofs=PROOFS, database_url=database_url
    ) as other:
        theirs, ours = other.document("twap"), honest.document("twap")
        assert theirs["statement"] == ours["statement"]
        from_there, from_here = (
            receipt["provenance"]["inputs"]["hourly_base_fee"] for receipt in (theirs, ours)
        )
        assert from_there["first_block_hash"] is None
        assert (from_there["verified"], from_here["verified"]) == (False, True)
        # Each is checked with what the other has.
        assert honest.verify(other.group, pinned=other.verifier.pinned).accepted
        report = other.verify(honest.group, pinned=honest.verifier.pinned)
        assert report.accepted
        assert "no hash to compare first_block_hash with" in told(report)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(LAST_USED + 1, id="the next"),
        pytest.param(-1, id="a later one", marks=pytest.mark.slow),
    ],
)
def test_headers_are_fetched_from_a_node_of_the_verifiers(
    honest: ReceiptBench, tmp_path: Path, place: int
) -> None:
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(honest.group)
    key = honest.key.public_key.hex()
    arguments = ["verify", str(receipt), "--key", key, "--trusted-hash", block_hash(REAL[place])]
    environment = {
        "PROVER_DATA_DIR": str(tmp_path / "empty"),
        "PROVER_PLUGINS": "twap",
        "PROVER_RPC_REQUESTS_PER_SECOND": "10000",
        # This node has no other blocks, and each that it lacks is asked for twice.
        "PROVER_RPC_RETRY_SECONDS": "0.01",
    }
    outcomes = {}
    for name, blocks in (("real", REAL), ("fabricated", FABRICATED)):
        with node_in_thread(blocks) as node:
            result = CliRunner().invoke(
                prover, [*arguments, "--rpc-url", node.url], env=environment
            )
        outcomes[name] = result.exit_code
        assert "secret-key-of-ours" not in result.output
    assert outcomes == {"real": 0, "fabricated": 1}


def test_no_node_is_asked_for_a_receipt_that_spans_too_much(
    honest: ReceiptBench, tmp_path: Path
) -> None:
    """From the first year of Unix to the next century."""
    receipt = tmp_path / "receipt.json"
    far = honest.document("twap")
    far["statement"]["range"] = {
        "start_timestamp": 0,
        "end_timestamp": 4_000_000_000 // 3600 * 3600,
    }
    environment = {"PROVER_DATA_DIR": str(tmp_path / "empty"), "PROVER_PLUGINS": "twap"}
    with node_in_thread(REAL) as node:
        receipt.write_text(json.dumps(far))
        arguments = ["verify", str(receipt), "--rpc-url", node.url]
        result = CliRunner().invoke(prover, arguments, env=environment)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), result.exception
        assert "the range has 1,111,111 hours, more than are fetched" in result.output
        assert not node.requests
