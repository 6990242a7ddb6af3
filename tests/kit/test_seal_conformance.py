"""The kit's tests of seals pass a sound kind and say in words what is wrong with others."""

import re
from pathlib import Path

import pytest
from attrs import frozen
from kit_runs import install_module, outcomes

from prover_framework.testing import SealConformance

# A seal that repeats the digest, and the hours that a number comes from. A flaw replaces a part.
PARTS = {
    "registered": "SealType(kind='wax', title='Wax', shows=SealShows.COMMITTED_DATA)",
    "made": "{'mark': mark(receipt, digest), 'hours': hours_in(inputs)}",
    "on_making": "pass",
    "on_checking": "pass",
    "checked": "set(seal) == {'mark', 'hours'} and of_right_hours(seal, inputs)",
    "marked": "seal.get('mark') == mark(receipt, digest)",
}

SOURCE = """
import pathlib
from hashlib import sha256
from prover_framework import *
PROVER_API = 1


def mark(receipt, digest):
    return sha256(b"wax" + digest).hexdigest()


def hours_in(inputs):
    if inputs is None:
        return []
    return [str(each) for series in inputs.values() for each in series.sums_wei]


def of_right_hours(seal, inputs):
    return inputs is None or seal["hours"] == hours_in(inputs)


def right_form(seal):
    hours = seal.get("hours")
    return isinstance(hours, list) and all(isinstance(each, str) for each in hours)


@hookimpl
def seal_type():
    return {registered}


@hookimpl
def make_seal(receipt, digest, inputs):
    {on_making}
    return {made}


@hookimpl
def check_seal(receipt, digest, seal, inputs):
    {on_checking}
    if {checked} and {marked}:
        if isinstance(receipt, GroupReceipt) and seal["hours"] != []:
            return Verdict(accepted=False, reason="a group has no hours")
        return Verdict(accepted=True, reason="the mark and the hours are right")
    return Verdict(accepted=False, reason="the mark is another one")
"""

TESTS = """
import {module}
from prover_framework.testing import SealConformance

class TestIt(SealConformance):
    plugin = {module}
"""


@frozen
class Flaw:
    """The test that finds it, what the test says, and the part of the kind that is flawed."""

    test: str
    says: str
    part: str
    source: str


