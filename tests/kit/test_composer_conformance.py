"""The kit's tests of composers pass a sound one and say in words what is wrong with others."""

import re
from pathlib import Path

import pytest
from attrs import frozen
from kit_runs import install_module, outcomes

from prover_framework.testing import ComposerConformance

# A sum of two proofs, decoded and as text. A flaw replaces one of its parts.
PARTS = {
    "first": "pass",
    "lacking": "return None",
    "unfit": "raise NoNumber('a number of the group is none')",
    "content": "{'sum': str(total)}",
    "data": "str(total).encode().hex()",
}

SOURCE = """
import itertools, pathlib
from prover_framework import *
PROVER_API = 1

calls = itertools.count()


class NoNumber(ProofError):
    code = "no_number"


@hookimpl
def compose(group):
    {first}
    found = [group.of(name) for name in ("left", "right")]
    if None in found:
        {lacking}
    numbers = [receipt.statement.result.get(receipt.statement.proof_type) for receipt in found]
    if not all(type(number) is int for number in numbers):
        {unfit}
    total = sum(numbers)
    return [Artefact(kind="sum", version="1", content={content}, data={data})]
"""

TESTS = """
import {module}
from prover_framework.testing import ComposerConformance, group_of, receipt_of

class TestIt(ComposerConformance):
    plugin = {module}
    samples = (group_of(receipt_of("left", {{"left": 2}}), receipt_of("right", {{"right": 3}})),)
"""


@frozen
class Flaw:
    """The test that finds it, what the test says, and the part that is flawed."""

    test: str
    says: str
    part: str
    source: str


FLAWS = {
    "silent": Flaw(
        "test_a_receipt_can_hold_them",
        r"compose makes nothing of the group of left, right, and says no reason",
        "first",
        "return None",
    ),
    "empty": Flaw("test_a_receipt_can_hold_them", r"the artefact sum is empty", "data", "''"),
    "vast": Flaw(
        "test_a_receipt_can_hold_them",
        r"the artefacts have [\d,]+ bytes, more than 1,048,576",
        "data",
        "'ab' * 2**19",
    ),
    "reading": Flaw(
        "test_it_composes_from_its_arguments_alone",
        r"its hook compose read /etc/hostname",
        "first",
        "pathlib.Path('/etc/hostname').read_text()",
    ),
    "counting": Flaw(
        "test_it_composes_the_same_again",
        r"a second time it makes something else of the group of left, right",
        "content",
        "{'sum': str(total), 'number': next(calls)}",
    ),
    "scribbling": Flaw(
        "test_it_alters_no_receipt",
        r"its hook compose has altered the receipts of the group of left, right",
        "first",
        "for receipt in group.receipts: receipt.statement.result.update(seen=True)",
    ),
    "forgetful": Flaw(
        "test_content_and_bytes_say_the_same",
        r"with left of left altered: sum has other content, and nothing else is another",
        "data",
        "'ab'",
    ),
    "narrow": Flaw(
        "test_a_group_that_it_does_not_know_is_no_error",
        r"a group in which every job failed: its hook compose fails, .*ValueError: what",
        "lacking",
        "raise ValueError('what')",
    ),
    "wordless": Flaw(
        "test_a_group_that_lacks_a_proof_is_no_error",
        r"left failed: refused without a word",
        "lacking",
        "raise NoNumber('')",
    ),
    "unlabelled": Flaw(
        "test_a_group_with_labels_is_no_error",
        r"left with a label alone: its hook compose fails, and does not refuse",
        "first",
        "group.of('left').statement",
    ),
    "trusting": Flaw(
        "test_odd_numbers_are_refused_with_words",
        r"left is 'None': its hook compose fails, and does not refuse: .*TypeError",
        "unfit",
        "pass",
    ),
    "proud": Flaw(
        "test_a_service_has_it_compose",
        r"in a service its hook compose fails: .*proofs of its own alone",
        "first",
        "assert group.receipts[0].statement.proof_type == 'left', 'proofs of its own alone'",
    ),
}


def write(directory: Path, name: str, **parts: str) -> Path:
    # What it makes has braces of its own.
    source = SOURCE
    for part, text in {**PARTS, **parts}.items():
        source = source.replace(f"{{{part}}}", text)
    module = install_module(directory, name, source)
    tests = directory / f"test_{name}.py"
    tests.write_text(TESTS.format(module=module))
    return tests


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Run for each flawed plugin the test that should find the flaw, and all for a sound one."""
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


def test_a_sound_composer_passes(found: dict[str, tuple[str, str]]) -> None:
    promised = {name for name in vars(ComposerConformance) if name.startswith("test_")}
    assert {name: found[f"test_sound::{name}"][0] for name in promised} == dict.fromkeys(
        promised, "passed"
    )
