"""What is attached to a result is made again, or judged by its plugin, by digest."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from attaching_box import attach, attaching_plugins
from attaching_plugin import content

from prover_framework.model.findings import Outcome
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.documents import dump_receipt
from prover_framework.settings import Settings
from prover_framework.testing import Box
from prover_framework.testing.box import box_of
from prover_framework.verification.checks import CheckName, Report
from prover_framework.verification.verifier import Verifier

SIZES = {"one.csv": 300_000, "two.csv": 5}

Outcomes = dict[str, tuple[Outcome, str]]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugins]:
    with attaching_plugins(tmp_path_factory.mktemp("modules")) as plugins:
        yield plugins


@pytest.fixture(scope="module")
def box(plugins: Plugins) -> Iterator[Box]:
    with box_of(plugins) as box:
        yield box


@pytest.fixture(scope="module")
def receipts(box: Box) -> dict[str, bytes]:
    for name in ("attaching", "reading"):
        attach(box, name, SIZES, name=name)
    attach(box, "blind", SIZES, name="reading", trick="blind")
    attach(box, "random", {"one.csv": 1}, trick="random")
    groups = ("attaching", "reading", "blind", "random")
    return {group: dump_receipt(box.receipt(group).receipts[0]) for group in groups}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name, size in SIZES.items():
        (tmp_path / name).write_bytes(content(size))
    return {name: tmp_path / name for name in SIZES}


async def verify(
    plugins: Plugins,
    body: bytes,
    files: Mapping[str, Path] | None = None,
    asked: frozenset[CheckName] | None = None,
) -> Report:
    verifier = Verifier(settings=Settings(), plugins=plugins, headers=None, attachments=files or {})
    return await verifier.verify(body, asked)


def outcomes(report: Report) -> Outcomes:
    return {
        check.detail: (check.outcome, check.reason)
        for check in report.checks
        if check.check is CheckName.ATTACHMENTS
    }


def changed(body: bytes, **changes: Any) -> bytes:
    document = json.loads(body)
    document["statement"].update(changes)
    return json.dumps(document).encode()


P, F, N = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_POSSIBLE

AGAIN = (P, "computed again, byte for byte")


async def test_a_result_that_is_computed_again_has_its_attachments_made_again(
    plugins: Plugins, receipts: dict[str, bytes], files: dict[str, Path]
) -> None:
    for given in ({}, files):
        report = await verify(plugins, receipts["attaching"], given)
        assert report.accepted, report
        assert outcomes(report) == {"one.csv": AGAIN, "two.csv": AGAIN}
        assert "the results, with what is attached to them, follow" in report.strength


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"one.csv": {"sha256": "0" * 64}}, "one.csv", "sha256 is stated as 000"),
        ({"one.csv": {"size": 1}}, "one.csv", "size is stated as 1, and computed again it is 300"),
        ({"two.csv": {"media_type": "text/html"}}, "two.csv", "media_type is stated as text/html"),
        ({"three.csv": {"media_type": "a/b", "size": 0, "sha256": "0" * 64}}, "three.csv", "again"),
        ({"one.csv": None}, "one.csv", "it was attached when the result was computed again, and n"),
    ],
)
async def test_another_attachment_than_the_method_makes_is_refused(
    plugins: Plugins,
    receipts: dict[str, bytes],
    change: dict[str, dict[str, object] | None],
    name: str,
    said: str,
) -> None:
    stated = json.loads(receipts["attaching"])["statement"]["attachments"]
    for each, fields in change.items():
        if fields is None:
            del stated[each]
        else:
            stated[each] = {**stated.get(each, {}), **fields}
    report = await verify(plugins, changed(receipts["attaching"], attachments=stated))
    assert not report.accepted
    outcome, reason = outcomes(report)[name]
    assert outcome is F
    assert said in reason


async def test_a_file_with_one_byte_changed_is_refused(
    plugins: Plugins, receipts: dict[str, bytes], files: dict[str, Path]
) -> None:
    whole = bytearray(files["one.csv"].read_bytes())
    whole[150_000] ^= 1
    files["one.csv"].write_bytes(whole)
    for kind in ("attaching", "reading"):
        report = await verify(plugins, receipts[kind], files)
        assert not report.accepted
        outcome, reason = outcomes(report)["one.csv"]
        assert outcome is F
        assert reason.startswith("the file that is given has 300,000 bytes with the SHA-256 ")


async def test_a_plugin_can_judge_by_what_is_in_the_files(
    plugins: Plugins, receipts: dict[str, bytes], files: dict[str, Path]
) -> None:
    report = await verify(plugins, receipts["reading"], files)
    assert report.accepted, report
    judged = (P, "the plugin has judged the file that is given, which is the stated")
    assert outcomes(report) == {"one.csv": judged, "two.csv": judged}
    (result,) = (check for check in report.checks if check.check is CheckName.RESULT)
    assert result.reason == "300005 bytes were read"


async def test_without_the_files_that_it_needs_nothing_is_shown_and_nothing_refused(
    plugins: Plugins, receipts: dict[str, bytes], files: dict[str, Path]
) -> None:
    del files["two.csv"]
    for given in ({}, files):
        report = await verify(plugins, receipts["reading"], given)
        assert not report.accepted
        assert {outcome for outcome, _ in outcomes(report).values()} == {N}
        (result,) = (check for check in report.checks if check.check is CheckName.RESULT)
        assert result.outcome is N
        missing = "two.csv" if given else "one.csv"
        assert f"needs the attachment '{missing}', which was not given" in result.reason


async def test_a_plugin_that_looks_at_none_of_it_shows_nothing_of_it(
    plugins: Plugins, receipts: dict[str, bytes], files: dict[str, Path]
) -> None:
    report = await verify(plugins, receipts["blind"], files)
    assert not report.accepted
    assert {outcome for outcome, _ in outcomes(report).values()} == {N}
    assert (
        "On trust: the plugins that are installed here; whoever sent it, for what is attached"
        in (report.strength)
    )


async def test_bytes_that_are_others_each_time_are_refused(
    plugins: Plugins, receipts: dict[str, bytes]
) -> None:
    report = await verify(plugins, receipts["random"])
    assert outcomes(report)["random"][0] is F


async def test_a_file_of_nothing_that_is_stated_is_refused(
    plugins: Plugins, receipts: dict[str, bytes], files: dict[str, Path]
) -> None:
    report = await verify(plugins, receipts["attaching"], {"other.csv": files["one.csv"]})
    assert not report.accepted
    assert outcomes(report)["other.csv"] == (
        F,
        "a file of it is given, and nothing of the kind is stated",
    )


async def test_the_check_can_be_asked_for_alone(
    plugins: Plugins, receipts: dict[str, bytes]
) -> None:
    report = await verify(plugins, receipts["attaching"], asked=frozenset({CheckName.ATTACHMENTS}))
    assert report.accepted
    assert {check.check for check in report.checks} == {CheckName.FORM, CheckName.ATTACHMENTS}


async def test_files_of_a_groups_jobs_are_named_by_job(
    box: Box, plugins: Plugins, files: dict[str, Path], receipts: dict[str, bytes]
) -> None:
    del receipts
    group = dump_receipt(box.receipt("reading"))
    named = {f"reading/{name}": path for name, path in files.items()}
    assert (await verify(plugins, group, named)).accepted
    wrong = {f"attaching/{name}": path for name, path in files.items()}
    assert not (await verify(plugins, group, wrong)).accepted


@pytest.mark.parametrize(
    "attachments",
    [
        {},
        None,
        [],
        {"../up": {"media_type": "a/b", "size": 0, "sha256": "0" * 64}},
        {"a": {"media_type": "a/b\r\nX: y", "size": 0, "sha256": "0" * 64}},
        {"a": {"media_type": "a/b", "size": -1, "sha256": "0" * 64}},
        {"a": {"media_type": "a/b", "size": 2**53, "sha256": "0" * 64}},
        {"a": {"media_type": "a/b", "size": 0, "sha256": "0" * 63}},
        {"a": {"media_type": "a/b", "size": 0, "sha256": "0" * 64, "more": 1}},
        {f"a{n}": {"media_type": "a/b", "size": 0, "sha256": "0" * 64} for n in range(17)},
    ],
)
async def test_what_states_no_attachments_is_no_receipt(
    box: Box, plugins: Plugins, receipts: dict[str, bytes], attachments: object
) -> None:
    report = await verify(plugins, changed(receipts["attaching"], attachments=attachments))
    assert [(check.check, check.outcome) for check in report.checks] == [(CheckName.FORM, F)]
    group = json.loads(dump_receipt(box.receipt("attaching")))
    group["receipts"][0]["statement"]["attachments"] = attachments
    report = await verify(plugins, json.dumps(group).encode())
    assert [(check.check, check.outcome) for check in report.checks] == [(CheckName.FORM, F)]


def test_a_receipt_comes_back_as_it_was(box: Box, receipts: dict[str, bytes]) -> None:
    del receipts
    receipt = box.receipt("attaching").receipts[0]
    bare = attrs.evolve(receipt, statement=attrs.evolve(receipt.statement, attachments={}))
    assert "attachments" in json.loads(dump_receipt(receipt))["statement"]
    assert "attachments" not in json.loads(dump_receipt(bare))["statement"]
