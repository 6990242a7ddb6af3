"""A proof type with a queue of its own, which workers of its own serve."""

import json
from pathlib import Path
from typing import Any

import pytest
from prover_processes import Installation
from sqs_server import SqsEmulator

END = 1_704_067_200
SPAN = f"{END - 86_400}..{END}"

# A proof type whose jobs go to a queue of their own, and one whose jobs go to the default one.
BULKY = """
from attrs import frozen

from prover_framework import Dispatch, ProofType, RangeParameters, hookimpl
PROVER_API = 1


@frozen(kw_only=True)
class Result:
    bulky: float


@hookimpl
def proof_type():
    return ProofType(
        name="bulky", title="Bulky", version="1", parameters=RangeParameters, result=Result
    )


@hookimpl
def dispatch(job):
    return Dispatch(queue="large")


@hookimpl
def compute(inputs):
    return Result(bulky=float(len(inputs["hourly_base_fee"])))
"""

PLAIN = BULKY.replace("bulky", "plain").replace("Bulky", "Plain").replace('"large"', '"default"')


@pytest.fixture(params=["embedded", "sqs"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    installation = Installation(
        tmp_path,
        {"test_bulky": BULKY, "test_plain": PLAIN},
        {"PROVER_PLUGINS": "test_bulky,test_plain", "PROVER_WORKER_SLOTS": "1"},
    )
    installation.command("headers", "simulate", "--days", "2", "--end", str(END))
    if request.param == "sqs":
        moto: SqsEmulator = request.getfixturevalue("moto")
        installation.environment.update(moto.environment)
        create, name = ("queue", "create"), tmp_path.name.replace("_", "-")
        installation.environment["SQS_QUEUE_URL"] = installation.command(*create, name).strip()
        large = installation.command(*create, f"{name}-large.fifo").strip()
        installation.environment["PROVER_QUEUE_URLS"] = f"large={large}"
    return installation


def states(installation: Installation) -> dict[str, str]:
    group: dict[str, Any] = json.loads(installation.command("status", "g", "--json"))
    return {job["job_id"]: job["status"] for job in group["jobs"]}


def waiting(installation: Installation, queue: str) -> int:
    """Count the messages that nobody has taken."""
    counts = json.loads(installation.command("queue", "status", "--queue", queue, "--json"))
    return int(counts["visible"])


def test_each_worker_computes_what_goes_to_its_queue(installation: Installation) -> None:
    over_sqs = "SQS_QUEUE_URL" in installation.environment
    spans = ("--range", f"bulky={SPAN}", "--range", f"plain={SPAN}")
    installation.command("submit", "--id", "g", *spans)
    if over_sqs:
        assert (waiting(installation, "default"), waiting(installation, "large")) == (1, 1)
    with installation.running("worker", "--queue", "large"):
        installation.command("submit", "--id", "large-only", "--range", f"bulky={SPAN}", "--wait")
        # That one came last, so the worker has had its chance at everything before it.
        assert states(installation) == {"bulky": "succeeded", "plain": "queued"}
    with installation.running("worker"):
        installation.command("status", "g", "--wait")
    assert states(installation) == {"bulky": "succeeded", "plain": "succeeded"}


def test_a_worker_of_a_queue_that_nobody_knows_does_not_start(tmp_path: Path) -> None:
    settings = {
        "SQS_QUEUE_URL": "http://127.0.0.1:1/1/jobs",
        "PROVER_QUEUE_URLS": "large=http://127.0.0.1:1/1/large",
    }
    installation = Installation(tmp_path, {}, settings)
    for command in ("worker", "up"):
        with installation.running(command, "--queue", "lagre") as process:
            assert process.wait(30) == 1
        assert installation.log(command, "--queue", "lagre").read_text() == (
            "prover: queue 'lagre' has no URL (known: default, large); "
            "PROVER_QUEUE_URLS gives it one\n"
        )
