"""A service makes the market's journal of its receipts, and nobody can put another in its place."""

import copy
import csv
import json
import os
from collections.abc import Iterator
from math import floor, hypot
from pathlib import Path
from typing import Any, cast
from urllib.request import Request, urlopen

import attrs
import prover_max_return
import prover_pitchlake_journal
import prover_reserve_price
import prover_twap
import pytest
import receipt_samples
from attrs import frozen
from prover_pitchlake_journal.journal import FELTS, Journal, content, decode, encode
from receipt_bench import (
    END,
    GROUP,
    Document,
    ReceiptBench,
    fabricated_series,
    receipt_bench,
    rows,
    told,
)

from prover_framework import HOUR_SECONDS, GroupReceipts, HourlySeries, Inputs, Receipt, TimeRange
from prover_framework.inputs.fees_hash import fees_hash, hash_words
from prover_framework.plugins.loading import installed, load
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.proving import statement_of
from prover_framework.receipts.documents import digest, receipt_from
from prover_framework.serialization.converter import unstructure
from prover_framework.testing import Box, headers_of, series_of, service_in_a_box
from prover_framework.testing.compute import computation_of
from prover_framework.verification.checks import CheckName

PLUGINS = (prover_twap, prover_reserve_price, prover_max_return, prover_pitchlake_journal)

DAY = 24 * HOUR_SECONDS


# From end to end


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A service with the four plugins and 60 days that pass for mainnet's."""
    with service_in_a_box(*PLUGINS, series=fabricated_series()) as box:
        yield box


