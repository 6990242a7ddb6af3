"""What a worker costs that lacks a proof type, alone with jobs of it; and that nothing is lost.

Job groups wait for a proof type that the only worker has not. For a minute its CPU time is taken;
then one comes that has it. Both where the table of jobs is the queue and with an emulator of SQS.

``make bench-incapable`` runs it.
"""

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
from prover_processes import Installation
from rich.console import Console
from rich.table import Table
from slow_plugin import SLOW_PLUGIN
from sqs_server import moto_server
from waiting import PATIENCE_SECONDS, wait_until

GROUPS = 100
SECONDS = 60.0

# What a process does when it starts is no cost of a worker that waits.
STARTING_SECONDS = 5.0

END = 1_704_067_200
RANGE = {"start_timestamp": END - 86_400, "end_timestamp": END, "seconds": 0.0}


def measure(settings: Mapping[str, str]) -> tuple[float, int, int]:
    """Return what part of a core the worker uses, and how many jobs failed and succeeded."""
    with tempfile.TemporaryDirectory(prefix="prover-incapable-") as name:
        directory = Path(name)
        capable = Installation(
            directory, {"prover_test_slow": SLOW_PLUGIN}, {"PROVER_REQUIRED": "none", **settings}
        )
        capable.command("headers", "simulate", "--days", "2", "--end", str(END))
        if settings:
            url = capable.command("queue", "create", directory.name).strip()
            capable.environment["SQS_QUEUE_URL"] = url
        (directory / "without").mkdir()
        incapable = Installation(directory / "without", {}, {})
        incapable.environment = {
            **capable.environment,
            "PYTHONPATH": incapable.environment["PYTHONPATH"],
        }
        with (
            capable.running("api"),
            httpx.Client(base_url=capable.url("api"), timeout=PATIENCE_SECONDS) as client,
        ):
            for number in range(GROUPS):
                body = {"job_group_id": f"group-{number}", "slow": RANGE}
                client.post("/api/job", json=body).raise_for_status()
            with incapable.running("worker") as process:
                used = _used(process.pid)
                with capable.running("worker"):
                    wait_until(lambda: not _states(client, "queued", "running"))
            return used, _states(client, "failed"), _states(client, "succeeded")


def _used(pid: int) -> float:
    """Return what part of a core a process uses, with all that it has started."""
    time.sleep(STARTING_SECONDS)
    worker = psutil.Process(pid)

    def seconds() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in (worker, *worker.children(recursive=True)))

    before = seconds()
    time.sleep(SECONDS)
    return (seconds() - before) / SECONDS


def _states(client: httpx.Client, *states: str) -> int:
    """Count the groups in some states; there are no more than a page has."""
    return sum(
        len(client.get("/api/job", params={"state": state, "limit": 200}).json()["groups"])
        for state in states
    )


def main() -> None:
    """Measure and print a table."""
    table = Table("queue", "of a core, alone", "jobs failed", "done by one that came later")
    with moto_server() as sqs:
        os.environ.update(sqs.environment)
        for name, settings in (("the table of jobs", {}), ("SQS", dict(sqs.environment))):
            used, failed, succeeded = measure(settings)
            table.add_row(name, f"{used:.2%}", str(failed), f"{succeeded} of {GROUPS}")
    Console().print(table)


if __name__ == "__main__":
    main()
