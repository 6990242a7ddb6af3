"""The kit's tests of kinds of data pass a sound kind and say in words what is wrong with others."""

import re
from pathlib import Path

import pytest
from attrs import frozen
from kit_runs import install_module, outcomes

from prover_framework.testing import InputKindConformance

# A kind of numbers that somebody vouches for by a mark. A flaw replaces one of its parts.
PARTS = {
    "need": "field(validator=ge(0))",
    "facts": "NumberFacts(number=data.number, square=data.number**2)",
    "canonical": "None",
    "compare": "return super().compare(facts, own)",
    "answers": "facts.number == need.number",
    "check": "evidence.mark == f'mark of {facts.number} {facts.square}'",
    "shown": "Number(number=facts.number)",
}

SOURCE = """
from attrs import field, frozen
from attrs.validators import ge
from prover_framework import *
PROVER_API = 1


@frozen(kw_only=True)
class Wanted:
    number: int = {need}


@frozen(kw_only=True)
class Number:
    number: int


@frozen(kw_only=True)
class NumberFacts:
    number: int
    square: int


@frozen(kw_only=True)
class Mark:
    mark: str


class Numbers(InputKind[Wanted, Number, NumberFacts, Mark]):
    name = "NAME"
    version = "1"
    need_type = Wanted
    data_type = Number
    facts_type = NumberFacts
    evidence_type = Mark
    has_seed_part = False

    def load(self, need, settings):
        number = need.number
        return LoadedData(Number(number=number), Mark(mark=f"mark of {{number}} {{number**2}}"))

    def facts(self, data):
        return {facts}

    def canonical(self, data):
        return {canonical}

    def compare(self, facts, own):
        {compare}

    def answers(self, need, facts):
        return Verdict(accepted={answers}, reason="by its number")

    def check(self, facts, evidence, settings):
        return Checked(Verdict(accepted={check}, reason="by its mark"), {shown})


@hookimpl
def input_kind():
    return Numbers()
"""

TESTS = """
import {module}
from prover_framework.testing import InputKindConformance

class TestIt(InputKindConformance):
    plugin = {module}
    samples = ({module}.Wanted(number=2), {module}.Wanted(number=3))
    wrong = (("number", -1),)
"""


@frozen
class Flaw:
    """The test that finds it, what the test says, and the part of the kind that is flawed."""

    test: str
    says: str
    part: str
    source: str


FLAWS = {
    "lenient": Flaw(
        "test_wrong_needs_are_refused_by_name",
        r"a need with number = -1 is accepted and should be refused",
        "need",
        "field()",
    ),
    "vague": Flaw(
        "test_other_data_is_stated_otherwise",
        r"data with number altered has the same digest",
        "canonical",
        "b'a number'",
    ),
    "restless": Flaw(
        "test_the_same_data_has_the_same_facts",
        r"the same data is stated in two ways",
        "facts",
        "NumberFacts(number=data.number, square=id(data))",
    ),
    "hostile": Flaw(
        "test_the_verifiers_own_data_is_accepted",
        r"its method compare refuses true facts",
        "compare",
        "return Verdict(accepted=False, reason='never')",
    ),
    "trusting": Flaw(
        "test_altered_facts_are_refused_by_own_data",
        r"its method compare accepts facts with square altered",
        "compare",
        "return Verdict(accepted=facts.number == own.number, reason='the number')",
    ),
    "unconvinced": Flaw(
        "test_evidence_shows_the_data",
        r"true evidence is refused",
        "check",
        "False",
    ),
    "confused": Flaw(
        "test_evidence_shows_the_data",
        r"its method check shows other data than what was loaded",
        "shown",
        "Number(number=facts.number + 1)",
    ),
    "careless": Flaw(
        "test_altered_facts_are_refused_by_evidence",
        r"facts with square altered is accepted",
        "check",
        "evidence.mark.startswith(f'mark of {facts.number} ')",
    ),
    "credulous": Flaw(
        "test_altered_evidence_is_refused",
        r"evidence with mark altered is accepted",
        "check",
        "True",
    ),
    "indifferent": Flaw(
        "test_evidence_of_another_need_is_refused",
        r"its method answers takes the data of another need for that of Wanted\(number=2\)",
        "answers",
        "True",
    ),
}


def write(directory: Path, name: str, **parts: str) -> Path:
    source = SOURCE.format(**{**PARTS, **parts}).replace("NAME", name)
    module = install_module(directory, name, source)
    tests = directory / f"test_{name}.py"
    tests.write_text(TESTS.format(module=module))
    return tests


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Run for each flawed kind the test that should find the flaw, all in one go."""
    directory = tmp_path_factory.mktemp("flawed")
    selected = []
    for name, wrong in FLAWS.items():
        tests = write(directory, name, **{wrong.part: wrong.source})
        selected.append(f"{tests.name}::TestIt::{wrong.test}")
    return outcomes(directory, *selected)


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_and_told(flawed: dict[str, tuple[str, str]], name: str) -> None:
    wrong = FLAWS[name]
    outcome, message = flawed[f"test_{name}::{wrong.test}"]
    assert outcome in ("failure", "error"), outcome
    assert re.search(wrong.says, message), message
    assert "Traceback" not in message


def test_a_sound_kind_passes(tmp_path: Path) -> None:
    tests = write(tmp_path, "sound")
    found = outcomes(tmp_path, tests.name)
    assert {name: what for name, (what, _) in found.items() if what != "passed"} == {}
    promised = {name for name in vars(InputKindConformance) if name.startswith("test_")}
    assert {name.partition("::")[2] for name in found} == promised


def test_an_exception_is_skipped_with_its_reason(tmp_path: Path) -> None:
    tests = write(tmp_path, "excepted", check="True")
    name = "test_altered_evidence_is_refused"
    text = tests.read_text() + f'    exceptions = {{"{name}": "it vouches for everything"}}\n'
    tests.write_text(text)
    outcome, message = outcomes(tmp_path, f"{tests.name}::TestIt::{name}")[f"test_excepted::{name}"]
    assert outcome == "skipped"
    assert "it vouches for everything" in message


@pytest.mark.parametrize(
    ("exceptions", "says"),
    [
        ({"test_nothing": "why"}, "makes an exception of test_nothing, which is no test of it"),
        ({"test_evidence_shows_the_data": " "}, "must say why it makes an exception of test_evid"),
    ],
)
def test_an_exception_that_is_none_is_refused(exceptions: dict[str, str], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        type("Between", (InputKindConformance,), {"exceptions": exceptions})
