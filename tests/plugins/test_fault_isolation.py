"""Whatever a plugin does, the service stays up, and other jobs end as if nothing had happened.

One service with an API, a worker of two slots and eight plugins, of which two can be used, runs
for all of these tests. A job of the plugin `lab` does to itself what it is told to.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import httpx
import psutil
import pytest
from plugin_files import write_plugin

from prover_framework.model.jobs import JobState
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.sandbox.import_check import find_deadly
from prover_framework.testing import Box, series_of
from prover_framework.testing.box import SETTINGS, box_of

numbers = count()

# How long a hook of the lab may take; what blocks, blocks for ever.
LIMIT_SECONDS = 5.0

# Far above anything that should take no time.
AMPLE_SECONDS = 60.0

SERIES = series_of([(10, 1), (20, 2)])
WINDOW = {"start_timestamp": 0, "end_timestamp": 7200}

COMMON = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path

from attrs import field, frozen

from prover_framework import (
    Dispatch, Limits, Problem, ProofError, ProofType, RangeParameters, hookimpl,
    hourly_base_fees,
)

PROVER_API = 1
"""

INNOCENT = (
    COMMON
    + """
@frozen(kw_only=True)
class Parameters(RangeParameters):
    until: str = ""

@frozen(kw_only=True)
class Result:
    innocent: int

@hookimpl
def proof_type():
    return ProofType(name="innocent", title="Innocent", version="1", parameters=Parameters,
                     result=Result)

@hookimpl
def validate(parameters):
    return []

@hookimpl
def compute(parameters, inputs):
    while parameters.until and not os.path.exists(parameters.until):
        time.sleep(0.01)
    return Result(innocent=sum(inputs["hourly_base_fee"].sums_wei))
"""
)

LAB = (
    COMMON
    + """
@frozen(kw_only=True)
class Parameters(RangeParameters):
    hook: str = ""
    action: str = ""
    note: str = ""

@frozen(kw_only=True)
class Result:
    lab: int

@hookimpl
def proof_type():
    return ProofType(name="lab", title="Lab", version="1", parameters=Parameters, result=Result,
                     limits=Limits(seconds=LIMIT, memory_bytes=512 * 2**20))

def escape(note):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(note + ".part").write_text(str(os.getpid()))
            os.rename(note + ".part", note)
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists(note):
        time.sleep(0.001)

def act(hook, parameters):
    if parameters.hook != hook:
        return None
    match parameters.action:
        case "raise": raise KeyError("no such luck")
        case "refuse": raise ProofError("not today")
        case "nonsense": return "nonsense"
        case "complain": return [Problem("x" * 9999, "y" * 9999) for _ in range(1000)]
        case "block":
            while True: time.sleep(60)
        case "block with signals held":
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
            while True: time.sleep(60)
        case "eat":
            food = []
            while True: food.append(bytearray(16 * 2**20))
        case "crash": ctypes.string_at(0)
        case "exit": os._exit(3)
        case "leave": sys.exit(4)
        case "escape": escape(parameters.note)
        case "escape and block":
            escape(parameters.note)
            while True: time.sleep(60)
        case "leave a thread": threading.Thread(target=time.sleep, args=(600,)).start()
        case "print":
            print("out of turn", flush=True)
            os.write(1, b"and raw\\n")
    return None

@hookimpl
def validate(parameters):
    return act("validate", parameters)

@hookimpl
def inputs(parameters):
    return act("inputs", parameters) or {"hourly_base_fee": hourly_base_fees(parameters.range)}

@hookimpl
def dispatch(job):
    return act("dispatch", job.parameters)

@hookimpl
def compute(parameters, inputs):
    return act("compute", parameters) or Result(lab=7)
""".replace("LIMIT", str(LIMIT_SECONDS))
)

TWIN = (
    COMMON
    + """
@frozen
class Result:
    twin: int

@hookimpl
def proof_type():
    return ProofType(name="twin", title="Twin", version="1", parameters=RangeParameters,
                     result=Result)

@hookimpl
def compute():
    return Result(1)
"""
)

