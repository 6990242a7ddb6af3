"""A seal that takes long, over much data: nothing waits for it, and a killed worker loses none.

The data is small and the time short, unless PROVER_TEST_SEAL_MB and PROVER_TEST_SEAL_SECONDS say
otherwise: 1024 and 60 are a seal of a minute over 1 GiB.
"""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prover_processes import Installation
from slow_seal_plugin import commitment_to, slow_seal_plugin
from waiting import PATIENCE_SECONDS, gone, wait_until

MEGABYTES = int(os.environ.get("PROVER_TEST_SEAL_MB", "8"))
SECONDS = float(os.environ.get("PROVER_TEST_SEAL_SECONDS", "0"))

LONG_PATIENCE = PATIENCE_SECONDS + 4 * SECONDS + MEGABYTES / 10

HOURS = 12
RANGE = {"start_timestamp": 0, "end_timestamp": HOURS * 3600}

# Counts each time that a seal becomes made, by whichever process.
COUNT_MADE = """
CREATE TABLE seal_made (id INTEGER);
CREATE TRIGGER count_made AFTER UPDATE ON seal_job WHEN NEW.state = 'made'
BEGIN INSERT INTO seal_made VALUES (NEW.id); END;
"""


@pytest.fixture
def service(tmp_path: Path) -> Installation:
    source = slow_seal_plugin(tmp_path, megabytes=MEGABYTES, seconds=SECONDS)
    service = Installation(
        tmp_path,
        {"prover_test_slow_seal": source},
        {
            "PROVER_LEASE_SECONDS": "1",
            "PROVER_SWEEP_SECONDS": "0.1",
            "PROVER_WORKER_SLOTS": "1",
            "PROVER_REQUIRED": "none",
        },
    )
    fees = [10**9 + n for n in range(HOURS + 1)]
    write_headers(tmp_path / "own.csv", fees)
    # Another series with the same sum: two hours have changed places.
    write_headers(tmp_path / "other.csv", [fees[1], fees[0], *fees[2:]])
    service.command("migrate")
    service.command("headers", "import", str(tmp_path / "own.csv"), "--chain-id", "5")
    with closing(sqlite3.connect(tmp_path / "prover.sqlite3")) as connection:
        connection.executescript(COUNT_MADE)
    return service


def write_headers(file: Path, fees: list[int]) -> None:
    lines = [f"{n},{n * 3600},{fee}\n" for n, fee in enumerate(fees)]
    file.write_text("number,timestamp,base_fee_per_gas\n" + "".join(lines))


def read_headers(file: Path) -> list[tuple[int, int]]:
    """Return number and fee of the headers in a file."""
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    return [(int(row[0]), int(row[2])) for row in rows]


