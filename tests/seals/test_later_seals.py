"""Seals are made after the result: what goes wrong is seen in status, and can be tried again."""

import asyncio
import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import httpx
import pytest
from alert_rules import firing
from metric_pages import read, scrape
from plugin_files import write_plugin
from waiting import PATIENCE_SECONDS, wait_until

from prover_framework.model.seals import SealState
from prover_framework.model.views import GroupView, SealView
from prover_framework.receipts.documents import MAX_RECEIPT_BYTES, dump_receipt, read_receipt
from prover_framework.testing import Box, series_of, service_in_a_box
from prover_framework.testing.box import SETTINGS
from prover_framework.verification.checks import CheckName

HEAD = """
from pathlib import Path
from attrs import frozen
from prover_framework import *
PROVER_API = 1

@frozen
class Result:
    blocks: int

@hookimpl
def proof_type():
    return ProofType(
        name="blocks", title="Blocks", version="1", parameters=RangeParameters, result=Result
    )

@hookimpl
def compute(inputs):
    return Result(sum(inputs["hourly_base_fee"].counts))
"""

SEAL = """
from attrs import frozen
from prover_framework import *
PROVER_API = 1

@hookimpl
def seal_type():
    return SealType(kind="{kind}", title="A seal", making=Limits({seconds}))

@hookimpl
def check_seal(work):
    kept = (work.cache / "key").exists()
    return Verdict(accepted=True, reason="the key is kept" if kept else "it is there")

@hookimpl
def make_seal({arguments}):
"""

# A feed that says something else each time that it is asked, and signs nothing.
QUOTES = """
from pathlib import Path
from attrs import frozen
from prover_framework import *
PROVER_API = 1

@frozen
class Wanted:
    pass

@frozen
class Quote:
    quote: int

class Feed(InputKind):
    name = "quotes"
    version = "1"
    need_type, data_type, facts_type = Wanted, Quote, Quote

    def load(self, need, settings):
        feed = Path({feed!r})
        now, *rest = feed.read_text()
        feed.write_text("".join(rest))
        return LoadedData(data=Quote(int(now)))

    def facts(self, data):
        return data

    def compare(self, facts, own):
        return Verdict(accepted=facts == own, reason="compared")

@hookimpl
def input_kind():
    return Feed()

@frozen
class Parameters:
    pass

@frozen
class Result:
    quoted: int

@hookimpl
def proof_type():
    return ProofType(
        name="quoted", title="Quoted", version="1", parameters=Parameters, result=Result
    )

@hookimpl
def inputs(parameters):
    return {{"quote": Need("quotes", {{}})}}

@hookimpl
def compute(inputs):
    return Result(inputs["quote"].quote)

@hookimpl
def seal_type():
    return SealType(kind="wax", title="Wax")

@hookimpl
def make_seal(inputs):
    return None if inputs is None else {{"quote": inputs["quote"].quote}}

@hookimpl
def check_seal():
    return Verdict(accepted=True, reason="it is there")
"""

BODY = {"job_group_id": "g", "blocks": {"start_timestamp": 0, "end_timestamp": 7200}}

# More than half of a receipt, two of which have no place in one.
LARGE = MAX_RECEIPT_BYTES * 9 // 20