BROKEN = {
    "fails": "1 / 0",
    "exits": "import os; os._exit(7)",
    "twin_a": TWIN,
    "twin_b": TWIN,
    "misspelled": TWIN.replace("twin", "misspelled") + "\n@hookimpl\ndef validaet(): ...\n",
    "mistaken": TWIN.replace("twin", "mistaken") + "\n@hookimpl\ndef verify(claim): ...\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        yield directory


@pytest.fixture(scope="module")
def candidates(site: Path) -> list[Candidate]:
    sources = {**BROKEN, "innocent": INNOCENT, "lab": LAB}
    return [write_plugin(site, name, source) for name, source in sources.items()]


@pytest.fixture(scope="module")
def box(candidates: list[Candidate]) -> Iterator[Box]:
    settings = attrs.evolve(SETTINGS, worker_slots=2, max_attempts=1)
    plugins = load(candidates, import_check=find_deadly)
    with box_of(plugins, series=SERIES, settings=settings) as box:
        yield box


@pytest.fixture
def client(box: Box) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.url, timeout=AMPLE_SECONDS) as client:
        yield client


def post(client: httpx.Client, **proofs: dict[str, Any]) -> httpx.Response:
    group_id = f"g-{next(numbers)}"
    forms = {name: {**WINDOW, **form} for name, form in proofs.items()}
    return client.post("/api/job", json={"job_group_id": group_id, **forms})


def ended(client: httpx.Client, group_id: str) -> dict[str, dict[str, Any]]:
    """Wait for the jobs of a group; return them by proof type."""
    deadline = time.monotonic() + AMPLE_SECONDS
    while True:
        group = client.get(f"/api/job/{group_id}").json()
        if group["status"] in (JobState.SUCCEEDED, JobState.FAILED):
            return {job["job_id"]: job for job in group["jobs"]}
        assert time.monotonic() < deadline, f"it is still {group}"
        time.sleep(0.02)


