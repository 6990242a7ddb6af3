"""A true receipt passes, and the report says what that is worth; what is not there does not."""

import pytest
from receipt_bench import GROUP, Document, ReceiptBench, rows, told

from prover_framework.model.findings import Outcome
from prover_framework.plugins.loading import load
from prover_framework.verification.assurance import strength
from prover_framework.verification.checks import CheckName, Report

PROOFS = ("max_return", "reserve_price", "twap")


def outcomes(report: Report, check: CheckName) -> dict[str, Outcome]:
    return {row.subject: row.outcome for row in report.checks if row.check is check}


def test_a_groups_receipt_passes_every_check_that_can_be_made(bench: ReceiptBench) -> None:
    report = bench.verify(bench.group)
    assert report.accepted, told(report)
    for row in report.checks:
        impossible = row.check is CheckName.CHAIN
        assert row.outcome is (Outcome.NOT_POSSIBLE if impossible else Outcome.PASSED), row
    assert {row.check for row in report.checks} == {*CheckName} - {
        CheckName.EXPECTED,
        CheckName.ATTACHMENTS,
    }
    assert outcomes(report, CheckName.RESULT) == dict.fromkeys(PROOFS, Outcome.PASSED)


@pytest.mark.parametrize("proof_type", PROOFS)
def test_the_receipt_of_one_proof_stands_alone(bench: ReceiptBench, proof_type: str) -> None:
    report = bench.verify(bench.document(proof_type))
    assert report.accepted, told(report)
    assert {row.subject for row in report.checks} == {proof_type}
    assert not {CheckName.MEMBERS, CheckName.ARTEFACTS} & {row.check for row in report.checks}


def test_strength_is_made_from_what_passed(bench: ReceiptBench) -> None:
    everything = bench.verify(bench.group).strength
    for words in (
        "the results follow by their methods from the verifier's data",
        "what was composed follows from the results",
        "signed by the pinned key",
        "On trust: the plugins that are installed here; that the verifier's headers are the chain",
    ):
        assert words in everything
    signed = bench.verify(bench.document("twap"), CheckName.SEAL).strength
    assert signed.startswith("Shown: signed by the pinned key")
    assert signed.endswith("On trust: whoever sealed it, for all that it says.")
    nothing = bench.verify(bench.document("twap"), CheckName.SEED, pinned=()).strength
    assert nothing == "Shown: nothing. On trust: whoever sent it, for all that it says."


def test_a_simulated_chain_is_called_one_whatever_the_receipt_says(bench: ReceiptBench) -> None:
    checks = bench.verify(bench.group).checks
    assert strength(checks, simulated=True).endswith("The chain is simulated: it settles nothing.")
    assert "simulated" not in strength(checks)
    document = bench.document("twap")
    document["statement"]["inputs"]["hourly_base_fee"]["simulated"] = True
    report = bench.verify(bench.sign(document))
    assert "simulated: it is stated as True, and in this database it is False" in told(report)


