"""A true receipt passes, and the report says what that is worth; what is not there does not."""

import pytest
from receipt_bench import GROUP, Document, ReceiptBench, rows, told

from prover_framework.plugins import load
from prover_framework.receipts.checks import CheckName, Outcome, Report
from prover_framework.receipts.strength import strength

PROOFS = ("max_return", "reserve_price", "twap")


def outcomes(report: Report, check: CheckName) -> dict[str, Outcome]:
    return {row.subject: row.outcome for row in report.checks if row.check is check}


def test_a_groups_receipt_passes_every_check_that_can_be_made(bench: ReceiptBench) -> None:
    report = bench.verify(bench.group)
    assert report.accepted, told(report)
    for row in report.checks:
        impossible = row.check is CheckName.CHAIN
        assert row.outcome is (Outcome.NOT_POSSIBLE if impossible else Outcome.PASSED), row
    assert {row.check for row in report.checks} == set(CheckName)
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
        "the results follow by their methods from the verifier's headers",
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
    document["statement"]["simulated"] = True
    report = bench.verify(bench.sign(document))
    assert "simulated: it is stated as True, and in this database it is False" in told(report)


def test_what_a_receipt_says_of_its_strength_makes_it_no_stronger(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    document["provenance"]["verified"] = True
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
    for check in (CheckName.SERIES, CheckName.BLOCKS, CheckName.RESULT):
        assert outcomes(report, check) == {"twap": Outcome.NOT_POSSIBLE}
    assert bench.verify(
        bench.document("twap"), CheckName.SEAL, CheckName.PLUGIN, CheckName.SEED, headers=None
    ).accepted


def test_hours_that_the_verifier_does_not_have_are_not_possible(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    series = document["statement"]["series"]
    for place in (series, document["statement"]["range"]):
        for name in ("first_hour", "last_hour", "start_timestamp", "end_timestamp"):
            if name in place:
                place[name] += 3600 * 24
    report = bench.verify(document)
    assert outcomes(report, CheckName.SERIES) == {"twap": Outcome.NOT_POSSIBLE}
    assert "this database does not have the hours" in told(report)


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
        ({"plugin_digest": "00" * 32}, Outcome.FAILED, "plugin_digest: it is of prover-twap"),
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


def test_another_version_of_a_distribution_is_not_possible(bench: ReceiptBench) -> None:
    document = bench.document("twap")
    document["statement"]["plugin_digest"] = "00" * 32
    document["provenance"]["software"]["prover-twap"] = "9.9"
    report = bench.verify(bench.sign(document), CheckName.PLUGIN, CheckName.RESULT)
    assert outcomes(report, CheckName.PLUGIN) == {"twap": Outcome.NOT_POSSIBLE}
    assert outcomes(report, CheckName.RESULT) == {"twap": Outcome.PASSED}, "the method is the same"
    assert not report.accepted


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