class Api:
    """What is asked of the service over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def submit(self, group: str) -> None:
        body = {"job_group_id": group, "sealed": RANGE}
        answer = httpx.post(f"{self._url}/api/job", json=body, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text

    def group(self, group: str) -> dict[str, Any]:
        return self._get(f"/api/job/{group}")

    def job(self, group: str) -> dict[str, Any]:
        (job,) = self.group(group)["jobs"]
        assert isinstance(job, dict)
        return job

    def receipt(self, group: str) -> dict[str, Any]:
        return self._get(f"/api/job/{group}/receipt")

    def _get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(f"{self._url}{path}", timeout=PATIENCE_SECONDS)
        document: dict[str, Any] = answer.json()
        return document

    def seal(self, group: str) -> dict[str, Any]:
        (seal,) = self.job(group)["seals"]
        assert isinstance(seal, dict)
        return seal


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG_PATIENCE)  # the time for three waits
def test_a_seal_that_takes_long_delays_nothing_and_is_made_once(
    service: Installation, tmp_path: Path
) -> None:
    hold, begun = tmp_path / "hold", tmp_path / "begun"
    hold.touch()
    with service.running("api"):
        api = Api(service.url("api"))
        with service.running("worker") as worker:
            api.submit("first")
            wait_until(begun.exists, seconds=LONG_PATIENCE)
            unsealed = api.receipt("first")
            assert unsealed["receipts"][0]["seals"] == []
            assert api.seal("first")["status"] == "making"
            api.submit("second")
            wait_until(lambda: api.job("second")["status"] == "succeeded")
            worker.kill()
            worker.wait()
        (program,) = begun.read_text().split()
        wait_until(lambda: gone(int(program)))
        hold.unlink()
        with service.running("worker"):
            wait_until(lambda: api.seal("first")["status"] == "made", seconds=LONG_PATIENCE)
            wait_until(lambda: api.seal("second")["status"] == "made", seconds=LONG_PATIENCE)
            wait_until(lambda: api.group("first")["seals"][0]["status"] == "not_applicable")
        sealed = api.receipt("first")
    # That of the group, to which the kind does not apply.
    assert "1 to be made" in service.command("seal", "first", "--kind", "slow")
    asked = json.loads(service.command("seal", "first", "--kind", "slow", "--json"))
    assert asked["seals"][0]["status"] == "queued"
    assert "nothing left" in service.command("seal", "first", "--kind", "slow", "--job", "sealed")
    assert [seal["kind"] for seal in sealed["receipts"][0]["seals"]] == ["slow"]
    assert sealed["statement"] == unsealed["statement"], "it has the digests of its members"
    assert api_attempts(service) == {"first": 2, "second": 1}
    assert made(service) == 2
    assert without_seals(sealed) == without_seals(unsealed)
    verify_with_own_and_other_hours(service, sealed, tmp_path)


def api_attempts(service: Installation) -> dict[str, int]:
    """Return how often the seal of each group's job was begun, as the command line shows it."""
    found = {}
    for group in ("first", "second"):
        shown = json.loads(service.command("status", group, "--json"))
        found[group] = shown["jobs"][0]["seals"][0]["attempts"]
        assert "seal slow made" in service.command("status", group)
    return found


def made(service: Installation) -> int:
    with closing(sqlite3.connect(service.directory / "prover.sqlite3")) as connection:
        ((count,),) = connection.execute("SELECT COUNT(*) FROM seal_made")
    return int(count)


def without_seals(receipt: dict[str, Any]) -> dict[str, Any]:
    members = [{**member, "seals": []} for member in receipt["receipts"]]
    return {**receipt, "receipts": members, "seals": []}


def verify_with_own_and_other_hours(
    service: Installation, sealed: dict[str, Any], directory: Path
) -> None:
    """Nobody is accepted who has other hours, nor a seal over other hours with the same sum."""
    assert seal_check(service, sealed, "own.csv", status=0) == "passed"
    seal_check(service, sealed, "other.csv", status=1)
    other = [fee for _, fee in read_headers(directory / "other.csv")][:HOURS]
    forged = json.loads(json.dumps(sealed))
    (seal,) = forged["receipts"][0]["seals"]
    assert seal["sum"] == str(sum(other))
    assert seal["commitment"] != commitment_to(other, MEGABYTES)
    seal["commitment"] = commitment_to(other, MEGABYTES)
    assert seal_check(service, forged, "own.csv", status=1) == "failed"


def seal_check(service: Installation, receipt: dict[str, Any], headers: str, *, status: int) -> str:
    """Verify a receipt with the hours of a file; return what became of its slow seal."""
    file = service.directory / "receipt.json"
    file.write_text(json.dumps(receipt))
    given = ("--headers", str(service.directory / headers), "--chain-id", "5")
    asked = ("verify", str(file), *given, "--require-seal", "slow", "--json")
    report = json.loads(service.command(*asked, status=status))
    (outcome,) = {
        check["outcome"]
        for check in report["checks"]
        if check["check"] == "seal" and check["detail"] == "slow"
    }
    return str(outcome)