def test_what_a_receipt_says_of_its_strength_makes_it_no_stronger(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    document["provenance"]["inputs"]["hourly_base_fee"]["verified"] = True
    claimed = bench.verify(bench.sign(document))
    assert claimed.accepted
    assert claimed.strength == bench.verify(bench.document("twap")).strength
    for place in (document, document["statement"], document["provenance"]):
        place["strength"] = "proved beyond doubt"
        report = bench.verify(document)
        assert not report.accepted
        assert "strength" in told(report)
        del place["strength"]


def test_a_signature_counts_under_pinned_keys_only(bench: ReceiptBench) -> None:
    report = bench.verify(bench.document("twap"), pinned=())
    [row] = [row for row in report.checks if row.check is CheckName.SEAL]
    assert row.outcome is Outcome.NOT_POSSIBLE
    assert "no key is pinned" in row.reason
    assert not row.asked
    assert report.accepted, "nobody asked for a seal"
    assert "signed" not in report.strength
    assert not bench.verify(bench.document("twap"), CheckName.SEAL, pinned=()).accepted


def test_a_seal_of_a_kind_that_is_not_known_is_never_passed(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    document["seals"].append({"kind": "wax", "colour": "red"})
    report = bench.verify(document)
    [wax] = [row for row in report.checks if row.detail == "wax"]
    assert wax.outcome is Outcome.NOT_POSSIBLE
    assert "not known here" in wax.reason
    assert report.accepted, "the signature stands all the same"
    assert "signed by the pinned key" in report.strength
    assert "wax" not in report.strength


def test_without_headers_nothing_is_compared_and_nothing_computed(bench: ReceiptBench) -> None:
    report = bench.verify(bench.document("twap"), headers=None)
    assert not report.accepted
    for check in (CheckName.INPUT, CheckName.PROVENANCE, CheckName.RESULT):
        assert outcomes(report, check) == {"twap": Outcome.NOT_POSSIBLE}
    assert bench.verify(
        bench.document("twap"), CheckName.SEAL, CheckName.PLUGIN, CheckName.SEED, headers=None
    ).accepted, "what is stated of the hours is enough for the seed"


def test_hours_that_the_verifier_does_not_have_are_not_possible(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    facts = document["statement"]["inputs"]["hourly_base_fee"]["facts"]
    for place in (facts, document["statement"]["range"]):
        for name in ("first_hour", "last_hour", "start_timestamp", "end_timestamp"):
            if name in place:
                place[name] += 3600 * 24
    report = bench.verify(document)
    assert outcomes(report, CheckName.INPUT) == {"twap": Outcome.NOT_POSSIBLE}
    assert "this database does not have it: the range ends at" in told(report)


def test_a_proof_type_that_is_not_installed_is_not_possible(bench: ReceiptBench) -> None:
    report = bench.verify(bench.document("twap"), plugins=load([]))
    assert not report.accepted
    assert not rows(report, Outcome.FAILED)
    assert "twap is not installed here (installed: none)" in told(report)
    without = bench.verify(bench.group, CheckName.ARTEFACTS, plugins=load([]))
    assert outcomes(without, CheckName.ARTEFACTS) == {GROUP: Outcome.NOT_POSSIBLE}


@pytest.mark.parametrize(
    ("change", "outcome", "said"),
    [
        ({"method_version": "2"}, Outcome.NOT_POSSIBLE, "method_version: it is by version '2'"),
        ({"generator": "dice"}, Outcome.FAILED, "generator: it is stated as the string 'dice'"),
    ],
)
def test_the_method_is_the_one_that_is_installed_here(
    bench: ReceiptBench, change: Document, outcome: Outcome, said: str
) -> None:
    document = bench.document("twap")
    document["statement"].update(change)
    report = bench.verify(bench.sign(document), CheckName.PLUGIN)
    assert not report.accepted
    assert outcomes(report, CheckName.PLUGIN) == {"twap": outcome}
    assert said in told(report)


def test_another_build_of_the_same_method_counts_and_is_called_one(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    document["statement"]["plugin_digest"] = "00" * 32
    document["provenance"]["software"]["prover-twap"] = "9.9"
    report = bench.verify(bench.sign(document))
    assert report.accepted
    [plugin] = [row for row in report.checks if row.check is CheckName.PLUGIN]
    assert plugin.reason.startswith("version '1', by another build: prover-twap '9.9' there, ")


def test_another_build_of_a_kind_of_data_counts_and_is_called_one(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    document["statement"]["inputs"]["hourly_base_fee"]["kind_digest"] = "00" * 32
    report = bench.verify(bench.sign(document))
    assert report.accepted
    [found] = [row for row in report.checks if row.check is CheckName.INPUT]
    assert found.reason.endswith("(by another build of the kind)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "tea_leaves"}, "inputs: they are hourly_base_fee (tea_leaves), and the proof"),
        ({"kind_version": "2"}, "kind_version: it is by version '2' of hourly_base_fee"),
        ({"evidence_sha256": "00" * 32}, "evidence: it is not the one that the statement binds"),
        ({"data_sha256": "00" * 32}, "data_sha256: it is stated as 0000"),
        ({"facts": {}}, "facts: kind: is required"),
    ],
)
def test_an_input_is_what_the_verifier_has(
    bench: ReceiptBench, change: Document, said: str
) -> None:
    document = bench.document("twap")
    document["statement"]["inputs"]["hourly_base_fee"] |= change
    report = bench.verify(bench.sign(document))
    assert not report.accepted
    assert said in told(report)


def test_inputs_are_those_that_the_proof_type_takes(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    inputs = document["statement"]["inputs"]
    inputs["more"] = inputs["hourly_base_fee"]
    report = bench.verify(bench.sign(document))
    assert "more (hourly_base_fee), and the proof type takes hourly_base_fee (hourly" in told(
        report
    )
    document["statement"]["inputs"] = {}
    assert not bench.verify(bench.sign(document)).accepted


def test_what_is_asked_for_and_not_there_has_not_passed(bench: ReceiptBench) -> None:
    report = bench.verify(bench.document("twap"), CheckName.ARTEFACTS)
    assert not report.accepted
    assert "nothing of the kind" in told(report)


def test_all_checks_together_have_a_limit(bench: ReceiptBench) -> None:
    report = bench.verify(bench.document("twap"), seconds=0.0)
    assert not report.accepted
    assert "the time allowed for all checks, 0 s, was over" in told(report)
    # The process that was stopped is replaced.
    assert bench.verify(bench.document("twap")).accepted
