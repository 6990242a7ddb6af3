"""A plugin brings a kind of seal; what it does wrong is its own, and counts for nothing."""

import importlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from plugin_files import write_plugin

from prover_framework.model.findings import Outcome
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.receipts.documents import dump_receipt
from prover_framework.testing import series_of, service_in_a_box
from prover_framework.verification.checks import Check, CheckName, Report

HEAD = """
from hashlib import sha256
from typing import Any
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

@hookimpl
def seal_type():
    return SealType(kind="wax", title="Wax")
"""

# A seal that stands for what was sealed: the digest, and that there were inputs.
SOUND = """
def mark(digest):
    return sha256(b"wax" + digest).hexdigest()

@hookimpl
def make_seal(receipt, digest, inputs):
    return {"mark": mark(digest), "hours": len(inputs["hourly_base_fee"]) if inputs else 0}

@hookimpl
def check_seal(receipt, digest, seal):
    if seal.get("mark") == mark(digest):
        return Verdict(accepted=True, reason=f"sealed over {seal['hours']} hours")
    return Verdict(accepted=False, reason="the mark is another one")
"""

Module = Callable[[str], ModuleType]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """Write a plugin with a proof type and a kind of seal, whose hooks are given."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(hooks: str) -> ModuleType:
        name = write_plugin(tmp_path, "blocks", HEAD + textwrap.dedent(hooks)).module
        written.append(name)
        return importlib.import_module(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def seals_of(document: bytes) -> dict[str, list[str]]:
    """Return the kinds of seals of a group's receipt and of its member."""
    receipt = json.loads(document)
    (member,) = receipt["receipts"]
    return {
        "group": [seal["kind"] for seal in receipt["seals"]],
        "blocks": [seal["kind"] for seal in member["seals"]],
    }


def checked(plugin: ModuleType) -> tuple[dict[str, list[str]], list[Check], bool]:
    """Prove one job with a plugin; return its seals, and what checking them came to."""
    with service_in_a_box(plugin, series=series_of([(5, 2), (7, 3)])) as box:
        group = box.submit(
            {"job_group_id": "g", "blocks": {"start_timestamp": 0, "end_timestamp": 7200}}
        )
        assert group.status == "succeeded", group
        box.sealed("g")
        report = box.verify("g")
        seals = seals_of(dump_receipt(box.receipt("g")))
    rows = [c for c in report.checks if c.check is CheckName.SEAL and c.detail != "ed25519"]
    return seals, rows, report.accepted


def test_a_kind_of_seal_comes_with_a_plugin(module: Module) -> None:
    seals, rows, accepted = checked(module(SOUND))
    assert seals == {"group": ["wax"], "blocks": ["wax"]}
    assert accepted
    assert {(row.subject, row.outcome, row.reason) for row in rows} == {
        ("g", Outcome.PASSED, "sealed over 0 hours"),
        ("blocks", Outcome.PASSED, "sealed over 2 hours"),
    }


@pytest.mark.parametrize(
    "make",
    [
        "return None",
        "raise KeyError('wax')",
        "raise ProofError('no wax today')",
        "return 'red'",
        "return {'kind': 'ed25519', 'key_id': 'ab', 'signature': 'cd'}",
        "return {'number': 2**60 + 1}",
        "import os; os._exit(3)",
    ],
    ids=["none", "raises", "refuses", "no dict", "another kind", "no exact form", "dies"],
)
def test_a_seal_that_can_not_be_made_is_left_out(module: Module, make: str) -> None:
    sound = SOUND.replace("return {", "return None and {")
    hooks = sound.replace(
        "def make_seal(receipt, digest, inputs):\n", "def make_seal():\n    MAKE\n"
    )
    seals, rows, accepted = checked(module(hooks.replace("MAKE", make)))
    assert seals == {"group": [], "blocks": []}
    assert not rows
    assert accepted, "nobody asked for a seal"