Write = Callable[..., ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a plugin with a kind of seal that is made by the given lines."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def module(text: str) -> ModuleType:
        written.append(write_plugin(tmp_path, f"p{len(written)}", text).module)
        return importlib.import_module(written[-1])

    def plugin(
        lines: str, arguments: str = "receipt", *, kind: str = "wax", seconds: float = 60.0
    ) -> ModuleType:
        head = SEAL.format(kind=kind, arguments=arguments, seconds=seconds)
        return module(head + textwrap.indent(textwrap.dedent(lines), "    "))

    plugin.blocks = module(HEAD)  # type: ignore[attr-defined]
    yield plugin
    for name in written:
        sys.modules.pop(name, None)


def prove(box: Box) -> GroupView:
    box.submit(BODY)
    return box.sealed("g")


def of_job(group: GroupView) -> SealView:
    (job,) = group.jobs
    (seal,) = job.seals
    return seal


@pytest.fixture
def box_of(write: Write) -> Callable[..., Any]:
    """Open a service with a proof type and kinds of seals."""

    def open_box(*plugins: ModuleType) -> Any:
        settings = attrs.evolve(SETTINGS, max_attempts=2)
        blocks: ModuleType = write.blocks  # type: ignore[attr-defined]
        series = series_of([(5, 2), (7, 3)])
        return service_in_a_box(blocks, *plugins, series=series, settings=settings)

    return open_box


@pytest.mark.parametrize(
    ("lines", "state", "attempts", "said"),
    [
        ("return None", SealState.NOT_APPLICABLE, 1, None),
        ("raise KeyError('wax')", SealState.FAILED, 2, "KeyError: 'wax' (failed 2 times"),
        ("import os; os._exit(3)", SealState.FAILED, 2, "exited with status 3 (failed 2 times"),
        ("raise ProofError('no wax today')", SealState.FAILED, 1, "no wax today"),
        ("return 'red'", SealState.FAILED, 1, "make_seal returned 'red', not a dictionary"),
        ("return {'kind': 'x'}", SealState.FAILED, 1, "it has a member kind"),
    ],
    ids=["none", "raises", "dies", "refuses", "no dict", "another kind"],
)
def test_what_became_of_a_seal_is_seen_in_status(
    write: Write,
    box_of: Callable[..., Any],
    lines: str,
    state: SealState,
    attempts: int,
    said: str | None,
) -> None:
    with box_of(write(lines)) as box:
        group = prove(box)
        seal = of_job(group)
        assert (seal.status, seal.attempts) == (state, attempts)
        (own,) = group.seals
        assert own.status is state, "the receipt of the group is sealed like those of its jobs"
        if said is None:
            assert seal.error is None
        else:
            assert seal.error is not None
            assert said in seal.error["message"].replace("the seal has", "it has")
        assert not box.receipt("g").seals
        shown = httpx.get(f"{box.url}/api/job/g").json()
        assert shown["jobs"][0]["seals"][0]["status"] == state
        assert shown["seals"][0]["error"] == own.error


def test_seals_that_fail_fire_an_alert(write: Write, box_of: Callable[..., Any]) -> None:
    with box_of(write("raise ValueError('cold')")) as box:
        before = scrape(box.url)
        prove(box)
        assert "ProverSealsFail" in firing(scrape(box.url), before)


def test_a_limit_on_making_is_no_limit_of_the_job(write: Write, box_of: Callable[..., Any]) -> None:
    with box_of(write("import time; time.sleep(600)", seconds=0.5)) as box:
        group = prove(box)
        assert group.status == "succeeded"
        error = of_job(group).error
        assert error is not None
        assert error["code"] == "compute_timeout"
        assert "within its limit of 0.5 s" in error["message"]


def test_a_seal_that_waits_delays_no_other_kind_and_no_job(
    write: Write, box_of: Callable[..., Any], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    slow = write(
        f"""
        import time
        from pathlib import Path
        while not Path({str(go)!r}).exists():
            time.sleep(0.01)
        return {{"slow": 1}}
        """
    )
    with box_of(slow, write("return {'ink': 1}", kind="ink")) as box:
        box.submit(BODY)

        def kinds() -> set[str]:
            return {seal.kind for seal in box.receipt_of("g", "blocks").seals}

        wait_until(lambda: kinds() == {"ink"})
        other = box.submit({**BODY, "job_group_id": "h"})
        assert other.status == "succeeded"
        shown = httpx.get(f"{box.url}/metrics").text
        for line in (
            'prover_open_seals{kind="wax",state="making"} 1.0',
            'prover_oldest_seal_seconds{kind="wax",state="queued"}',
            'prover_seal_attempts_total{kind="ink",outcome="made"}',
        ):
            assert line in shown
        assert "ProverSealsStalled" not in firing(read(shown))
        _let_seals_be_old(box, seconds=90_000)
        wait_until(lambda: "ProverSealsStalled" in firing(scrape(box.url)))
        before = box.receipt_of("g", "blocks")
        go.touch()
        box.sealed("g")
        after = box.receipt_of("g", "blocks")
    assert {seal.kind for seal in after.seals} == {"ink", "wax"}
    assert attrs.evolve(after, seals=()) == attrs.evolve(before, seals=())


def _let_seals_be_old(box: Box, *, seconds: int) -> None:
    changed = box._runtime.database.write(
        "UPDATE seal_job SET created_at = created_at - ?", [seconds * 1000]
    )
    asyncio.run_coroutine_threadsafe(changed, box._loop).result(PATIENCE_SECONDS)


def test_seals_that_are_too_large_together_fail_and_the_receipt_stays_readable(
    write: Write, box_of: Callable[..., Any]
) -> None:
    made = "return {'seal': 'x' * %d} if hasattr(receipt, 'evidence') else None" % LARGE  # noqa: UP031
    kinds = [write(made, kind=kind) for kind in ("wax", "ink", "lead")]
    with box_of(*kinds) as box:
        group = prove(box)
        (job,) = group.jobs
        states = sorted(seal.status for seal in job.seals)
        assert states == [SealState.FAILED, SealState.MADE, SealState.MADE]
        (error,) = [seal.error for seal in job.seals if seal.error]
        assert error["code"] == "receipt_too_large"
        single = read_receipt(dump_receipt(box.receipt_of("g", "blocks")))
        assert len(single.seals) == 2
        assert not read_receipt(dump_receipt(box.receipt("g"))).seals


def test_a_receipt_of_a_group_that_is_too_large_leaves_out_the_seals_of_its_members(
    write: Write, box_of: Callable[..., Any]
) -> None:
    with box_of(write("return {'seal': 'x' * %d}" % LARGE)) as box:  # noqa: UP031
        labels = ("blocks", "blocks@a", "blocks@b")
        box.submit({"job_group_id": "g", **dict.fromkeys(labels, BODY["blocks"])})
        group = box.sealed("g")
        assert {job.seals[0].status for job in group.jobs} == {SealState.MADE}
        whole = read_receipt(dump_receipt(box.receipt("g")))
        assert [seal.kind for seal in whole.seals] == ["wax"]
        assert [len(member.seals) for member in box.receipt("g").receipts] == [0, 0, 0]
        assert len(box.receipt_of("g", "blocks@a").seals) == 1


def test_a_seal_that_failed_is_tried_again_when_somebody_asks(
    write: Write, box_of: Callable[..., Any], tmp_path: Path
) -> None:
    mended = tmp_path / "mended"
    lines = f"""
        from pathlib import Path
        if not Path({str(mended)!r}).exists():
            raise ProofError("out of wax")
        return {{"red": 1}}
        """
    with box_of(write(lines)) as box:
        assert of_job(prove(box)).status is SealState.FAILED
        mended.touch()
        asked = ask(box, "/api/job/g/seal/wax", {"job_id": "blocks"})
        assert asked.status_code == 202, asked.text
        assert asked.json()["jobs"][0]["seals"][0]["status"] in ("queued", "making", "made")
        assert of_job(box.sealed("g")).status is SealState.MADE
        assert box.sealed("g").seals[0].status is SealState.FAILED, "nobody asked for this"
        assert ask(box, "/api/job/g/seal/wax").status_code == 202
        group = box.sealed("g")
        assert group.seals[0].status is SealState.MADE
        assert ask(box, "/api/job/g/seal/wax").status_code == 200, "all is made"
        assert box.sealed("g") == group
        assert [seal.kind for seal in box.receipt("g").seals] == ["wax"]


def ask(box: Box, path: str, document: object = None) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    body = b"" if document is None else httpx.Request("POST", box.url, json=document).content
    return httpx.post(f"{box.url}{path}", content=body, headers=headers, timeout=PATIENCE_SECONDS)


def test_what_cannot_be_sealed_is_said(write: Write, box_of: Callable[..., Any]) -> None:
    with box_of(write("return None")) as box:
        box.submit(BODY)
        for path, document, status, said in (
            ("g/seal/ink", None, 400, "no kind of seal that is installed here (installed: wax)"),
            ("g/seal/ed25519", None, 400, "is made with the receipt"),
            ("g/seal/wax", {"job_id": "nothing"}, 404, "has no 'nothing' (it has: blocks)"),
            ("g/seal/wax", {"jobs": 1}, 400, "jobs"),
            ("nobody/seal/wax", None, 404, "nobody"),
            ("no%20id/seal/wax", None, 404, "no id"),
        ):
            answer = ask(box, f"/api/job/{path}", document)
            assert (answer.status_code, said in answer.json()["message"]) == (status, True), answer


def test_a_kind_keeps_what_it_uses_again_and_its_data_comes_with_the_statement(
    write: Write, box_of: Callable[..., Any]
) -> None:
    lines = """
        if inputs is None:
            return None
        kept = work.cache / "key"
        is_first = not kept.exists()
        kept.write_text("key")
        return {"first": is_first, "sums": list(inputs["hourly_base_fee"].sums_wei)}
        """
    with box_of(write(lines, "inputs, work")) as box:
        prove(box)
        box.submit({**BODY, "job_group_id": "h"})
        assert box.sealed("h").seals[0].status is SealState.NOT_APPLICABLE
        seals = [box.receipt_of(group, "blocks").seals[0].document for group in ("g", "h")]
        checks = [row.reason for row in box.verify("g").checks if row.check is CheckName.SEAL]
    # Who checks has it as well.
    assert "the key is kept" in checks
    assert [seal["first"] for seal in seals] == [True, False]
    assert seals[0]["sums"] == [5, 7]


def test_data_that_is_gone_fails_a_seal_and_is_never_replaced_by_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    feed = tmp_path / "feed"
    # What it says to the job, to the seal, and to the seal's second life.
    feed.write_text("121")
    candidate = write_plugin(tmp_path, "quotes", QUOTES.format(feed=str(feed)))
    quotes = importlib.import_module(candidate.module)
    with service_in_a_box(quotes) as box:
        group = box.submit({"job_group_id": "g", "quoted": {}})
        assert group.status == "succeeded", group
        seal = of_job(box.sealed("g"))
        assert seal.status is SealState.FAILED
        assert seal.error is not None
        assert seal.error["code"] == "data_changed"
        assert ask(box, "/api/job/g/seal/wax").status_code == 202
        assert of_job(box.sealed("g")).status is SealState.MADE
        assert box.receipt_of("g", "quoted").seals[0].document == {"quote": 1}
