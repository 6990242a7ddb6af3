"""The conformance kit passes a sound plugin and says in words what is wrong with a flawed one."""

import re
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import frozen
from kit_runs import install_module, outcomes

from prover_framework.testing import ProofTypeConformance

# A sound plugin. A flaw replaces one of its parts by another of the same name.
PARTS = {
    "start": "",
    "described": "times: How often each hour counts.",
    "validator": "field(default=1, validator=and_(ge(1), le(9)))",
    "result": "    NAME: int\n    hours: int",
    "title": '"Number of hours"',
    "limits": "Limits()",
    "validate": "",
    "inputs": "",
    "answer": "Result(NAME=len(inputs['hourly_base_fee']) * parameters.times, hours=3)",
    "compute": "",
    "verify": "",
}

SOURCE = """
import os, random, socket, subprocess
from pathlib import Path
from attrs import field, frozen
from attrs.validators import and_, ge, le
from prover_framework import *
PROVER_API = 1
{start}

@frozen(kw_only=True)
class Parameters(RangeParameters):
    '''Parameters.

    Args:
        {described}
    '''

    times: int = {validator}

@frozen(kw_only=True)
class Result:
{result}

@hookimpl
def proof_type():
    return ProofType(
        name="NAME", title={title}, version="1", parameters=Parameters, result=Result,
        limits={limits},
    )

{validate}
{inputs}

@hookimpl
def compute(parameters, inputs, seed):
    {compute}
    return {answer}

{verify}
"""

TESTS = """
import {module}
from prover_framework.testing import ProofTypeConformance, series_of

class TestIt(ProofTypeConformance):
    plugin = {module}
    samples = ({module}.Parameters(start_timestamp=0, end_timestamp=7200, times=2),)
    wrong = (("times", 0), ("times", 10))
"""


@frozen(kw_only=True)
class Flaw:
    """What is wrong with a plugin, the test that finds it, and what the test says."""

    test: str
    says: str
    parts: dict[str, str]
    installed: bool = True


def flaw(test: str, says: str, *, installed: bool = True, **parts: str) -> Flaw:
    return Flaw(test=test, says=says, parts=parts, installed=installed)


PURE = "test_it_computes_from_its_arguments_alone"
REFUSAL = "test_wrong_parameters_are_refused_by_name"
ALTERED = "test_an_altered_result_is_refused"
LIMITS = "test_it_computes_plain_data_within_its_limits"

HOOK_VALIDATE = '@hookimpl\ndef validate(parameters):\n    return [Problem("", "no good")]'
HOOK_INPUTS = "@hookimpl\ndef inputs(parameters):\n    "
HOOK_INPUTS += "return {'hourly_base_fee': hourly_base_fees(TimeRange(0, 7200))}"
CHARTS = "test_its_charts_come_from_its_result_alone"
CURVE = "Curve(name='c', x=(0.0, 1.0), y=(0.0, float(VALUE)))"
CHART = f"Chart(name='c', title='TITLE', x=Axis(title='x'), y=Axis(title='y'), curves=({CURVE},))"


def hook_charts(before: str = "pass", value: str = "result.hours", title: str = "Hours") -> str:
    chart = CHART.replace("VALUE", value).replace("TITLE", title)
    return f"@hookimpl\ndef charts(result):\n    {before}\n    return [{chart}]"


HOOK_VERIFY = "@hookimpl\ndef verify(parameters, inputs, seed, claimed):\n    "