@pytest.mark.parametrize(
    ("check", "outcome", "said"),
    [
        ("return Verdict(accepted=False, reason='melted')", Outcome.FAILED, "melted"),
        ("raise ProofError('melted')", Outcome.FAILED, "melted"),
        ("raise KeyError('wax')", Outcome.NOT_POSSIBLE, "check_seal raised KeyError: 'wax'"),
        ("return True", Outcome.NOT_POSSIBLE, "check_seal returned True, not a Verdict"),
        ("return None", Outcome.NOT_POSSIBLE, "check_seal returned None, not a Verdict"),
        ("import os; os._exit(3)", Outcome.NOT_POSSIBLE, "exited with status 3"),
    ],
)
def test_only_a_plugin_that_says_so_makes_a_seal_count(
    module: Module, check: str, outcome: Outcome, said: str
) -> None:
    hooks = SOUND.replace(
        "def check_seal(receipt, digest, seal):\n", "def check_seal(seal):\n    CHECK\n"
    )
    _, rows, accepted = checked(module(hooks.replace("CHECK", check)))
    assert {row.outcome for row in rows} == {outcome}
    assert all(said in row.reason for row in rows), rows
    assert accepted is (outcome is Outcome.NOT_POSSIBLE), "what failed fails it all"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@hookimpl\ndef seal_type():\n    return 5", "seal_type returned 5, not a SealType"),
        (
            "@hookimpl\ndef seal_type():\n    return SealType(kind='wax', title='Wax')",
            "registers the kind of seal wax and does not implement check_seal, make_seal",
        ),
        (
            "@hookimpl\ndef seal_type():\n    return SealType(kind='Red Wax', title='Wax')",
            "its registration failed: ValueError: 'kind' must match",
        ),
        ("@hookimpl\ndef make_seal():\n    return {}", "make_seal and registers no kind of seal"),
        (
            SOUND + "@hookimpl\ndef seal_type():\n    return SealType(kind='ed25519', title='X')",
            "ed25519 is the framework's own kind of seal",
        ),
        (
            SOUND
            + "@hookimpl\ndef seal_type():\n"
            + "    return SealType(kind='wax', title='Wax', version=99)",
            "unexpected keyword argument 'version'",
        ),
    ],
)
def test_a_plugin_that_registers_no_sound_kind_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = "from hashlib import sha256\nfrom prover_framework import *\nPROVER_API = 1\n" + source
    [plugin] = load([write_plugin(tmp_path, "wax", text)]).found
    assert said in (plugin.failure or "")


def test_two_plugins_with_one_kind_are_both_refused(module: Module) -> None:
    sources = [module(SOUND).__name__, module(SOUND).__name__]
    loaded = load([Candidate(f"wax{i}", name, f"d{i}", "1") for i, name in enumerate(sources)])
    for plugin in loaded.found:
        assert "is registered by wax0 (d0) and wax1 (d1)" in (plugin.failure or "")
    assert not loaded.sealers


@pytest.mark.parametrize(
    ("shows", "said"),
    [
        ("", "by its seal wax, who vouches for it"),
        (", shows=SealShows.COMMITTED_DATA", "the arithmetic over the data that it commits to"),
        (", shows=SealShows.FEES_HASH", "the arithmetic over the data of the on-chain fees hash"),
    ],
)
def test_what_a_seal_shows_is_said_in_the_words_of_the_framework(
    module: Module, shows: str, said: str
) -> None:
    registered = f"""
@hookimpl
def seal_type():
    return SealType(kind="wax", title="Wax"{shows})
"""
    with service_in_a_box(module(SOUND + registered), series=series_of([(5, 2), (7, 3)])) as box:
        box.submit({"job_group_id": "g", "blocks": {"start_timestamp": 0, "end_timestamp": 7200}})
        box.sealed("g")
        report = box.verify("g")
    assert said in report.strength
    assert "sealed over" not in report.strength, "the plugin's own words are in the table alone"


# Arithmetic over the series that it commits to, which are other hours with the same sum.
OF_OTHER_HOURS = """
def commitment(series):
    return sha256(repr(list(series)).encode()).hexdigest()

@hookimpl
def make_seal(inputs):
    if inputs is None:
        return None
    sums = inputs["hourly_base_fee"].sums_wei
    return {"sum": sum(sums), "commitment": commitment(reversed(sums))}

@hookimpl
def check_seal(seal, inputs):
    if inputs is None:
        return Verdict(accepted=seal["sum"] == 12, reason="the sum is right")
    right = seal["commitment"] == commitment(inputs["hourly_base_fee"].sums_wei)
    return Verdict(accepted=right, reason="the commitment to the hours was compared")
"""


def test_a_seal_over_other_hours_with_the_same_sum_is_refused_by_one_who_has_the_hours(
    module: Module,
) -> None:
    plugin = module(OF_OTHER_HOURS)
    with service_in_a_box(plugin, series=series_of([(5, 2), (7, 3)])) as box:
        box.submit({"job_group_id": "g", "blocks": {"start_timestamp": 0, "end_timestamp": 7200}})
        box.sealed("g")
        document = dump_receipt(box.receipt("g"))
        assert wax(box.verify("g")) == (Outcome.FAILED, "the commitment to the hours was compared")
    with service_in_a_box(plugin) as without_hours:
        report = without_hours.verify_body(document)
    assert wax(report) == (Outcome.PASSED, "the sum is right")
    assert not report.accepted, "the hours themselves could not be compared"


def wax(report: Report) -> tuple[Outcome, str]:
    (row,) = [c for c in report.checks if c.check is CheckName.SEAL and c.detail == "wax"]
    return row.outcome, row.reason
