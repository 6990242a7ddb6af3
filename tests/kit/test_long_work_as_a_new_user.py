"""An example that takes long, from its wheel: its worker is killed, and the next one goes on."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from distributions import PATIENCE_SECONDS, ROOT, Environment
from waiting import wait_until

DAYS = 20
END = 1_704_067_200
BODY = {
    "job_group_id": "long",
    "bootstrap": {
        "start_timestamp": END - DAYS * 86_400,
        "end_timestamp": END,
        "samples": 1_000_000,
    },
}

# The first run on a machine fetches some hundred megabytes.
pytestmark = pytest.mark.timeout(600)


@contextmanager
def worker(user: Environment) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """Run ``prover worker``; give it and its log."""
    log = user.work / f"worker-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [user.command("prover"), "worker"], cwd=user.work, env=user.variables, stderr=file
        )
    try:
        yield process, log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


def job(user: Environment, group: str = "long") -> dict[str, Any]:
    (found,) = json.loads(user.run("prover", "status", group, "--json"))["jobs"]
    assert isinstance(found, dict)
    return found


def submit(user: Environment, **changes: str) -> None:
    (user.work / "long.json").write_text(json.dumps({**BODY, **changes}))
    user.run("prover", "submit", "long.json")


def is_under_way(user: Environment) -> bool:
    progress = job(user)["progress"]
    return progress is not None and 0 < progress["fraction"] < 0.5


@pytest.mark.slow
def test_a_killed_worker_costs_no_more_than_since_the_last_checkpoint(fresh: Environment) -> None:
    user = evolve(
        fresh,
        variables={
            **fresh.variables,
            "PROVER_LEASE_SECONDS": "2",
            "PROVER_REQUIRED": "none",
            "PROVER_DATA_DIR": str(fresh.work / "long-data"),
        },
    )
    user.run("pip", "install", "prover-bootstrap[testing]")
    tests = ROOT / "examples" / "bootstrap" / "tests"
    done = user.run(
        "pytest",
        *("-c", "/dev/null", "-p", "no:cacheprovider", "--import-mode=importlib"),
        *("--rootdir", tests, tests),
    )
    assert " passed" in done

    (user.work / "long-key.json").write_text(user.run("prover", "key", "create"))
    user.run("prover", "headers", "simulate", "--days", str(DAYS), "--end", str(END))
    submit(user)
    with worker(user) as (process, _):
        wait_until(lambda: is_under_way(user), seconds=PATIENCE_SECONDS)
        shown = user.run("prover", "status", "long")
        assert re.search(r"running \d+ %", shown), shown
        assert " of 1000000 samples" in shown
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
    (kept,) = (user.work / "long-data" / "work").iterdir()
    assert list(kept.glob("*/checkpoint.json"))
    with worker(user) as (_, log):
        wait_until(lambda: job(user)["status"] == "succeeded", seconds=PATIENCE_SECONDS)
        resumed = re.search(
            r"long bootstrap: plugin bootstrap: work: resumes at sample (\d+)", (log.read_text())
        )
        assert resumed, log.read_text()
        assert int(resumed[1]) >= 1000
        assert job(user)["attempts"] == 2
        assert not kept.exists()
        # The same in a group of its own begins in a directory of its own.
        submit(user, job_group_id="anew")
        wait_until(lambda: job(user, "anew")["status"] == "succeeded", seconds=PATIENCE_SECONDS)
        assert log.read_text().count("resumes at sample") == 1
    first, anew = job(user)["result"], job(user, "anew")["result"]
    assert first["bootstrap"] == anew["bootstrap"]
    assert first["mean"] == anew["mean"]

    (user.work / "long-receipt.json").write_text(user.run("prover", "receipt", "long"))
    report = user.run("prover", "verify", "long-receipt.json", "--key", "long-key.json")
    assert "computed again with the same result" in report
