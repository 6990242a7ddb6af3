"""What the receipt of a group says of itself: shown by a seal, else the sender's word."""

from typing import Any

import pytest
from receipt_bench import GROUP, Document, ReceiptBench

from prover_framework.model.findings import Outcome
from prover_framework.verification.checks import CheckName, Report
from prover_framework.verification.expectations import Expected

SENDERS_WORD = "whoever sent it, for the group's id, which jobs it has"

THREE = ("twap", "reserve_price", "max_return")


def unsealed(document: Document) -> Document:
    document["seals"] = []
    return document


def verify(bench: ReceiptBench, document: Document, expected: Expected) -> Report:
    return bench.verify(document, pinned=(), expected=expected)


def failed(report: Report) -> dict[str, str]:
    return {c.detail: c.reason for c in report.checks if c.outcome is Outcome.FAILED}


def of_another_group(document: Document) -> None:
    document["statement"]["group_id"] = "another"


def without_a_member(document: Document) -> None:
    del document["statement"]["members"][0], document["receipts"][0]


def with_a_member_that_failed(document: Document) -> None:
    member: dict[str, Any] = document["statement"]["members"][0]
    member["state"], member["digest"] = "failed", None
    del document["receipts"][0]


ALTERED = (of_another_group, without_a_member, with_a_member_that_failed)


def whole(bench: ReceiptBench) -> Document:
    """The group's receipt without what was composed, which binds the members again."""
    document = unsealed(bench.document())
    document["statement"]["composed"] = []
    return document


def test_the_sentence_says_what_rests_on_the_sender(bench: ReceiptBench) -> None:
    assert SENDERS_WORD in bench.verify(unsealed(bench.document()), pinned=()).strength
    assert SENDERS_WORD not in bench.verify(bench.group).strength
    assert SENDERS_WORD not in bench.verify(bench.document("twap"), pinned=()).strength


@pytest.mark.parametrize("alter", ALTERED)
def test_what_an_unsealed_group_says_of_itself_is_taken_from_the_sender(
    bench: ReceiptBench, alter: Any
) -> None:
    document = whole(bench)
    alter(document)
    report = bench.verify(document, pinned=())
    assert report.accepted
    assert SENDERS_WORD in report.strength
    assert not bench.verify(document).accepted, "a seal by a pinned key is wanted"


@pytest.mark.parametrize("alter", ALTERED)
def test_what_is_expected_is_a_check(bench: ReceiptBench, alter: Any) -> None:
    expected = Expected(GROUP, THREE)
    assert verify(bench, whole(bench), expected).accepted
    document = whole(bench)
    alter(document)
    report = verify(bench, document, expected)
    assert not report.accepted
    assert len(failed(report)) == 1


def test_the_reasons_name_what_is_there_and_what_is_expected(bench: ReceiptBench) -> None:
    report = verify(bench, whole(bench), Expected("other", (*THREE, "twap@early")))
    assert failed(report) == {
        "group": f"group_id: it is '{GROUP}', and 'other' is expected",
        "proofs": "no result of 'twap@early', it has 'max_return, reserve_price, twap'",
    }


def test_the_receipt_of_one_proof_says_of_no_group(bench: ReceiptBench) -> None:
    document = unsealed(bench.document("twap"))
    assert verify(bench, document, Expected(None, ("twap",))).accepted
    assert set(failed(verify(bench, document, Expected(GROUP, ("max_return",))))) == {
        "group",
        "proofs",
    }


def test_expectations_hold_beside_the_checks_that_are_asked_for(bench: ReceiptBench) -> None:
    seed = CheckName.SEED
    assert bench.verify(whole(bench), seed, pinned=(), expected=Expected(GROUP)).accepted
    assert not bench.verify(whole(bench), seed, pinned=(), expected=Expected("other")).accepted


def seal_checks(report: Report) -> dict[str, Outcome]:
    return {c.detail: c.outcome for c in report.checks if c.check is CheckName.EXPECTED}


def sealed(bench: ReceiptBench, document: Document, kind: str, *only: CheckName) -> Report:
    return bench.verify(document, *only, expected=Expected(seals=(kind,)))


@pytest.mark.parametrize("only", [(), (CheckName.FORM,)], ids=["all checks", "form alone"])
def test_a_seal_that_is_demanded_has_to_hold(
    bench: ReceiptBench, only: tuple[CheckName, ...]
) -> None:
    there = sealed(bench, bench.sign(whole(bench)), "ed25519", *only)
    assert there.accepted, there
    assert seal_checks(there) == {"seal ed25519": Outcome.PASSED}
    for kind, document in (
        ("wax", bench.sign(whole(bench))),
        ("ed25519", altered_seals(bench.sign(whole(bench)))),
    ):
        report = sealed(bench, document, kind, *only)
        assert not report.accepted
        assert seal_checks(report) == {f"seal {kind}": Outcome.FAILED}


def test_a_signature_by_a_key_that_is_not_pinned_is_none_that_is_demanded(
    bench: ReceiptBench,
) -> None:
    report = bench.verify(
        bench.sign(whole(bench)), pinned=(), expected=Expected(seals=("ed25519",))
    )
    assert not report.accepted
    assert "it has no seal of the kind 'ed25519' that holds" in failed(report)["seal ed25519"]


def test_a_group_without_a_seal_of_its_own_needs_one_on_each_proof(bench: ReceiptBench) -> None:
    document = unsealed(whole(bench))
    only = CheckName.FORM
    assert sealed(bench, document, "ed25519", only).accepted
    document["receipts"][1]["seals"] = []
    report = sealed(bench, document, "ed25519", only)
    assert not report.accepted
    assert failed(report)["seal ed25519"].endswith("nor have its proofs 'reserve_price'"), report


def altered_seals(document: Document) -> Document:
    """Give every seal of a group's receipt and its proofs the signature of something else."""
    for receipt in (document, *document["receipts"]):
        for seal in receipt["seals"]:
            seal["signature"] = "00" * 64
    return document
