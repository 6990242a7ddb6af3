"""However a receipt is made, reading it is bounded, and so is what is said of it."""

import asyncio
import json
import time
from typing import Any

import pytest
import receipt_samples
from hostile_receipts import group, hostile_bodies, sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prover_framework.errors import NoExactForm, ReceiptError
from prover_framework.plugins.loading import load
from prover_framework.receipts import documents
from prover_framework.receipts.documents import (
    MAX_COMPOSED,
    MAX_MEMBERS,
    MAX_SEALS,
    MAX_VALUES,
    document_of,
    dump_content,
    read_receipt,
)
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.serialization.objections import MAX_PROBLEMS
from prover_framework.settings import Settings
from prover_framework.verification import reading
from prover_framework.verification.checks import MAX_REASON_LENGTH, Report
from prover_framework.verification.service import MAX_REPORT_BYTES
from prover_framework.verification.verifier import Verifier

BODIES = hostile_bodies()

# A receipt of the largest size takes under a second here; a machine may be ten times as slow.
SECONDS = 10.0


def report_of(body: bytes) -> Report:
    """Verify a receipt without headers and plugins."""
    verifier = Verifier(settings=Settings(), plugins=load([]), headers=None)
    return asyncio.run(verifier.verify(body))


def size(report: Report) -> int:
    return len(dump_json(unstructure(report)))


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_receipt_is_refused_or_checked_within_bounds(name: str) -> None:
    began = time.process_time()
    report = report_of(BODIES[name])
    assert time.process_time() - began < SECONDS
    assert not report.accepted
    assert all(len(row.reason) < MAX_REASON_LENGTH + 50 for row in report.checks)
    assert size(report) < MAX_REPORT_BYTES // 4


def test_the_digest_of_each_receipt_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    digest = documents.digest

    def counted(receipt: Any) -> bytes:
        made.append(receipt)
        return digest(receipt)

    monkeypatch.setattr(reading, "digest", counted)
    for module in ("verifier", "group_checks", "proof_checks", "input_checks", "seals", "sources"):
        source = __import__(f"prover_framework.verification.{module}", fromlist=["x"])
        assert not hasattr(source, "digest"), f"{module} makes digests beside reading"
    document = sample()
    document["seals"] = [{"kind": f"k{place}"} for place in range(MAX_SEALS)]
    report = report_of(json.dumps(document).encode())
    assert len([row for row in report.checks if row.check == "seal"]) == MAX_SEALS + 1
    assert len(made) == 1
    members = {**group(), "receipts": [document] * MAX_MEMBERS}
    report_of(json.dumps(members).encode())
    assert len(made) == 1 + 1 + MAX_MEMBERS


@pytest.mark.parametrize(
    ("most", "place", "document"),
    [
        (
            MAX_SEALS,
            "seals",
            lambda n: {**sample(), "seals": [{"kind": f"k{i}"} for i in range(n)]},
        ),
        (MAX_MEMBERS, "receipts", lambda n: {**group(), "receipts": [sample()] * n}),
        (
            MAX_MEMBERS,
            "statement.members",
            lambda n: group(
                members=[{"job_id": f"p{i}", "state": "failed", "digest": None} for i in range(n)]
            ),
        ),
        (
            MAX_COMPOSED,
            "statement.composed",
            lambda n: group(
                composed=[
                    {
                        "plugin": f"p{i}",
                        "plugin_digest": "0" * 64,
                        "artefacts": [],
                        "refusal": None,
                        "message": "",
                    }
                    for i in range(n)
                ]
            ),
        ),
    ],
)
def test_lists_are_as_long_as_a_receipts_and_no_longer(
    most: int, place: str, document: Any
) -> None:
    read_receipt(json.dumps(document(most)).encode())
    with pytest.raises(ReceiptError, match=f"{place}: {most + 1} are more than a receipt has"):
        read_receipt(json.dumps(document(most + 1)).encode())


def test_seals_of_members_are_counted_too() -> None:
    seals = [{"kind": f"k{place}"} for place in range(MAX_SEALS + 1)]
    crowd = {**group(), "receipts": [sample(), {**sample(), "seals": seals}]}
    with pytest.raises(ReceiptError, match=r"receipts\[1\]\.seals: 17 are more than a receipt has"):
        read_receipt(json.dumps(crowd).encode())


def test_what_is_made_here_can_be_read_again() -> None:
    """A result that no verifier would read is refused when its receipt is made."""
    fits = receipt_samples.receipt(result={"pad": [1] * (MAX_VALUES // 2 - 100)})
    dump_content(fits)
    read_receipt(dump_json(document_of(fits)).encode())
    with pytest.raises(NoExactForm, match="more than 50,000 values: the result is too large"):
        dump_content(receipt_samples.receipt(result={"pad": [1] * (MAX_VALUES // 2)}))
    with pytest.raises(ReceiptError, match="more values than any receipt"):
        read_receipt(json.dumps({"a": [1] * MAX_VALUES}).encode())


# Anything at all in the place of anything

small = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3)
    ),
    max_leaves=4,
)

# Repeated at one level only: more would take longer to write than to read.
values = (
    small
    | st.sampled_from(["1", "x", "\ud800"]).map(lambda text: text * 60_000)
    | st.tuples(small, st.integers(1, 20_000)).map(lambda part: [part[0]] * part[1])
    | st.tuples(st.text(max_size=20), small, st.integers(1, 5000)).map(
        lambda part: {f"{part[0]}{place}": part[1] for place in range(part[2])}
    )
)


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [at]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*at, key))
    return found


PLACES = [place for place in places(sample()) if place]
GROUP_PLACES = [place for place in places(group()) if place]


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_whatever_stands_in_a_receipt_it_is_answered_within_bounds(data: st.DataObject) -> None:
    whole = data.draw(st.booleans())
    document = group() if whole else sample()
    for place in data.draw(
        st.lists(st.sampled_from(GROUP_PLACES if whole else PLACES), min_size=1, max_size=3)
    ):
        *way, last = place
        inside: Any = document
        for step in way:
            inside = inside.get(step, {}) if isinstance(inside, dict) else {}
        if isinstance(inside, dict):
            inside[last] = data.draw(values)
    body = json.dumps(document).encode()
    began = time.process_time()
    report = report_of(body)
    assert time.process_time() - began < SECONDS
    assert size(report) < 40_000
    for row in report.checks:
        assert row.reason.count("; ") <= MAX_PROBLEMS + 1
        assert len(row.reason) < MAX_REASON_LENGTH + 50


def test_the_sample_is_a_receipt() -> None:
    """Else all of the above would be refused for another reason."""
    assert report_of(json.dumps(sample()).encode()).checks[0].outcome == "passed"
    assert report_of(json.dumps(group()).encode()).checks[0].outcome == "passed"
    assert receipt_samples.statement().proof_type == sample()["statement"]["proof_type"]
