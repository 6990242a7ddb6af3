"""A hook that returns what it must not: the plugin's fault, at once, and never taken for a yes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from plugin_files import write_plugin

from prover_framework.errors import InvalidReturn
from prover_framework.model.findings import Outcome
from prover_framework.model.views import GroupView
from prover_framework.plugins.loading import load
from prover_framework.testing import Box, series_of
from prover_framework.testing.box import box_of
from prover_framework.verification.checks import CheckName

SERIES = series_of([(10, 1), (20, 2)])
SPAN = {"start_timestamp": 0, "end_timestamp": 7200}

# It does what its parameter says, which is Python.
PLUGIN = """
from typing import Any
from attrs import frozen
from prover_framework import *

PROVER_API = 1

@frozen(kw_only=True)
class Parameters(RangeParameters):
    hook: str = ""
    then: str = "None"

@frozen(kw_only=True)
class Result:
    lab: float
    more: Any = None

class Refusal(ProofError):
    pass

class Same(Result):
    pass

NAN, INF = float("nan"), float("inf")

def fail(code, message="no"):
    error = Refusal(message)
    error.code = code
    raise error

def fees(start, end):
    return Need("hourly_base_fee", {"start_timestamp": start, "end_timestamp": end})

def act(hook, parameters):
    return eval(parameters.then) if parameters.hook == hook else None

@hookimpl
def proof_type():
    return ProofType(name="lab", title="Lab", version="1", parameters=Parameters, result=Result)

@hookimpl
def validate(parameters):
    return act("validate", parameters)

@hookimpl
def inputs(parameters):
    return act("inputs", parameters)

@hookimpl
def dispatch(job):
    return act("dispatch", job.parameters)

@hookimpl
def compute(parameters):
    return act("compute", parameters) or Result(lab=1.0)

@hookimpl
def verify(parameters):
    return act("verify", parameters)

@hookimpl
def compose(group):
    for receipt in group.receipts:
        if receipt.statement.parameters["hook"] == "compose":
            return eval(receipt.statement.parameters["then"])
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    site = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        loaded = load([write_plugin(site, "lab", PLUGIN)], strict=True)
        with box_of(loaded, series=SERIES) as started:
            yield started


numbers = iter(range(10_000))


def submitted(box: Box, hook: str, then: str) -> GroupView:
    parameters = {**SPAN, "hook": hook, "then": then}
    return box.submit({"job_group_id": f"group-{next(numbers)}", "lab": parameters})


@pytest.mark.parametrize(
    "then", ["False", "(True, 'fine')", "True", "'yes'", "1", "[]", "Verdict", "{'accepted': True}"]
)
def test_what_verify_returns_beside_a_verdict_is_no_yes(box: Box, then: str) -> None:
    group = submitted(box, "verify", then)
    report = box.verify(group.job_group_id)
    [check] = [check for check in report.checks if check.check is CheckName.RESULT]
    assert check.outcome is Outcome.NOT_POSSIBLE
    assert "plugin lab: its hook verify returned" in check.reason
    assert "not a Verdict" in check.reason
    assert not report.accepted


@pytest.mark.parametrize(
    "then", ["Verdict(accepted=1, reason='')", "Verdict(accepted=True, reason=None)"]
)
def test_a_verdict_of_other_than_a_boolean_and_a_reason_can_not_be_made(
    box: Box, then: str
) -> None:
    group = submitted(box, "verify", then)
    report = box.verify(group.job_group_id)
    [check] = [check for check in report.checks if check.check is CheckName.RESULT]
    assert check.outcome is Outcome.NOT_POSSIBLE