def ask(box: Box, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{box.url}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def span(days: int, end: int = END) -> dict[str, int]:
    return {"start_timestamp": end - days * DAY, "end_timestamp": end}


def composed(box: Box, group_id: str, **proofs: object) -> Document:
    """Submit a group over HTTP, wait for its end, and return what was composed of it."""
    group = {"twap": span(30), "reserve_price": span(45), "max_return": span(60)} | proofs
    box.submit({"job_group_id": group_id, **group})
    receipt = ask(box, f"/api/job/{group_id}/receipt")
    [made] = receipt["statement"]["composed"]
    return cast(Document, made)


def test_a_groups_receipt_has_the_journal_decoded_and_as_bytes(box: Box) -> None:
    made = composed(box, "round")
    assert (made["refusal"], made["message"]) == (None, "")
    [artefact] = made["artefacts"]
    assert (artefact["kind"], artefact["version"]) == ("pitchlake_journal", "1")
    journal = decode(bytes.fromhex(artefact["data"]))
    assert artefact["content"] == content(journal)

    jobs = {job["job_id"]: job["result"] for job in ask(box, "/api/job/round")["jobs"]}
    assert artefact["content"] == {
        "data_8_months_hash": list(hash_words(fees_hash(fabricated_series().felts()))),
        "start_timestamp": END - 45 * DAY,
        "end_timestamp": END,
        "reserve_price": jobs["reserve_price"]["reserve_price"],
        "floating_point_tolerance": 0.00001,
        "reserve_price_tolerance": 5.0,
        "twap_tolerance": 1.0,
        "gradient_tolerance": 0.05,
        "twap_result": jobs["twap"]["twap"],
        "max_return": jobs["max_return"]["max_return"],
    }
    # The felts are those that the results state themselves.
    assert f"0x{journal.reserve_price:064x}" == jobs["reserve_price"]["reserve_price_felt"]
    assert f"0x{journal.twap_result:064x}" == jobs["twap"]["twap_felt"]
    assert f"0x{journal.max_return:064x}" == jobs["max_return"]["max_return_felt"]


def test_the_receipt_with_the_journal_is_verified(box: Box) -> None:
    composed(box, "round")
    report = ask(box, "/api/verify", ask(box, "/api/job/round/receipt"))
    assert report["accepted"], report
    assert [
        (row["outcome"], row["detail"]) for row in report["checks"] if row["check"] == "artefacts"
    ] == [("passed", "prover_pitchlake_journal")]


def test_hours_and_not_seconds_are_in_the_journal(box: Box) -> None:
    exact = composed(box, "round")
    late = {
        name: {"start_timestamp": END - days * DAY + 59, "end_timestamp": END + 3_599}
        for name, days in (("twap", 30), ("reserve_price", 45), ("max_return", 60))
    }
    assert composed(box, "off-the-hour", **late)["artefacts"] == exact["artefacts"]


@pytest.mark.parametrize(
    ("proofs", "code", "said"),
    [
        ({"twap": span(29, END - DAY)}, "ends_differ", f"twap at {END - DAY}, reserve_price at"),
        (
            {"max_return": span(60) | {"window_hours": 240}},
            "window_unexpected",
            "a window of 240 hours, and a round of the market has 720",
        ),
        ({"reserve_price": span(1)}, "proof_missing", "there is no receipt of reserve_price"),
    ],
)
def test_a_group_that_makes_none_says_why_and_that_is_verified_too(
    box: Box, proofs: dict[str, object], code: str, said: str
) -> None:
    made = composed(box, code, **proofs)
    assert made["artefacts"] == []
    assert made["refusal"] == f"pitchlake_journal.{code}"
    assert said in made["message"]
    report = ask(box, "/api/verify", ask(box, f"/api/job/{code}/receipt"))
    assert report["accepted"], report


def test_a_simulated_chain_settles_nothing() -> None:
    series = attrs.evolve(fabricated_series(), simulated=True)
    with service_in_a_box(*PLUGINS, series=series) as box:
        made = composed(box, "round")
        assert box.verify("round").accepted
    assert made["artefacts"] == []
    assert made["refusal"] == "pitchlake_journal.simulated_chain"
    assert "twap, reserve_price and max_return: computed from a simulated chain" in made["message"]


# Real hours


@frozen
class Golden:
    """Real hours and the values that they must give."""

    expected: dict[str, Any]
    first_hour: int
    means_wei: tuple[float, ...]

    def span(self, first: int, stop: int) -> dict[str, int]:
        start = self.first_hour + first * HOUR_SECONDS
        return {
            "start_timestamp": start,
            "end_timestamp": start + (stop - first) * HOUR_SECONDS,
        }

    def require(self, found: Document, error_wei: float, rel: float) -> None:
        """Require a journal of TWAP over the last 720 hours and the others over all."""
        assert found["twap_result"] == pytest.approx(
            self.expected["twap"]["hours 1464..2183"], rel=rel
        )
        assert found["max_return"] == pytest.approx(
            self.expected["max_return"]["hours 0..2183, window 720"], rel=rel
        )
        price = self.expected["reserve_price over hours 0..2183"]
        (their_error,) = (v for key, v in price.items() if key.startswith("standard error"))
        off = found["reserve_price"] - price["reserve price"]
        assert abs(off) <= 3 * hypot(error_wei, their_error)
        assert found["start_timestamp"] == self.first_hour
        assert found["end_timestamp"] == self.first_hour + 2184 * HOUR_SECONDS


@pytest.fixture(scope="module")
def golden() -> Golden:
    folder = os.environ.get("PROVER_GOLDEN_DIR")
    if not folder:
        pytest.skip("PROVER_GOLDEN_DIR is not set")
    with (Path(folder) / "mainnet_hourly_base_fee.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    return Golden(
        json.loads((Path(folder) / "expected.json").read_text()),
        int(rows[0]["timestamp"]),
        tuple(float(row["base_fee_wei"]) for row in rows),
    )


def test_real_hours_in_a_service(golden: Golden) -> None:
    # A header has whole wei, which moves a fee by up to one part in 10^9.
    hours = [(floor(mean), 1) for mean in golden.means_wei]
    series = series_of(hours, first_hour=golden.first_hour, chain_id=1, simulated=False)
    every, last = golden.span(0, 2184), golden.span(1464, 2184)
    with service_in_a_box(*PLUGINS, series=series) as box:
        made = composed(box, "mainnet", twap=last, reserve_price=every, max_return=every)
        [price] = [
            job["result"]
            for job in ask(box, "/api/job/mainnet")["jobs"]
            if job["job_id"] == "reserve_price"
        ]
    [artefact] = made["artefacts"]
    golden.require(artefact["content"], price["standard_error"], 1e-9)
    assert content(decode(bytes.fromhex(artefact["data"]))) == artefact["content"]


def test_real_hours_to_the_last_digit(golden: Golden, plugins: Plugins) -> None:
    """The means of the hours are doubles here, so the hash is the recorded one."""
    exact = [mean.as_integer_ratio() for mean in golden.means_wei]
    series = series_of(exact, first_hour=golden.first_hour, chain_id=1, simulated=False)
    last = attrs.evolve(
        series,
        first_hour=series.first_hour + 1464 * HOUR_SECONDS,
        sums_wei=series.sums_wei[1464:],
        counts=series.counts[1464:],
    )
    receipts = [
        prove(plugins, "twap", last),
        prove(plugins, "reserve_price", series),
        prove(plugins, "max_return", series, window_hours=720),
    ]
    [artefact] = prover_pitchlake_journal.compose(
        GroupReceipts(group_id="mainnet", receipts=receipts)
    )
    error: float = receipts[1].statement.result["standard_error"]
    golden.require(artefact.content, error, 1e-12)
    (recorded,) = (v for key, v in golden.expected.items() if key.startswith("fees hash"))
    assert artefact.content["data_8_months_hash"] == recorded


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load(installed(), strict=True)


def prove(plugins: Plugins, name: str, series: HourlySeries, **parameters: Any) -> Receipt:
    """Return the receipt that a service with these hours would make."""
    hooks = plugins.for_type(name)
    hours = TimeRange(series.first_hour, series.last_hour + HOUR_SECONDS)
    given = hooks.proof_type.parameters(
        start_timestamp=hours.start_timestamp, end_timestamp=hours.end_timestamp, **parameters
    )
    data = {"hourly_base_fee": series}
    computation = computation_of(hooks, given, data)
    result = hooks.compute(given, Inputs(data), computation.seed)
    return Receipt(
        statement=statement_of(computation, cast(dict[str, Any], unstructure(result))),
        provenance=receipt_samples.receipt().provenance,
    )


# What a dishonest sender tries. Even his signature counts, here: his key is the one pinned.


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiptBench]:
    """Another service that has proved the same round on other hours."""
    with receipt_bench(
        tmp_path_factory.mktemp("other"), headers=headers_of(fabricated_series(8))
    ) as bench:
        yield bench


