"""A service whose plugins are replaced while it works: nothing fails, nothing is lost."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from postgres_server import PostgresServer
from prover_processes import Installation
from sqs_server import SqsEmulator
from waiting import PATIENCE_SECONDS, wait_until

DOUBLE = """
import time

from attrs import frozen

from prover_framework import ProofType, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    number: int
    seconds: float = 0.0
{more}


@frozen(kw_only=True)
class Result:
    double: int


@hookimpl
def proof_type():
    return ProofType(
        name="double", title="Double", version="{version}", parameters=Parameters, result=Result,
        verifies={verifies},
    )


@hookimpl
def inputs(parameters):
    return {{}}


@hookimpl
def compute(parameters, inputs, seed):
    time.sleep(parameters.seconds)
    return Result(double=2 * parameters.number)
"""

TRIPLE = """
from attrs import frozen

from prover_framework import ProofType, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters:
    number: int


@frozen(kw_only=True)
class Result:
    triple: int


@hookimpl
def proof_type():
    return ProofType(
        name="triple", title="Triple", version="1", parameters=Parameters, result=Result
    )


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, inputs, seed):
    return Result(triple=3 * parameters.number)
"""

OLD = DOUBLE.format(more="", version="1.0", verifies=())
NEW = DOUBLE.format(more="    digits: int = 9", version="1.1", verifies=("1.0",))
FORGETFUL = DOUBLE.format(more="    digits: int = 9", version="1.1", verifies=())


def installation(directory: Path, source: str, settings: dict[str, str]) -> Installation:
    directory.mkdir()
    plugins = {"prover_test_double": source}
    if source == NEW:
        plugins["prover_test_triple"] = TRIPLE
    return Installation(directory, plugins, {"PROVER_PLUGINS": ",".join(plugins), **settings})


def post(url: str, group: str, **proofs: object) -> None:
    body = {"job_group_id": group, **proofs}
    answer = httpx.post(f"{url}/api/job", json=body, timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200, answer.text


def jobs(url: str, group: str) -> list[dict[str, object]]:
    answer = httpx.get(f"{url}/api/job/{group}", timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()["jobs"]
    return found


def all_succeeded(url: str, groups: list[str]) -> bool:
    return all(job["status"] == "succeeded" for group in groups for job in jobs(url, group))


def test_a_receipt_and_a_job_of_the_version_before_are_verified_and_run(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path / 'prover.sqlite3'}"}
    old, new, forgetful = (
        installation(tmp_path / name, source, settings)
        for name, source in (("old", OLD), ("new", NEW), ("forgetful", FORGETFUL))
    )
    with old.running("up"):
        url = old.url("up")
        post(url, "done", double={"number": 4})
        wait_until(lambda: all_succeeded(url, ["done"]))
    receipt = tmp_path / "receipt.json"
    receipt.write_text(old.command("receipt", "done", "double"))
    old.command("submit", "--id", "later", "--double.number", "6")

    verified = plugin_check(new.command("verify", str(receipt), "--json"))
    assert verified == (
        "passed",
        "version '1.0', by another build: prover_test_double '1.0' there, 1.0 here",
    )
    outcome, reason = plugin_check(forgetful.command("verify", str(receipt), "--json", status=1))
    assert outcome == "not possible"
    assert "1.0" in reason

    with new.running("up"):
        url = new.url("up")
        wait_until(lambda: all_succeeded(url, ["later"]))
    assert "accepted under method 1.0, computed under 1.1" in new.command("status", "later")


def plugin_check(report: str) -> tuple[str, str]:
    (row,) = [row for row in json.loads(report)["checks"] if row["check"] == "plugin"]
    return row["outcome"], row["reason"]


@pytest.fixture
def settings(
    tmp_path: Path, moto: SqsEmulator, postgres: PostgresServer, postgres_template: str
) -> Iterator[dict[str, str]]:
    """A database and a queue that the installations of a test share."""
    url = postgres.create_database(postgres_template)
    shared = {**moto.environment, "DATABASE_URL": url, "PROVER_SWEEP_SECONDS": "0.5"}
    tool = installation(tmp_path / "tool", OLD, shared)
    queue = tool.command("queue", "create", tmp_path.name.replace("_", "-")).strip()
    yield {**shared, "SQS_QUEUE_URL": queue}
    postgres.drop_database(url)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_plugins_are_replaced_over_sqs_while_jobs_are_in_flight(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    old = installation(tmp_path / "old", OLD, settings)
    new = installation(tmp_path / "new", NEW, settings)
    groups: list[str] = []

    def submit(url: str, name: str, **proofs: object) -> None:
        groups.append(name)
        post(url, name, **proofs)

    with ExitStack() as stack:
        old_worker = stack.enter_context(old.running("worker"))
        stack.enter_context(old.running("api"))
        stack.enter_context(new.running("api"))
        old_url, new_url = old.url("api"), new.url("api")
        for place in range(8):
            double = {"number": place, "seconds": 0.2}
            submit(old_url, f"old-{place}", double=double)
            submit(new_url, f"new-{place}", double={**double, "digits": 5}, triple={"number": 1})
        # The new API is there, and no worker that could do what it accepts.
        wait_until(lambda: not_capable(new_url, "new-0"))
        stack.enter_context(new.running("worker"))
        for place in range(8, 16):
            submit(old_url, f"old-{place}", double={"number": place, "seconds": 0.2})
            submit(new_url, f"new-{place}", double={"number": place, "digits": 5})
        old_worker.send_signal(signal.SIGTERM)
        wait_until(lambda: all_succeeded(new_url, groups))
        for group in groups:
            for job in jobs(new_url, group):
                assert (job["attempts"], job["error"]) == (1, None)
    counts = json.loads(new.command("queue", "status", "--json"))
    assert counts["dead_letters"] == 0
    for each in (old, new):
        assert "Traceback" not in each.log("worker").read_text()


def not_capable(url: str, group: str) -> bool:
    errors = [job["error"] for job in jobs(url, group)]
    return all(isinstance(error, dict) and error["code"] == "not_capable" for error in errors)
