"""Fifty receipts that are made to keep a service busy arrive at once, and it goes on as before."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hostile_receipts import TRAP, hostile_bodies, sprung
from prover_processes import Installation
from waiting import PATIENCE_SECONDS, wait_until

AT_ONCE = 50

JSON = {"Content-Type": "application/json"}

# Much longer than an answer takes (some milliseconds, more where others want the processor too),
# and shorter than one receipt would hold up the event loop if its work were done there.
HEALTH_SECONDS = 4.0

# The same in time of the processor, of the process that answers: for all of them, and the jobs.
CPU_SECONDS = 10.0

END = 1_704_067_200
RANGE = {"start_timestamp": END - 14 * 86_400, "end_timestamp": END}
GROUP = {
    "twap": RANGE,
    "reserve_price": RANGE,
    "max_return": {**RANGE, "window_hours": 48},
    "trap": {**RANGE, "way": 0},
}

# Shorter than by default, so that the test is, too.
VERIFY_SECONDS = "5"


# Asks again and again how the service is, until its input ends. It is a process of its own: whoever
# sends many megabytes at once has no time to look at a clock.
ASK = """
import http.client, json, select, sys, time

connection = http.client.HTTPConnection(sys.argv[1], timeout=60)
seconds = []
while not select.select([sys.stdin], [], [], 0.02)[0]:
    began = time.monotonic()
    connection.request("GET", "/health")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    seconds.append(time.monotonic() - began)
print(json.dumps(seconds))
"""


@contextmanager
def health_of(url: str) -> Iterator[list[float]]:
    """Fill a list with the seconds that each answer of ``/health`` took while the body ran."""
    seconds: list[float] = []
    process = subprocess.Popen(
        [sys.executable, "-c", ASK, url.removeprefix("http://")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield seconds
        written, _ = process.communicate(timeout=PATIENCE_SECONDS)
        seconds += json.loads(written)
    finally:
        process.kill()
        process.wait()


def proved(client: httpx.Client, group_id: str) -> None:
    answer = client.post("/api/job", json={"job_group_id": group_id, **GROUP})
    assert answer.status_code == 200, answer.text

    def status() -> str:
        return str(client.get(f"/api/job/{group_id}").json()["status"])

    wait_until(lambda: status() not in ("pending", "queued", "running", "waiting"))
    assert status() == "succeeded"


def bodies(receipt: bytes) -> list[bytes]:
    """Return what is sent: what hangs and what crashes first, then all that is too much."""
    hostile = [sprung(receipt, way) for way in (101, 102, 103, 104)] + list(
        hostile_bodies().values()
    )
    return list(islice(cycle(hostile), AT_ONCE))


def verifying(service: psutil.Process) -> set[int]:
    module = "prover_framework.verification.process"
    return {
        process.pid
        for process in service.children(recursive=True)
        if process.is_running() and module in process.cmdline()
    }


@pytest.mark.timeout(300)
def test_fifty_hostile_receipts_at_once_hold_up_nobody(tmp_path: Path) -> None:
    installation = Installation(
        tmp_path,
        {"prover_test_trap": TRAP},
        {"PROVER_VERIFY_SECONDS": VERIFY_SECONDS, "PROVER_SWEEP_SECONDS": "0.2"},
    )
    installation.command("headers", "simulate", "--days", "15", "--end", str(END))
    with installation.running("up") as process:
        url = installation.url("up")
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            proved(client, "before")
            receipt = client.get("/api/job/before/receipt/trap").content
            good = client.get("/api/job/before/receipt").content
            assert client.post("/api/verify", content=good, headers=JSON).json()["accepted"]
            service = psutil.Process(process.pid)
            first = verifying(service)
            assert first

            def send(body: bytes) -> httpx.Response:
                return httpx.post(
                    f"{url}/api/verify", content=body, headers=JSON, timeout=PATIENCE_SECONDS
                )

            hostile = bodies(receipt)
            used = sum(service.cpu_times()[:2])
            with health_of(url) as seconds, ThreadPoolExecutor(AT_ONCE) as senders:
                answers = senders.map(send, hostile)
                proved(client, "meanwhile")
                received = list(answers)
            used = sum(service.cpu_times()[:2]) - used
            longest = max(seconds)
            print(
                f"/health: {len(seconds)} answers, the longest after {longest * 1000:.0f} ms; "
                f"the service's own process took {used:.1f} s of CPU"
            )
            for answer in received:
                tell_if_wrong(answer)
            assert 422 in {answer.status_code for answer in received}
            assert 503 in {answer.status_code for answer in received}
            assert longest < HEALTH_SECONDS
            assert used < CPU_SECONDS
            assert client.post("/api/verify", content=good, headers=JSON).json()["accepted"]
            assert verifying(service).isdisjoint(first), "what was killed has been replaced"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in traceless(installation.log("up").read_text())


def tell_if_wrong(answer: httpx.Response) -> None:
    """Require an answer that says what happened, in our own words and few of them."""
    assert answer.status_code in (200, 413, 422, 503), answer.text
    assert len(answer.content) < 100_000
    document: dict[str, Any] = json.loads(answer.content)
    if answer.status_code == 200:
        assert document["accepted"] is False
        return
    assert document.keys() == {"status", "message", "job_group_id"}
    if answer.status_code == 503:
        assert "try again in 5 s" in document["message"]
        assert answer.headers["retry-after"] == "5"


def traceless(log: str) -> str:
    """Return a log without what the plugin's own error left there."""
    kept, inside = [], False
    for line in log.splitlines():
        if "a receipt could not be verified" in line:
            inside = True
        elif "RuntimeError: sprung" in line:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)