def proved(client: httpx.Client, **proofs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = post(client, **proofs)
    assert answer.status_code == 200, answer.text
    return ended(client, answer.json()["job_group_id"])


@contextmanager
def an_innocent_job(client: httpx.Client, tmp_path: Path) -> Iterator[None]:
    """Have another job computed while the body runs, and find it untouched."""
    until = tmp_path / f"until-{next(numbers)}"
    answer = post(client, innocent={"until": str(until)})
    assert answer.status_code == 200, answer.text
    try:
        yield
    finally:
        until.touch()
    job = ended(client, answer.json()["job_group_id"])["innocent"]
    assert (job["status"], job["attempts"], job["error"]) == ("succeeded", 1, None)
    assert job["result"]["innocent"] == sum(SERIES.sums_wei)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_plugins_that_can_not_be_used_are_listed_and_the_others_are_used(
    client: httpx.Client,
) -> None:
    told = client.get("/api/proof-types").json()
    assert [each["name"] for each in told["proof_types"]] == ["innocent", "lab"]
    failures = {each["name"]: each["failure"] for each in told["plugins"]}
    assert failures["fails"] == "its import failed: ZeroDivisionError: division by zero"
    assert failures["exits"] == "loading it ends the interpreter (exit status 7)"
    assert failures["twin_a"] == failures["twin_b"]
    assert failures["twin_a"].startswith("the proof type twin is registered by twin_a (prover-twin")
    assert "unknown hook 'validaet'" in failures["misspelled"]
    assert "claim" in failures["mistaken"]
    assert (failures["innocent"], failures["lab"]) == (None, None)
    refused = post(client, twin={})
    assert refused.status_code == 400
    assert "'twin': is not an installed proof type (installed: innocent, lab)" in refused.text


@pytest.mark.parametrize(
    ("action", "code", "what"),
    [
        ("raise", "compute_raised", "raised KeyError: 'no such luck'"),
        ("nonsense", "result_invalid", "returned str, not Result"),
        ("block", "compute_timeout", "did not return within its limit of 5 s"),
        ("block with signals held", "compute_timeout", "did not return within its limit of 5 s"),
        ("eat", "compute_out_of_memory", ""),
        ("crash", "compute_crashed", "took its process down: it was ended by SIGSEGV"),
        ("exit", "compute_crashed", "took its process down: it exited with status 3"),
        ("leave", "compute_crashed", "took its process down: it exited with status 4"),
    ],
)
def test_a_computation_that_goes_wrong_ends_one_job(
    client: httpx.Client, tmp_path: Path, action: str, code: str, what: str
) -> None:
    with an_innocent_job(client, tmp_path):
        job = proved(client, lab={"hook": "compute", "action": action})["lab"]
    assert (job["status"], job["attempts"], job["error"]["code"]) == ("failed", 1, code)
    assert job["error"]["message"].startswith(f"plugin lab: its hook compute {what}")
    # Both slots are there again.
    with an_innocent_job(client, tmp_path):
        assert proved(client, lab={})["lab"]["result"]["lab"] == 7


@pytest.mark.parametrize("action", ["escape", "escape and block"])
def test_a_process_that_a_computation_leaves_behind_ends_with_it(
    client: httpx.Client, tmp_path: Path, action: str
) -> None:
    note = tmp_path / "note"
    job = proved(client, lab={"hook": "compute", "action": action, "note": str(note)})["lab"]
    assert job["status"] == ("succeeded" if action == "escape" else "failed")
    assert gone(int(note.read_text()))
    assert proved(client, lab={}, innocent={})["lab"]["status"] == "succeeded"


@pytest.mark.parametrize("hook", ["validate", "inputs", "dispatch", "compute"])
@pytest.mark.parametrize("action", ["print", "leave a thread"])
def test_what_a_hook_prints_or_goes_on_with_does_no_harm(
    client: httpx.Client, hook: str, action: str
) -> None:
    job = proved(client, lab={"hook": hook, "action": action})["lab"]
    assert (job["status"], job["attempts"]) == ("succeeded", 1)


@pytest.mark.parametrize("hook", ["validate", "dispatch"])
@pytest.mark.parametrize(
    ("action", "what"),
    [
        ("raise", "raised KeyError: 'no such luck'"),
        ("nonsense", "returned 'nonsense', not "),
        ("block", "did not "),
        ("eat", ""),
        ("crash", "took its process down: it was ended by SIGSEGV"),
        ("exit", "took its process down: it exited with status 3"),
        ("leave", "raised SystemExit: 4"),
    ],
)
def test_a_hook_that_goes_wrong_while_a_request_comes_in_ends_one_request(
    client: httpx.Client, hook: str, action: str, what: str
) -> None:
    answer = post(client, lab={"hook": hook, "action": action})
    told = answer.json()
    assert (answer.status_code, told["status"]) == (500, "error")
    assert told["message"].startswith(f"plugin lab: its hook {hook} {what}"), told["message"]
    assert client.get(f"/api/job/{told['job_group_id']}").status_code == 404, "nothing is stored"
    assert proved(client, lab={}, innocent={})["lab"]["status"] == "succeeded"


@pytest.mark.parametrize("hook", ["validate", "dispatch"])
def test_a_refusal_while_a_request_comes_in_is_a_problem_of_the_request(
    client: httpx.Client, hook: str
) -> None:
    answer = post(client, lab={"hook": hook, "action": "refuse"})
    assert answer.status_code == 400
    assert answer.json()["message"].endswith("not today")


def test_a_hook_that_finds_no_end_of_problems_gets_a_bounded_answer(client: httpx.Client) -> None:
    answer = post(client, lab={**WINDOW, "hook": "validate", "action": "complain"})
    assert answer.status_code == 400
    message = answer.json()["message"]
    assert message.endswith("; and more")
    assert len(message) < 100_000


def test_nobody_else_waits_for_a_hook_that_blocks(client: httpx.Client) -> None:
    answers: list[httpx.Response] = []
    blocked = [
        threading.Thread(
            target=lambda: answers.append(post(client, lab={"hook": "validate", "action": "block"}))
        )
        for _ in range(3)
    ]
    began = time.monotonic()
    for thread in blocked:
        thread.start()
    assert client.get("/health").status_code == 200
    assert proved(client, innocent={})["innocent"]["status"] == "succeeded"
    assert time.monotonic() - began < LIMIT_SECONDS
    assert answers == []
    for thread in blocked:
        thread.join()
    # Each waits for its own limit, not for all that came before it.
    assert time.monotonic() - began < 2 * LIMIT_SECONDS
    assert {answer.status_code for answer in answers} == {500}
    assert all("plugin lab: its hook validate did not" in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("action", "code", "what"),
    [
        ("raise", "compute_raised", "raised KeyError: 'no such luck'"),
        ("nonsense", "result_invalid", "returned 'nonsense', not a mapping of names to Need"),
        ("block", "compute_timeout", "did not return within its limit of 5 s"),
        ("crash", "compute_crashed", "took its process down: it was ended by SIGSEGV"),
    ],
)
def test_a_hook_that_goes_wrong_before_there_is_data_ends_one_job(
    client: httpx.Client, tmp_path: Path, action: str, code: str, what: str
) -> None:
    with an_innocent_job(client, tmp_path):
        job = proved(client, lab={"hook": "inputs", "action": action})["lab"]
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert job["error"]["message"].startswith(f"plugin lab: its hook inputs {what}")
    assert proved(client, lab={}, innocent={})["lab"]["status"] == "succeeded"


def test_a_refusal_before_there_is_data_fails_the_job_at_once(client: httpx.Client) -> None:
    job = proved(client, lab={"hook": "inputs", "action": "refuse"})["lab"]
    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert job["error"] == {"code": "proof_impossible", "message": "not today"}