@pytest.mark.parametrize(
    ("hook", "then", "what"),
    [
        ("compute", "5", "returned int, not Result"),
        ("compute", "Result", "returned type, not Result"),
        ("compute", "Same(lab=1.0)", "returned Same, not Result"),
        ("compute", "Result(lab='1')", "lab: must be a number, got the string '1'"),
        ("compute", "Result(lab=NAN)", "lab: must be finite"),
        ("compute", "Result(lab=True)", "lab: must be a number, got a boolean (true)"),
        ("compute", "Result(lab=1.0, more=object())", "more: must be JSON, got a object"),
        ("compute", "Result(lab=1.0, more=(1,))", "something else after it went through JSON"),
        ("compute", "Result(lab=1.0, more=2**60)", "more is an integer beyond 2^53 - 1"),
        ("compute", "Result(lab=1.0, more={1: 2})", "keys that are strings"),
        ("compute", "Result(lab=1.0, more='\\ud800')", "must be Unicode"),
        ("compute", "Result(lab=1.0, more=eval('[' * 40 + ']' * 40))", "nested deeper than 24"),
        ("compute", "fail('x' * 200)", "raised Refusal with the code 'xxx"),
        ("compute", "fail('No Code')", "raised Refusal with the code 'No Code', which is not a"),
        ("compute", "fail(5)", "raised Refusal with the code 5, which is not"),
        ("compute", "fail('')", "raised Refusal with the code '', which is not"),
        ("compute", "fail('data_not_yet')", "which is the framework's own"),
        ("inputs", "False", "returned False, not a mapping of names to Need"),
        ("inputs", "{'a b': fees(0, 7200)}", "not a mapping of names to Need"),
        ("inputs", "{'a': TimeRange(0, 7200)}", "not a mapping of names to Need"),
        ("inputs", "{'a': fees(-3600, 7200)}", "and start_timestamp: must be"),
        ("inputs", "{'a': fees(0, 2**64)}", "and end_timestamp: must be"),
        ("inputs", "{'a': fees(0.0, 7200)}", "and start_timestamp: must be an integer"),
        ("inputs", "{'a': fees(False, 7200)}", "and start_timestamp: must be an integer"),
        ("inputs", "{'a': Need('hourly_base_fee', {})}", "and start_timestamp: is required"),
        ("inputs", "fail('x' * 64)", "raised Refusal with the code"),
    ],
)
def test_a_job_fails_at_once_by_the_fault_of_its_plugin(
    box: Box, hook: str, then: str, what: str
) -> None:
    [job] = submitted(box, hook, then).jobs
    assert job.attempts == 1
    assert job.error is not None
    assert job.error["code"] == "result_invalid"
    assert job.error["message"].startswith(f"plugin lab: its hook {hook} ")
    assert what in job.error["message"]


def test_a_refusal_is_stored_whatever_its_text(box: Box) -> None:
    [job] = submitted(box, "compute", "fail('too_odd', 'a\\0b\\ud800')").jobs
    assert job.error == {"code": "too_odd", "message": "a\\x00b\\ud800"}
    assert job.attempts == 1


@pytest.mark.parametrize(
    ("hook", "then", "what"),
    [
        ("validate", "False", "returned False, not a list of Problem"),
        ("validate", "['wrong']", "returned ['wrong'], not a list of Problem"),
        ("validate", "(Problem('', ''),)", "not a list of Problem"),
        ("validate", "[Problem(5, 'wrong')]", "not a list of Problem"),
        ("validate", "[Problem('', None)]", "not a list of Problem"),
        ("dispatch", "False", "returned False, not Dispatch"),
        ("dispatch", "('default', 0)", "returned ('default', 0), not Dispatch"),
        ("dispatch", "Dispatch(delay_seconds=NAN)", "raised TypeError: 'delay_seconds' must be"),
        ("dispatch", "Dispatch(delay_seconds=INF)", "raised TypeError: 'delay_seconds' must be"),
        ("dispatch", "Dispatch(delay_seconds=10**12)", "raised ValueError: 'delay_seconds' must"),
        ("dispatch", "Dispatch(delay_seconds=True)", "raised TypeError: 'delay_seconds' must be"),
        ("dispatch", "Dispatch(queue='a b')", "raised ValueError: 'queue' must match regex"),
        ("dispatch", "Dispatch(queue=None)", "raised TypeError: 'queue' must be <class 'str'>"),
    ],
)
def test_a_request_is_answered_with_the_plugins_fault_and_nothing_is_stored(
    box: Box, hook: str, then: str, what: str
) -> None:
    group_id = f"group-{next(numbers)}"
    parameters = {**SPAN, "hook": hook, "then": then}
    body = {"job_group_id": group_id, "lab": parameters}
    answer = httpx.post(f"{box.url}/api/job", json=body)
    assert answer.status_code == 500
    assert answer.json()["message"].startswith(f"plugin lab: its hook {hook} ")
    assert what in answer.json()["message"]
    assert httpx.get(f"{box.url}/api/job/{group_id}").status_code == 404


