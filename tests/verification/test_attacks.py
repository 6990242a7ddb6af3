"""What a dishonest sender tries, and how `prover verify` is not fooled by it.

Each attack is run through the command line as its victim would, on a file. The victim has the
headers and the plugins, and has pinned the key of the honest service.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from attrs import frozen
from click.testing import CliRunner
from receipt_bench import END, GROUP, Document, ReceiptBench

from prover_framework.cli.main import prover
from prover_framework.seals.ed25519 import SigningKey, key_id
from prover_framework.seals.keys import KeyDirectory


@frozen
class Answer:
    """What the victim reads."""

    status: int
    checks: tuple[Document, ...]
    strength: str

    @property
    def failures(self) -> str:
        return "\n".join(
            f"{row['check']} of {row['subject']}: {row['outcome']}: {row['reason']}"
            for row in self.checks
            if row["outcome"] == "failed" or (row["asked"] and row["outcome"] != "passed")
        )


Verify = Callable[..., Answer]


@pytest.fixture
def verify(bench: ReceiptBench, tmp_path: Path) -> Verify:
    """Run ``prover verify FILE --key KEY --json``."""
    settings = bench.runtime.settings

    def run(document: Document | bytes, *options: str) -> Answer:
        file = tmp_path / "receipt.json"
        file.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        pinned = ("--key", bench.key.public_key.hex())
        done = CliRunner().invoke(
            prover,
            ["verify", str(file), "--json", *pinned, *options],
            env={"PROVER_DATA_DIR": str(settings.data_dir)},
        )
        answer = json.loads(done.stdout)
        assert (done.exit_code == 0) is answer["accepted"], done.output
        return Answer(done.exit_code, tuple(answer["checks"]), answer["strength"])

    return run


def test_the_honest_receipt_passes(bench: ReceiptBench, verify: Verify) -> None:
    answer = verify(bench.group)
    assert answer.status == 0, answer.failures


def test_edited_and_signed_again_with_another_key(bench: ReceiptBench, verify: Verify) -> None:
    stranger = SigningKey.generate()
    document = bench.document("twap")
    document["statement"]["result"]["twap"] *= 1.01
    answer = verify(bench.sign(document, stranger))
    assert answer.status == 1
    assert f"signed by key {key_id(stranger.public_key)}, which is not among" in answer.failures
    assert "result of twap: failed" in answer.failures
    # Nor is a true receipt vouched for by a stranger, whatever it says of his key.
    signed = bench.sign(bench.document("twap"), stranger)
    assert verify(signed).status == 1
    signed["seals"][0]["key_id"] = key_id(bench.key.public_key)
    assert "seal of twap: failed: the signature is not that of key" in verify(signed).failures
    signed["seals"][0]["public_key"] = stranger.public_key.hex()
    assert "seal of twap: failed: it is no signature" in verify(signed).failures


@pytest.mark.parametrize("proof_type", [None, "twap"])
def test_the_seal_removed(bench: ReceiptBench, verify: Verify, proof_type: str | None) -> None:
    document = bench.document(proof_type)
    document["seals"] = []
    answer = verify(document, "--only", "seal")
    assert answer.status == 1
    assert "failed: it has no signature, and one by a pinned key is wanted" in answer.failures


def test_strength_claimed(bench: ReceiptBench, verify: Verify) -> None:
    document = bench.document("twap")
    document["provenance"]["inputs"]["hourly_base_fee"]["verified"] = True
    document["provenance"]["inputs"]["hourly_base_fee"]["source"] = (
        "the chain itself, finalized and verified"
    )
    honest = verify(bench.document("twap"))
    answer = verify(bench.sign(document))
    assert answer.strength == honest.strength
    assert "that the verifier's headers are the chain's" in answer.strength


def test_a_statement_with_the_seal_of_another(bench: ReceiptBench, verify: Verify) -> None:
    twap, other = bench.document("twap"), bench.document("max_return")
    twap["seals"] = other["seals"]
    assert "seal of twap: failed" in verify(twap, "--only", "seal").failures

    # A receipt of another group, true and signed, in the place of one of this group.
    elsewhere = bench.document("twap")
    elsewhere["provenance"]["made_at"] = "2020-01-01T00:00:00.000Z"
    group = bench.document()
    proofs = [receipt["statement"]["proof_type"] for receipt in group["receipts"]]
    group["receipts"][proofs.index("twap")] = bench.sign(elsewhere)
    answer = verify(group, "--only", "members", "--only", "seal")
    assert answer.status == 1
    assert f"members of {GROUP}: failed: receipts: that of twap has the digest" in answer.failures

    # One group's seal on the statement of another.
    renamed = bench.document()
    renamed["statement"]["group_id"] = "round-8"
    assert "seal of round-8: failed" in verify(renamed, "--only", "seal").failures


def test_members_left_out_or_twice(bench: ReceiptBench, verify: Verify) -> None:
    for change in (
        lambda receipts: receipts[:2],
        lambda receipts: [*receipts, receipts[0]],
        lambda receipts: receipts[::-1],
    ):
        group = bench.document()
        group["receipts"] = change(group["receipts"])
        answer = verify(group, "--only", "members")
        assert answer.status == 1
        assert f"members of {GROUP}: failed: receipts: " in answer.failures


def test_a_seed_that_was_ground_over_raw_timestamps(bench: ReceiptBench, verify: Verify) -> None:
    """Two times an hour of seconds would be millions of seeds to choose a price from."""
    document = bench.document("reserve_price")
    ground = sha256(f"reserve_price {END - 1_234} {END + 77}".encode()).hexdigest()
    document["statement"]["seed"] = ground
    answer = verify(bench.sign(document), "--only", "seed")
    assert answer.status == 1
    assert f"seed: it is stated as {ground}, and what follows from parameters" in answer.failures

    # A way to derive seeds that the sender made up is none.
    document["statement"]["seed_derivation"] = "prover-framework/seed/raw-timestamps"
    assert verify(bench.sign(document), "--only", "seed").status == 1

    # The seconds themselves have no place in a statement, ...
    document = bench.document("reserve_price")
    document["statement"]["range"]["start_timestamp"] += 5
    assert "form of : failed: statement.range: must be whole hours" in verify(document).failures
    # ... nor among the parameters, where a seed would depend on them.
    document = bench.document("reserve_price")
    document["statement"]["parameters"]["start_timestamp"] = END - 1_234
    assert verify(bench.sign(document), "--only", "result").status == 1


def test_another_markets_journal(bench: ReceiptBench, verify: Verify) -> None:
    """Even one whose key is pinned cannot attach a record that the results do not give."""
    group = bench.document()
    [composed] = group["statement"]["composed"]
    [journal] = composed["artefacts"]
    for change in (
        {"data": f"{journal['data'][:-2]}01"},
        {"kind": "another_journal"},
        {"version": "2"},
        {"content": {**journal["content"], "twap_result": 1.25}},
    ):
        forged = bench.document()
        forged["statement"]["composed"][0]["artefacts"][0].update(change)
        answer = verify(bench.sign(forged), "--only", "artefacts")
        assert answer.status == 1
        assert f"artefacts of {GROUP}: failed: artefacts: it is stated as" in answer.failures

    # One of a plugin that the victim does not have is nothing he can rely on.
    group["statement"]["composed"][0]["plugin"] = "another_market"
    answer = verify(bench.sign(group), "--only", "artefacts")
    assert answer.status == 1
    assert "not possible: the plugin another_market is not installed here" in answer.failures


def test_a_refusal_that_is_none(bench: ReceiptBench, verify: Verify) -> None:
    group = bench.document()
    group["statement"]["composed"][0] |= {
        "artefacts": [],
        "refusal": "missing_proof",
        "message": "there is no TWAP",
    }
    answer = verify(bench.sign(group), "--only", "artefacts")
    assert answer.status == 1
    assert f"artefacts of {GROUP}: failed: artefacts: it is stated as '()', and" in answer.failures


def test_a_key_file_of_the_sender_is_not_the_victims(
    bench: ReceiptBench, verify: Verify, tmp_path: Path
) -> None:
    theirs = KeyDirectory(tmp_path / "keys").create()
    document = bench.document("twap")
    document["seals"][0]["key_id"] = theirs.id
    assert verify(document, "--only", "seal").status == 1