def journal_in(document: Document) -> Document:
    [made] = document["statement"]["composed"]
    [artefact] = made["artefacts"]
    return cast(Document, artefact)


def with_journal(bench: ReceiptBench, journal: Journal) -> Document:
    document = bench.document()
    journal_in(document).update(content=content(journal), data=encode(journal).hex())
    return document


def refused(bench: ReceiptBench, document: Document) -> str:
    """Return why an attack fails that is signed with the pinned key."""
    report = bench.verify(bench.sign(document), CheckName.ARTEFACTS, CheckName.MEMBERS)
    assert not report.accepted
    [row] = [row for row in rows(report) if row.check is CheckName.ARTEFACTS]
    assert (row.subject, row.detail) == (GROUP, "pitchlake_journal")
    return row.reason


def test_the_honest_journal_passes(bench: ReceiptBench) -> None:
    document = bench.sign(bench.document())
    report = bench.verify(document, CheckName.ARTEFACTS, CheckName.MEMBERS)
    assert report.accepted, report


@pytest.mark.parametrize("name", ["data_8_months_hash", "start_timestamp", "end_timestamp", *FELTS])
def test_no_field_can_be_altered(bench: ReceiptBench, name: str) -> None:
    honest = decode(bytes.fromhex(journal_in(bench.document())["data"]))
    before: Any = getattr(honest, name)
    after: Any = (*before[:-1], before[-1] ^ 1) if isinstance(before, tuple) else before + 1
    forged = attrs.evolve(honest, **{name: after})
    # In both forms, in the bytes alone, in the decoded form alone.
    assert "artefacts: it is stated as" in refused(bench, with_journal(bench, forged))
    document = bench.document()
    journal_in(document)["data"] = encode(forged).hex()
    assert "artefacts: it is stated as" in refused(bench, document)
    document = bench.document()
    decoded = journal_in(document)["content"]
    decoded[name] = [*before[:-1], 0] if isinstance(before, tuple) else decoded[name] * 2
    assert "artefacts: it is stated as" in refused(bench, document)


def test_the_journal_of_other_receipts(bench: ReceiptBench, other: ReceiptBench) -> None:
    document = bench.document()
    journal_in(document).update(journal_in(other.document()))
    assert "artefacts: it is stated as" in refused(bench, document)


def test_the_receipts_of_another_group_under_this_journal(
    bench: ReceiptBench, other: ReceiptBench
) -> None:
    document, theirs = bench.document(), other.document()
    document["receipts"] = theirs["receipts"]
    document["statement"]["members"] = theirs["statement"]["members"]
    assert "artefacts: it is stated as" in refused(bench, document)


def test_one_receipt_of_another_group_under_this_journal(
    bench: ReceiptBench, other: ReceiptBench
) -> None:
    """The fees of the same hours differ, and then the plugin makes none."""
    document, theirs = bench.document(), other.document()
    for place, member in enumerate(document["statement"]["members"]):
        if member["job_id"] == "reserve_price":
            document["receipts"][place] = theirs["receipts"][place]
            document["statement"]["members"][place] = theirs["statement"]["members"][place]
    assert "artefacts: it is stated as" in refused(bench, document)


def test_a_journal_where_there_has_to_be_none(bench: ReceiptBench) -> None:
    """A window that the market does not settle by, and its journal as if it were the market's."""
    document = bench.document()
    for place, receipt in enumerate(document["receipts"]):
        if receipt["statement"]["proof_type"] == "max_return":
            receipt["statement"]["parameters"]["window_hours"] = 1
            member = document["statement"]["members"][place]
            member["digest"] = digest(receipt_from(receipt)).hex()
    assert "artefacts: it is stated as" in refused(bench, document)


def test_a_refusal_where_there_has_to_be_a_journal(bench: ReceiptBench) -> None:
    document = bench.document()
    document["statement"]["composed"][0].update(
        artefacts=[],
        refusal="pitchlake_journal.number_negative",
        message="max_return is -0.25: a journal holds no negative numbers",
    )
    assert "artefacts: it is stated as '()'" in refused(bench, document)


def test_two_journals(bench: ReceiptBench, other: ReceiptBench) -> None:
    document = bench.document()
    made = document["statement"]["composed"][0]
    made["artefacts"].append(copy.deepcopy(journal_in(other.document())))
    assert "artefacts: it is stated as" in refused(bench, document)
    # The same plugin a second time, with another market's.
    document = bench.document()
    document["statement"]["composed"].append(other.document()["statement"]["composed"][0])
    report = bench.verify(document)
    assert not report.accepted
    assert "statement.composed: a plugin is there twice" in told(report)