FLAWS = {
    "not_installed": flaw(
        "test_it_is_found_through_its_entry_point",
        r"^0 entry points of the group prover_framework lead to \w+, not 1: see .*pyproject.toml",
        installed=False,
    ),
    "misfitting": flaw(
        "test_people_can_read_its_title_and_version",
        r"^plugin prover_misfitting cannot be used: its hooks do not fit: .*'params'",
        validate="@hookimpl\ndef validate(params):\n    return []",
    ),
    "nameless": flaw(
        "test_people_can_read_its_title_and_version",
        r"^plugin prover_nameless cannot be used: its registration failed: ValueError: 'title' "
        r"must be one line of 1 to 100 printable characters, got ' '$",
        title='" "',
    ),
    "numberless": flaw(
        "test_its_result_has_a_number_under_its_name",
        r"^plugin prover_numberless cannot be used: its result class Result has no number under "
        r"numberless, where clients look for it$",
        result="    other: int\n    hours: int",
        answer="Result(other=1, hours=3)",
    ),
    "evident": flaw(
        "test_its_result_has_a_number_under_its_name",
        r"^plugin prover_evident cannot be used: its result class Result has a field evidence, "
        r"where the service writes its own$",
        result="    NAME: int\n    evidence: int",
        answer="Result(NAME=1, evidence=3)",
    ),
    "moving": flaw(
        "test_samples_go_to_json_and_back",
        r"^plugin prover_moving cannot be used: its parameters class does not go to JSON and back: "
        r"Parameters: Parameters\(.*\) is Parameters\(",
        validator="field(converter=lambda times: times + 1)",
    ),
    "terse": flaw(
        "test_its_json_schema_tells_what_there_is",
        r"^the docstring of Parameters must describe times under Args:, for people who ask",
        described="",
    ),
    "choosy": flaw(
        "test_samples_are_sound",
        r"^its hook validate objects to Parameters\(.*\): choosy: no good$",
        validate=HOOK_VALIDATE,
    ),
    "taciturn": flaw(
        REFUSAL,
        r"^start_timestamp = 0: refused with a message that does not name start_timestamp: "
        r"taciturn: no good$",
        validate=HOOK_VALIDATE,
    ),
    "lenient": flaw(
        REFUSAL,
        r"^times = -1 is accepted and silently becomes 1$",
        validator="field(default=1, converter=abs)",
    ),
    "boundless": flaw(
        REFUSAL, r"^times = 0 is accepted and should be refused$", validator="field(default=1)"
    ),
    "slow": flaw(
        LIMITS,
        r"has no result \(compute_timeout: .*\); the declared limits are 0.5 s and 4,096 MiB$",
        limits="Limits(seconds=0.5)",
        compute="while True: pass",
    ),
    "fat": flaw(
        LIMITS,
        r"has no result \(compute_out_of_memory: .*\); the declared limits are 300 s and 1,024 MiB",
        limits="Limits(memory_bytes=2**30)",
        compute="bytearray(2**31)",
    ),
    "mistyped": flaw(
        LIMITS,
        r"has no result \(result_invalid: plugin prover_mistyped: its hook compute returned int, "
        r"not Result\)",
        answer="5",
    ),
    "random": flaw(
        "test_it_computes_the_same_digits_again",
        r'^the result is another one a second time in the same process: "random": \d+',
        answer="Result(NAME=random.getrandbits(53), hours=3)",
    ),
    "local": flaw(
        PURE,
        r'^the result is another one in another process, directory and time zone: "local": \d+',
        answer="Result(NAME=hash('x') % 2**50, hours=3)",
    ),
    "reading": flaw(
        PURE,
        r"^its hook compute read /etc/hostname; its hook verify read /etc/hostname$",
        compute="open('/etc/hostname').close()",
    ),
    "writing": flaw(
        PURE,
        r"^its hook compute opened /\S+/out.txt for writing; its hook verify",
        compute="Path('out.txt').write_text('x')",
    ),
    "listing": flaw(PURE, r"^its hook compute listed /tmp; ", compute="os.listdir('/tmp')"),
    "calling": flaw(
        PURE, r"^its hook compute did socket\.__new__\(.*\)", compute="socket.socket().close()"
    ),
    "starting": flaw(
        PURE,
        r"its hook compute did subprocess\.Popen\('true'",
        compute="subprocess.run(['true'])",
    ),
    "importing": flaw(
        PURE, r"^its import read /etc/hostname$", start="open('/etc/hostname').close()"
    ),
    "checking": flaw(
        PURE,
        r"^its hook verify read /etc/hostname$",
        verify=HOOK_VERIFY + "open('/etc/hostname').close()",
    ),
    "fragile": flaw(
        "test_odd_hours_give_a_result_or_a_refusal",
        r"^a range of 1 h: it fails, where a ProofError should say why: plugin prover_fragile: its "
        r"hook compute raised IndexError: tuple",
        compute="inputs['hourly_base_fee'].counts[1]",
    ),
    "dividing": flaw(
        "test_odd_hours_give_a_result_or_a_refusal",
        r"^fees of zero: it fails, where a ProofError .*: .* compute raised ZeroDivisionError",
        compute="1 / inputs['hourly_base_fee'].sums_wei[0]",
    ),
    "silent": flaw(
        "test_odd_hours_give_a_result_or_a_refusal",
        r"^a range of 1 h: refused without a word$",
        compute="if len(inputs['hourly_base_fee']) < 2: raise ProofError",
    ),
    "insatiable": flaw(
        "test_an_empty_range_is_refused_with_words",
        r"^for a range without a whole hour its hook inputs asks for other hours$",
        inputs=HOOK_INPUTS,
    ),
    "doubting": flaw(
        "test_its_own_result_is_accepted",
        r"^its hook verify refuses its own result: never$",
        verify=HOOK_VERIFY + 'return Verdict(False, "never")',
    ),
    "trusting": flaw(
        ALTERED,
        r"^its hook verify accepts a result with hours altered$",
        verify=HOOK_VERIFY + 'return Verdict(True, "always")',
    ),
    "careless": flaw(
        ALTERED,
        r"^its hook verify accepts a result with hours altered$",
        verify=HOOK_VERIFY
        + "return Verdict(claimed.NAME == len(inputs['hourly_base_fee']) * parameters.times, 'x')",
    ),
    "wordless": flaw(
        ALTERED,
        r"^its hook verify refuses a result with hours altered without a word$",
        verify=HOOK_VERIFY + 'return Verdict((claimed.NAME, claimed.hours) == (4, 3), "")',
    ),
    "untitled": flaw(
        CHARTS,
        r"^the chart c and its axes must have titles$",
        verify=hook_charts(title=" "),
    ),
    "invisible": flaw(
        CHARTS,
        r"^nobody can look at a result: plugin prover_invisible: its hook charts raised KeyError",
        verify=hook_charts("{}[0]"),
    ),
    "peeping": flaw(
        CHARTS,
        r"^its hook charts read /etc/hostname$",
        verify=hook_charts("open('/etc/hostname').close()"),
    ),
    "fickle": flaw(
        CHARTS,
        r"^what its hook charts describes is another one in another process, directory and time "
        r"zone: ",
        verify=hook_charts(value="hash('x')"),
    ),
    "raising": flaw(
        ALTERED,
        r"^with hours altered its hook verify raises, not returns: plugin prover_raising: its hook "
        r"verify raised ValueError: wrong$",
        verify=HOOK_VERIFY
        + "if claimed.hours != 3: raise ValueError('wrong')\n    return Verdict(True, 'right')",
    ),
}


