"""The table of hook calls: it holds the whole contract, and what a process replies is checked."""

import inspect
from pathlib import Path

import attrs
import pytest
from plugin_files import write_plugin

from prover_framework import RangeParameters, hookspecs
from prover_framework.errors import ComputeRaised, NotInstalled, ResultInvalid
from prover_framework.model.verdict import Verdict
from prover_framework.plugins.calls import ProofHooks
from prover_framework.plugins.loading import load
from prover_framework.sandbox import calls
from prover_framework.sandbox.hooks import HOOKS, JUDGE, LOAD, STATE, VALIDATE
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.json_text import Json
from prover_framework.testing import series_of
from prover_framework.testing.compute import ComputeProcess, computation_of

# Registrations are called when a plugin is loaded, observers in the service.
CALLED_ELSEWHERE = {"input_kind", "proof_type", "seal_type", "job_changed", "group_ended"}

PARAMETERS: dict[str, Json] = {"start_timestamp": 0, "end_timestamp": 3600}

PLUGIN = """
import os, struct, sys
from attrs import frozen
from prover_framework import *

PROVER_API = 1

@frozen
class Result:
    lab: int

@hookimpl
def proof_type():
    return ProofType(name="lab", title="Lab", version="1", parameters=RangeParameters,
                     result=Result)

def token():
    frame = sys._getframe()
    while "token" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["token"]

@hookimpl
def validate():
    frame = TOKEN + b"r" + b'{"result":SPOILED}'
    for descriptor in range(3, 64):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                os.write(descriptor, struct.pack(">I", len(frame)) + frame)
        except OSError:
            pass

@hookimpl
def compute():
    return Result(7)
"""


# What a row is called by where it has another name.
CALLED_BY = {STATE.name: "state"}


def test_each_hook_that_runs_in_a_process_has_a_row_with_its_arguments() -> None:
    contract = {
        name: set(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if hasattr(function, f"{hookspecs.PROJECT}_spec")
    }
    methods = {hook.name for hook in (LOAD, STATE, JUDGE)}
    assert set(contract) == set(HOOKS) - methods | CALLED_ELSEWHERE
    for name, hook in HOOKS.items():
        if name not in methods:
            assert {*hook.arguments, *(("work",) if hook.works else ())} == contract[name]
        assert inspect.iscoroutinefunction(getattr(calls, CALLED_BY.get(name, name)))


def lab(
    site: Path, monkeypatch: pytest.MonkeyPatch, spoiled: str = "null", token: str = "token()"
) -> ProofHooks:
    monkeypatch.syspath_prepend(site)
    source = PLUGIN.replace("SPOILED", spoiled).replace("TOKEN", token)
    return load([write_plugin(site, "lab", source)], strict=True).for_type("lab")


@pytest.mark.parametrize(
    ("spoiled", "what"),
    [
        ("null", "came to neither a result nor an error"),
        ("{}", "spoiled its process's reply: problems: is required"),
        ('{"problems":"none"}', "spoiled its process's reply: problems: must be an array"),
        ("[]", "spoiled its process's reply: result: must be an object"),
    ],
)
async def test_a_reply_that_the_plugin_has_written_itself_is_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoiled: str, what: str
) -> None:
    hooks = lab(tmp_path, monkeypatch, spoiled)

    slot = Slot()
    try:
        with pytest.raises(ResultInvalid) as caught:
            await calls.validate(slot, hooks, PARAMETERS, 2**30)
    finally:
        await slot.kill()
    assert str(caught.value).startswith(f"plugin lab: its hook validate {what}")


async def test_a_reply_without_the_token_of_its_call_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab(tmp_path, monkeypatch, '{"problems":[]}', "bytes(8)")

    slot = Slot()
    try:
        with pytest.raises(ResultInvalid, match="it is not the one to this call"):
            await calls.validate(slot, hooks, PARAMETERS, 2**30)
    finally:
        await slot.kill()


async def test_what_a_call_leaves_in_the_connection_answers_no_other_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin writes an answer to its own call; the process's own reply comes after it."""
    hooks = lab(tmp_path, monkeypatch, '{"problems":[]}')
    parameters = RangeParameters(start_timestamp=0, end_timestamp=3600)
    computation = computation_of(hooks, parameters, {"hourly_base_fee": series_of([(10, 1)])})

    slot = Slot()
    try:
        assert await calls.validate(slot, hooks, PARAMETERS, 2**30) == []
        result = await calls.compute(
            slot,
            hooks,
            hooks.proof_type.limits,
            parameters=computation.form,
            inputs=computation.given,
            seed=computation.seed,
        )
        assert result == {"lab": 7}
    finally:
        await slot.kill()


async def test_a_hook_that_is_none_and_files_that_have_changed_are_errors_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = calls.hook_call(VALIDATE, lab(tmp_path, monkeypatch), 2**30, parameters=PARAMETERS)

    slot = Slot()
    try:
        with pytest.raises(ComputeRaised, match="its hook vaildate raised KeyError"):
            await slot.run(attrs.evolve(call, hook="vaildate"), seconds=60)
        with pytest.raises(NotInstalled, match="have changed since this service was started"):
            await slot.run(attrs.evolve(call, package_digest="00" * 32), seconds=60)
    finally:
        await slot.kill()


def test_typed_calls_answer_with_the_frameworks_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = lab(tmp_path, monkeypatch)
    parameters = RangeParameters(start_timestamp=0, end_timestamp=3600)
    data = {"hourly_base_fee": series_of([(10, 1)])}
    with ComputeProcess() as process:
        assert process.compute(hooks, parameters, data) == {"lab": 7}
        verdict = process.verify(hooks, parameters, data, {"lab": 7})
        assert type(verdict) is Verdict
        assert verdict.accepted
        unread = process.verify(hooks, parameters, data, {"lab": "seven"})
        assert not unread.accepted
        assert unread.reason.startswith("the result cannot be read: lab: must be an integer")
