"""A payout rests on two results of its group: it waits, fails and is verified with them."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import prover_payout as plugin
import prover_reserve_price
import prover_twap
import pytest

from prover_framework.errors import ReceiptError, RequestError
from prover_framework.model.jobs import JobState
from prover_framework.model.series import TimeRange
from prover_framework.receipts.documents import digest, dump_receipt, read_receipt
from prover_framework.testing import service_in_a_box, simulated_series
from prover_framework.testing.box import Box

FIRST = 1_696_291_200
HOUR = 3600
DAYS = 30
END = FIRST + DAYS * 24 * HOUR
ALL = {"start_timestamp": FIRST, "end_timestamp": END}
EARLY = {"start_timestamp": FIRST, "end_timestamp": FIRST + 15 * 24 * HOUR}


def service() -> AbstractContextManager[Box]:
    series = simulated_series(TimeRange(FIRST, END))
    return service_in_a_box(prover_twap, prover_reserve_price, plugin, series=series)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with service() as box:
        yield box


def results(box: Box, group_id: str, **proofs: Any) -> dict[str, Any]:
    group = box.submit({"job_group_id": group_id, **proofs})
    assert {job.status for job in group.jobs} == {JobState.SUCCEEDED}, group
    return {job.job_id: job.result for job in group.jobs}


def test_it_pays_what_the_mean_is_above_the_strike_up_to_the_cap() -> None:
    felt = plugin.ONE_FELT
    assert plugin.payout_wei(120 * felt, 100 * felt, 3000) == 20
    assert plugin.payout_wei(150 * felt, 100 * felt, 3000) == 30
    assert plugin.payout_wei(90 * felt, 100 * felt, 3000) == 0
    assert plugin.payout_wei(100 * felt + felt // 2, 100 * felt, 3000) == 0


def test_it_waits_for_the_results_and_computes_from_them(box: Box) -> None:
    # It comes first in the request, and is computed last.
    found = results(box, "round", payout={}, twap=ALL, reserve_price=ALL)
    expected = plugin.payout_wei(
        int(found["twap"]["twap_felt"], 16),
        int(found["reserve_price"]["reserve_price_felt"], 16),
        3000,
    )
    assert found["payout"]["payout"] == str(expected)
    inputs = found["payout"]["evidence"]["inputs"]
    assert {name: inputs[name]["kind"] for name in inputs} == {
        "settled": "results",
        "strike": "results",
    }
    assert found["payout"]["evidence"]["simulated"], "what it rests on is"


def test_a_label_names_another_job_of_a_type(box: Box) -> None:
    proofs = {"twap": EARLY, "twap@final": ALL, "reserve_price": ALL}
    found = results(box, "labels", **proofs, payout={"settled": "final"})
    assert found["payout"]["settled_at"] == pytest.approx(found["twap@final"]["twap"])
    assert found["twap@final"]["twap"] != found["twap"]["twap"]
    receipt = box.receipt("labels")
    assert {member.job_id for member in receipt.statement.members} == {*proofs, "payout"}
    assert box.verify("labels").accepted


def test_a_request_without_what_it_rests_on_is_refused(box: Box) -> None:
    proofs = {"twap": ALL, "reserve_price": ALL, "payout": {"settled": "late"}}
    with pytest.raises(RequestError, match="payout: rests on 'twap@late', which the request does"):
        box.submit({"job_group_id": "alone", **proofs})


def test_it_fails_with_the_reason_of_what_it_rests_on(box: Box) -> None:
    short = {"start_timestamp": FIRST, "end_timestamp": FIRST + 5 * HOUR}
    group = box.submit({"job_group_id": "short", "payout": {}, "twap": ALL, "reserve_price": short})
    (job,) = (job for job in group.jobs if job.job_id == "payout")
    assert job.status is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "dependency_failed"
    assert (
        "it rests on reserve_price, which is failed: the reserve price needs"
        in (job.error["message"])
    )


def test_the_groups_receipt_is_verified_with_what_it_rests_on(box: Box) -> None:
    results(box, "checked", payout={}, twap=ALL, reserve_price=ALL)
    report = box.verify("checked")
    assert report.accepted, report
    found = {
        (check.check, check.detail): check.reason
        for check in report.checks
        if check.subject == "payout"
    }
    assert ("input", "settled") in found
    assert ("input", "strike") in found


@pytest.mark.parametrize("altered", ["the result it rests on", "another group's result", "gone"])
def test_a_result_that_it_does_not_rest_on_is_refused(box: Box, altered: str) -> None:
    name = altered.replace(" ", "-").replace("'", "")
    results(box, f"g-{name}", payout={}, twap=ALL, reserve_price=ALL)
    document = json.loads(dump_receipt(box.receipt(f"g-{name}")))
    place = next(
        place
        for place, receipt in enumerate(document["receipts"])
        if receipt["statement"]["proof_type"] == "twap"
    )
    if altered == "gone":
        del document["receipts"][place]
    elif altered == "the result it rests on":
        statement = document["receipts"][place]["statement"]
        statement["result"]["twap_felt"] = statement["result"]["twap_felt"][:-1] + "1"
    else:
        results(box, "another", payout={}, twap=EARLY, reserve_price=ALL)
        other = json.loads(dump_receipt(box.receipt("another")))
        document["receipts"][place] = next(
            r for r in other["receipts"] if r["statement"]["proof_type"] == "twap"
        )
    report = box.verify_body(json.dumps(document).encode())
    assert not report.accepted
    about = [check for check in report.checks if check.subject == "payout"]
    wrong = {
        check.detail for check in about if check.check == "input" and check.outcome != "passed"
    }
    assert wrong == {"settled"}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Box]:
    """A verifier with the same headers, and none of the jobs."""
    with service() as box:
        yield box


def exported(box: Box, group_id: str, **proofs: Any) -> dict[str, Any]:
    """Prove a group and return the receipt of its payout alone."""
    results(box, group_id, **proofs)
    document: dict[str, Any] = json.loads(dump_receipt(box.receipt_of(group_id, "payout")))
    return document


def verify(box: Box, document: dict[str, Any]) -> tuple[bool, dict[tuple[str, str, str], str]]:
    report = box.verify_body(json.dumps(document).encode())
    rows = {(c.check.value, c.subject, c.detail): c.outcome.value for c in report.checks}
    return report.accepted, rows


def test_its_receipt_alone_carries_those_it_rests_on(box: Box, elsewhere: Box) -> None:
    document = exported(box, "export", payout={}, twap=ALL, reserve_price=ALL, **{"twap@x": EARLY})
    assert [other["job_id"] for other in document["rests_on"]] == ["reserve_price", "twap"]
    accepted, rows = verify(elsewhere, document)
    assert accepted, rows
    for subject in ("payout", "twap", "reserve_price"):
        assert rows["result", subject, ""] == "passed", "each is verified in its own right"


def test_without_one_of_them_it_is_not_possible_to_say(box: Box, elsewhere: Box) -> None:
    document = exported(box, "lacking", payout={}, twap=ALL, reserve_price=ALL)
    document["rests_on"] = [o for o in document["rests_on"] if o["job_id"] != "twap"]
    accepted, rows = verify(elsewhere, document)
    assert not accepted
    assert rows["input", "payout", "settled"] == rows["result", "payout", ""] == "not possible"
    assert rows["input", "payout", "strike"] == "passed"


def test_a_digit_changed_or_another_groups_receipt_is_refused(box: Box, elsewhere: Box) -> None:
    document = exported(box, "digit", payout={}, twap=ALL, reserve_price=ALL)
    other = exported(box, "other", payout={}, twap=EARLY, reserve_price=ALL)
    changed = json.loads(json.dumps(document))
    statement = next(o for o in changed["rests_on"] if o["job_id"] == "twap")["receipt"][
        "statement"
    ]
    statement["result"]["twap_felt"] = statement["result"]["twap_felt"][:-1] + "1"
    swapped = {
        **document,
        "rests_on": [
            next(
                o for o in (other if job == "twap" else document)["rests_on"] if o["job_id"] == job
            )
            for job in ("reserve_price", "twap")
        ],
    }
    for wrong in (changed, swapped):
        accepted, rows = verify(elsewhere, wrong)
        assert not accepted
        assert rows["input", "payout", "settled"] == "failed"


def test_what_it_carries_is_in_no_digest(box: Box) -> None:
    document = exported(box, "digest", payout={}, twap=ALL, reserve_price=ALL)
    (member,) = (m for m in box.receipt("digest").statement.members if m.job_id == "payout")
    assert digest(read_receipt(json.dumps(document).encode())).hex() == member.digest
    twice = {**document, "rests_on": document["rests_on"] * 2}
    with pytest.raises(ReceiptError, match="rests_on: a job is there twice"):
        read_receipt(json.dumps(twice).encode())