def write(directory: Path, name: str, parts: dict[str, str], *, installed: bool) -> Path:
    """Write a plugin as an installed distribution, and its tests; return their file."""
    module = f"prover_{name}"
    source = SOURCE.format(**{**PARTS, **parts}).replace("NAME", name)
    if installed:
        install_module(directory, name, source)
    else:
        (directory / f"{module}.py").write_text(source)
    tests = directory / f"test_{name}.py"
    tests.write_text(TESTS.format(module=module))
    return tests


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Run for each flawed plugin the test that should find the flaw, all in one go."""
    directory = tmp_path_factory.mktemp("flawed")
    selected = []
    for name, wrong in FLAWS.items():
        tests = write(directory, name, wrong.parts, installed=wrong.installed)
        selected.append(f"{tests.name}::TestIt::{wrong.test}")
    return outcomes(directory, *selected)


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_and_told(flawed: dict[str, tuple[str, str]], name: str) -> None:
    wrong = FLAWS[name]
    outcome, message = flawed[f"test_{name}::{wrong.test}"]
    assert outcome in ("failure", "error"), outcome
    # A sentence for the plugin's author, without a trace through the kit.
    message = textwrap.dedent(message).removeprefix("failed on setup with").strip('" \n')
    assert re.search(wrong.says, message), message
    assert "Traceback" not in message


def test_a_sound_plugin_passes(tmp_path: Path) -> None:
    tests = write(tmp_path, "sound", {"verify": hook_charts()}, installed=True)
    found = outcomes(tmp_path, tests.name)
    assert {name: what for name, (what, _) in found.items() if what != "passed"} == {}
    promised = {name for name in vars(ProofTypeConformance) if name.startswith("test_")}
    assert {name.partition("::")[2] for name in found} == promised


def test_a_plugin_that_prints_or_reads_its_own_files_is_sound(tmp_path: Path) -> None:
    parts = {
        "compute": "print('hello', flush=True); Path(__file__).read_text(); import decimal, sqlite3"
    }
    tests = write(tmp_path, "chatty", parts, installed=True)
    found = outcomes(tmp_path, f"{tests.name}::TestIt::{PURE}")
    assert found == {f"test_chatty::{PURE}": ("passed", "")}


def test_what_a_plugin_says_that_it_touches_is_no_flaw(tmp_path: Path) -> None:
    parts = {"compute": "subprocess.run(['true'], check=True)"}
    tests = write(tmp_path, "outward", parts, installed=True)
    (outcome, message), *_ = outcomes(tmp_path, f"{tests.name}::TestIt::{PURE}").values()
    assert (outcome, "did subprocess.Popen" in message) == ("failure", True)
    touches = "    touches = {'did subprocess.Popen': 'its engine is a program'}\n"
    tests.write_text(tests.read_text() + touches)
    assert outcomes(tmp_path, tests.name)[f"test_outward::{PURE}"] == ("passed", "")


@pytest.mark.parametrize("attributes", [{}, {"plugin": SimpleNamespace()}, {"samples": (1,)}])
def test_a_class_that_would_test_nothing_is_refused(attributes: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="TestNothing must say its plugin and at least one"):
        type("TestNothing", (ProofTypeConformance,), attributes)


def test_a_class_in_between_may_leave_them_open() -> None:
    class Between(ProofTypeConformance):
        pass

    assert not hasattr(Between, "plugin")