FLAWS = {
    "absent": Flaw("test_it_seals_some_sample", r"it makes no seal on any sample", "made", "None"),
    "helpless": Flaw(
        "test_a_receipt_can_hold_it",
        r"make_seal makes no seal on the sample of stand_in: .*no wax",
        "on_making",
        "raise ValueError('no wax')",
    ),
    "misnamed": Flaw(
        "test_a_receipt_can_hold_it",
        r"the seal has a member kind, where the service writes its kind",
        "made",
        "{'kind': 'ed25519', 'mark': mark(receipt, digest), 'hours': hours_in(inputs)}",
    ),
    "inexact": Flaw(
        "test_a_receipt_can_hold_it",
        r"the seal has no exact form|the seal\.number",
        "made",
        "{'mark': mark(receipt, digest), 'hours': [], 'number': 2**60 + 1}",
    ),
    "vast": Flaw(
        "test_a_receipt_can_hold_it",
        r"the seal has [\d,]+ bytes, more than 1,048,576",
        "made",
        "{'mark': 'ab' * 2**20, 'hours': hours_in(inputs)}",
    ),
    "scribbling": Flaw(
        "test_it_alters_nothing",
        r"its hook make_seal has altered what it is given",
        "on_making",
        "isinstance(receipt, Receipt) and receipt.statement.result.update(sealed=True)",
    ),
    "consuming": Flaw(
        "test_it_alters_nothing",
        r"its hook check_seal has altered what it is given",
        "on_checking",
        "seal = seal if 'mark' not in seal else {'mark': seal.pop('mark'), **seal}",
    ),
    "distrustful": Flaw(
        "test_its_own_seal_is_accepted",
        r"its hook check_seal refuses its own seal: the mark is another one",
        "marked",
        "False",
    ),
    "demanding": Flaw(
        "test_who_has_no_data_is_answered",
        r"its own seal without data: its hook check_seal fails, .*AttributeError",
        "on_checking",
        "inputs.values()",
    ),
    "reading": Flaw(
        "test_it_judges_by_its_arguments_alone",
        r"its hook check_seal read /etc/hostname",
        "on_checking",
        "pathlib.Path('/etc/hostname').read_text()",
    ),
    "careless": Flaw(
        "test_an_altered_seal_is_refused",
        r"a seal with hours\S* (\(one fewer\) )?altered: its hook check_seal accepts it",
        "checked",
        "set(seal) == {'mark', 'hours'}",
    ),
    "fragile": Flaw(
        "test_garbage_is_refused",
        r"a seal without members: its hook check_seal fails, and does not judge: .*KeyError",
        "checked",
        "of_right_hours(seal, inputs) and seal['hours'] is not None",
    ),
    "generous": Flaw(
        "test_a_seal_with_more_in_it_is_refused",
        r"a seal with one member more: its hook check_seal accepts it",
        "checked",
        "right_form(seal) and of_right_hours(seal, inputs)",
    ),
    "timeless": Flaw(
        "test_a_seal_over_another_digest_is_refused",
        r"on a receipt that was made a second later: its hook check_seal accepts it",
        "marked",
        "'mark' in seal",
    ),
    "portable": Flaw(
        "test_a_seal_on_another_statement_is_refused",
        r"on the sample of the group round, another receipt: its hook check_seal accepts it|"
        r"stand_in of the result altered: its hook check_seal accepts it",
        "marked",
        "'mark' in seal",
    ),
    "summing": Flaw(
        "test_other_data_with_the_same_sum_is_refused",
        r"for a verifier with other hours: its hook check_seal accepts it",
        "checked",
        "set(seal) == {'mark', 'hours'} and "
        "(inputs is None or sum(map(int, seal['hours'])) == sum(map(int, hours_in(inputs))))",
    ),
    "unstable": Flaw(
        "test_a_service_makes_it_and_checks_it",
        r"the service does not accept its seal on \S+: the mark is another one",
        "checked",
        "not isinstance(receipt, Receipt) or receipt.provenance.machine == 'a test'",
    ),
}


def write(directory: Path, name: str, **parts: str) -> Path:
    # The seals have braces of their own.
    source = SOURCE
    for part, text in {**PARTS, **parts}.items():
        source = source.replace(f"{{{part}}}", text)
    module = install_module(directory, name, source)
    tests = directory / f"test_{name}.py"
    tests.write_text(TESTS.format(module=module))
    return tests


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Run for each flawed kind the test that should find the flaw, and all for a sound one."""
    directory = tmp_path_factory.mktemp("flawed")
    selected = [write(directory, "sound").name]
    for name, flaw in FLAWS.items():
        tests = write(directory, name, **{flaw.part: flaw.source})
        selected.append(f"{tests.name}::TestIt::{flaw.test}")
    return outcomes(directory, *selected)


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_and_told(found: dict[str, tuple[str, str]], name: str) -> None:
    flaw = FLAWS[name]
    outcome, message = found[f"test_{name}::{flaw.test}"]
    assert outcome in ("failure", "error"), outcome
    assert re.search(flaw.says, message), message
    assert "Traceback" not in message


def test_a_sound_kind_passes(found: dict[str, tuple[str, str]]) -> None:
    promised = {name for name in vars(SealConformance) if name.startswith("test_")}
    came = {name: found[f"test_sound::{name}"][0] for name in promised}
    # A group has no hours that could be exchanged.
    assert came.pop("test_other_data_with_the_same_sum_is_refused") == "skipped"
    assert set(came.values()) == {"passed"}, came