@pytest.mark.parametrize(
    ("then", "what"),
    [
        ("False", "returned False, not a list of Artefact"),
        ("iter(())", "not a list of Artefact"),
        ("['text']", "returned ['text'], not a list of Artefact"),
        ("[Artefact('kind', '1', {'a': 2**60}, '')]", "an integer beyond 2^53 - 1"),
        ("[Artefact('kind', '1', {'a': object()}, '')]", "must be JSON"),
        ("fail('No')", "with the code 'No', which is not"),
        ("fail('compose_failed')", "which is the framework's own"),
    ],
)
def test_a_group_has_its_receipt_whatever_compose_returns(box: Box, then: str, what: str) -> None:
    group = submitted(box, "compose", then)
    [composed] = box.receipt(group.job_group_id).statement.composed
    assert composed.artefacts == ()
    assert composed.refusal == "compose_failed"
    assert what in composed.message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('title="a\\nb"', "'title' must be one line of 1 to 100 printable characters"),
        ('title=""', "'title' must be one line"),
        ('title="x" * 101', "'title' must be one line"),
        ('title="\\ud800"', "'title' must be one line"),
        ("version=1", "'version' must be a string"),
        ('required="yes"', "'required' must be <class 'bool'>"),
        ("limits=None", "'limits' must be <class 'prover_framework.model.limits.Limits'>"),
        ("limits=Limits(seconds=INF)", "'seconds' must be < inf"),
        ("limits=Limits(seconds=NAN)", "'seconds' must be > 0"),
        ("limits=Limits(seconds='5')", "'seconds' must be a number"),
        ("limits=Limits(memory_bytes=1e9)", "'memory_bytes' must be an integer"),
        ("limits=Limits(memory_bytes=2**80)", "'memory_bytes' must be <= 9007199254740991"),
        ("generator=5", "'generator' must be a string"),
        ("api_version=1", "unexpected keyword argument 'api_version'"),
    ],
)
def test_a_registration_that_could_not_be_shown_or_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    registered = 'name="lab", title="Lab", version="1", parameters=Parameters, result=Result'
    assert registered in PLUGIN
    wanted = f"**{{**dict({registered}), **dict({change})}}"
    [plugin] = load([write_plugin(tmp_path, "lab", PLUGIN.replace(registered, wanted))]).found
    assert plugin.failure is not None
    assert plugin.failure.startswith("its registration failed: ")
    assert reason in plugin.failure


SEAL = """
from prover_framework import SealType, Verdict, hookimpl

PROVER_API = 1

@hookimpl
def seal_type():
    return SealType(kind="wax", title="Wax")

@hookimpl
def make_seal():
    return ANSWER

@hookimpl
def check_seal():
    return ANSWER
"""


@pytest.mark.parametrize("answer", ["False", "True", "(True, '')", "'yes'", "[]", "Verdict"])
def test_a_hook_of_a_seal_that_returns_something_else_makes_and_passes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = SEAL.replace("ANSWER", answer)
    sealer = load([write_plugin(tmp_path, "wax", source)], strict=True).sealers["wax"]
    receipt = cast(Any, None)
    with pytest.raises(InvalidReturn, match="plugin wax: its hook make_seal returned"):
        sealer.make(receipt, b"", None)
    with pytest.raises(InvalidReturn, match="plugin wax: its hook check_seal returned"):
        sealer.check(receipt, b"", {}, None)
