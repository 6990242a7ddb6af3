"""A newcomer's walk: wheels in an empty directory, three daemons, and what the playbook is about.

Each break is seen in metrics, readiness or the log, and mended by what docs/how-to/operate.md says.
The order is that of the file: the daemons run through all of it. `make walk` runs it.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from alert_rules import firing
from attrs import define, field
from distributions import Environment
from metric_pages import Samples, scrape
from node_server import NodeServer, node_in_thread
from postgres_server import PostgresServer, postgres_server
from sqs_server import SqsEmulator, moto_server
from waiting import wait_until

from prover_framework.chain.sources.simulated import made_whole, simulate

pytestmark = [pytest.mark.walk, pytest.mark.timeout(900)]

SECONDS = 300.0

FIRST = 1_700_002_800
RANGE = {"start_timestamp": FIRST, "end_timestamp": FIRST + 3600}
SYNC = ("headers", "sync", "--from-block", "0", "--follow")

# What hears of the end of a group, and seals what is stated, unless a file says that it is closed.
COURT = """
from pathlib import Path
from prover_framework import Limits, SealType, Verdict, hookimpl

PROVER_API = 1

def be_open():
    if Path({closed!r}).exists():
        raise RuntimeError("the court is closed")

@hookimpl
def group_ended(group):
    be_open()

@hookimpl
def seal_type():
    return SealType(kind="stamp", title="A stamp", making=Limits(60))

@hookimpl
def make_seal(receipt):
    be_open()
    return {{"stamp": 1}}

@hookimpl
def check_seal():
    return Verdict(accepted=True, reason="it is there")
"""


@define
class Place:
    """The empty directory with its daemons, and the servers around it."""

    fresh: Environment
    database: PostgresServer
    sqs: SqsEmulator
    node: NodeServer
    running: dict[str, "subprocess.Popen[bytes]"] = field(factory=dict)
    started: int = 0

    def prover(self, *arguments: str, status: int = 0, **more: str) -> str:
        self.fresh.variables.update(more)
        return self.fresh.run("prover", *arguments, status=status)

    def log(self, name: str) -> str:
        return (self.fresh.work / f"{name}.log").read_text()

    def start(self, name: str, *arguments: str, **more: str) -> None:
        with (self.fresh.work / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [self.fresh.command("prover"), *arguments],
                cwd=self.fresh.work,
                env={**self.fresh.variables, "PROVER_MONITORING_PORT": "0", **more},
                stderr=log,
            )
        wait_until(lambda: "listening on " in self.log(name), seconds=SECONDS)

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        # A long poll is awaited; moto's clock is ours.
        self.sqs.time_passes(20)
        assert process.wait(SECONDS) == 0, self.log(name)

    def restart(self, name: str) -> None:
        """Stop and start a daemon that has the name of its command."""
        self.stop(name)
        self.start(name, name)

    def add_plugin(self, name: str, source: str) -> None:
        """Install a plugin of one module beside the others."""
        packages = next(self.fresh.directory.glob("lib/python*/site-packages"))
        (packages / f"{name}.py").write_text(source)
        information = packages / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[prover_framework]\n{name} = {name}\n")

    def url(self, name: str) -> str:
        told: str = json.loads(
            next(line for line in self.log(name).splitlines() if "listening on " in line)
        )["message"]
        return told.partition("listening on ")[2]

    def metrics(self, name: str) -> Samples:
        return scrape(self.url(name))

    def ready(self, name: str) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.url(name)}/health/ready", timeout=SECONDS)
        return answer.status_code, answer.json()

    def wait_ready(self, name: str, check: str, state: str) -> None:
        wait_until(lambda: self.ready(name)[1]["checks"][check] == state, seconds=SECONDS)

    def wait_alert(self, name: str, alert: str, before: Samples | None = None) -> None:
        wait_until(lambda: alert in firing(self.metrics(name), before), seconds=SECONDS)

    def wait_quiet(self, name: str, alert: str) -> None:
        wait_until(lambda: alert not in firing(self.metrics(name)), seconds=SECONDS)

    def wait_line(self, name: str, text: str) -> None:
        wait_until(lambda: text in self.log(name), seconds=SECONDS)

    def submit(self, span: dict[str, int] = RANGE) -> tuple[int, str]:
        self.started += 1
        group = f"walk-{self.started}"
        answer = httpx.post(
            f"{self.url('api')}/api/job",
            json={"job_group_id": group, "twap": span},
            timeout=SECONDS,
        )
        return answer.status_code, group

    def state(self, group: str) -> str:
        answer = httpx.get(f"{self.url('api')}/api/job/{group}", timeout=SECONDS)
        return str(answer.json()["jobs"][0]["status"])

    def wait_state(self, group: str, *states: str) -> str:
        wait_until(lambda: self.state(group) in states, seconds=SECONDS)
        return self.state(group)

    def wait_result(self, group: str) -> None:
        assert self.wait_state(group, "succeeded", "failed") == "succeeded"

    def works(self) -> None:
        """A group that is asked for now has its result."""
        status, group = self.submit()
        assert status == 200
        self.wait_result(group)


@pytest.fixture(scope="module")
def place(fresh: Environment) -> Iterator[Place]:
    chain = list(made_whole(simulate(FIRST, 1, first_number=0)))
    with ExitStack() as stack:
        database = stack.enter_context(postgres_server())
        sqs = stack.enter_context(moto_server())
        node = stack.enter_context(node_in_thread(chain, chain_id=31337))
        secret = fresh.work / "database_url"
        secret.write_text(database.create_database() + "\n")
        secret.chmod(0o600)
        fresh.variables.update(
            {
                "DATABASE_URL_FILE": str(secret),
                "PROVER_RPC_URL": node.url,
                "PROVER_RPC_REQUESTS_PER_SECOND": "1000",
                "PROVER_REQUIRED": "none",
                "PROVER_LOG_FORMAT": "json",
                "PROVER_PORT": "0",
                "PROVER_FOLLOW_SECONDS": "0.5",
                "PROVER_LEASE_SECONDS": "3",
                "PROVER_WORKER_SLOTS": "1",
                "PROVER_SWEEP_SECONDS": "0.5",
                "PROVER_RETRY_SECONDS": "0.2",
                **sqs.environment,
            }
        )
        made = Place(fresh, database, sqs, node)
        try:
            yield made
        finally:
            for process in made.running.values():
                process.kill()
                process.wait()


def test_an_empty_directory_becomes_a_service(place: Place) -> None:
    assert [path.name for path in place.fresh.work.iterdir()] == ["database_url"]
    # What is missing is told before the start, each with what mends it.
    told = place.prover("check", status=1)
    assert "prover migrate" in told
    place.prover("migrate")
    url = place.prover("queue", "create", "walk").splitlines()[-1].strip()
    place.fresh.variables["SQS_QUEUE_URL"] = url
    assert "prover key create" in place.prover("check")
    place.prover("key", "create")
    place.start("sync", *SYNC)
    place.start("api", "api")
    place.start("worker", "worker")
    newest = place.node.chain[-1].header.number
    wait_until(
        lambda: place.metrics("sync")["prover_sync_reached_block", ()] == newest,
        seconds=SECONDS,
    )
    place.works()
    for name in ("api", "worker", "sync"):
        assert place.ready(name)[0] == 200


def test_a_process_that_does_not_answer(place: Place) -> None:
    hung = place.running.pop("api")
    hung.send_signal(signal.SIGSTOP)
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{place.url('api')}/health/live", timeout=1.0)
    # As a probe or the watchdog does.
    hung.kill()
    hung.wait()
    place.start("api", "api")
    place.works()


def test_a_worker_that_is_killed(place: Place) -> None:
    before = place.metrics("worker")
    assert before["prover_leases_expired_total", ()] == 0
    # It stops in the middle of everything, and its lease expires.
    process = place.running.pop("worker")
    process.kill()
    process.wait()
    status, group = place.submit()
    assert status == 200
    wait_until(
        lambda: any(
            name == "prover_oldest_job_seconds" and dict(labels)["state"] == "queued"
            for name, labels in place.metrics("api")
        ),
        seconds=SECONDS,
    )
    place.start("worker", "worker")
    place.wait_result(group)


def test_the_database_goes_away_and_comes_back(place: Place) -> None:
    place.database.stop()
    for name in ("api", "worker", "sync"):
        place.wait_ready(name, "database", "failed")
        assert place.ready(name)[0] == 503
        place.wait_alert(name, "ProverDatabaseDown")
    assert place.submit()[0] == 503
    before = place.metrics("api")
    assert {place.submit()[0] for _ in range(6)} == {503}
    place.wait_alert("api", "ProverRequestsFail", before)
    place.wait_line("worker", "failed: ")
    place.database.start()
    for name in ("api", "worker", "sync"):
        place.wait_ready(name, "database", "ok")
    place.wait_line("worker", "works again, after")
    place.works()


def test_the_queue_hangs_and_comes_back(place: Place) -> None:
    os.kill(place.sqs.process.pid, signal.SIGSTOP)
    try:
        place.wait_ready("api", "queue", "failed")
        place.wait_alert("api", "ProverQueueDown")
        before = place.metrics("api")
        status, group = place.submit()
        assert status == 500
        place.wait_alert("api", "ProverMessagesUnsent", before)
    finally:
        os.kill(place.sqs.process.pid, signal.SIGCONT)
    place.wait_ready("api", "queue", "ok")
    # The sweep sends what was not sent.
    place.wait_result(group)
    place.works()


def test_jobs_that_stay_queued_since_their_queue_is_paused(place: Place) -> None:
    place.prover("queue", "pause", "--reason", "a walk")

    def states() -> set[str]:
        found = json.loads(place.prover("workers", "--json"))
        return {worker["status"] for worker in found["workers"] if worker["status"] != "lost"}

    wait_until(lambda: states() == {"paused"}, seconds=SECONDS)
    status, group = place.submit()
    assert status == 200
    queued = ("prover_open_jobs", (("proof_type", "twap"), ("state", "queued")))
    wait_until(lambda: place.metrics("api").get(queued) == 1, seconds=SECONDS)
    assert place.metrics("worker")["prover_worker_in_flight", ()] == 0
    assert "a walk" in place.prover("workers")
    place.prover("queue", "resume")
    place.wait_result(group)


def test_jobs_that_wait_for_headers(place: Place) -> None:
    later = {"start_timestamp": FIRST + 86_400, "end_timestamp": FIRST + 90_000}
    _, group = place.submit(later)
    place.wait_state(group, "waiting")
    waiting = ("prover_open_jobs", (("proof_type", "twap"), ("state", "waiting")))
    wait_until(lambda: place.metrics("api").get(waiting) == 1, seconds=SECONDS)
    assert "header" in place.prover("status", group)
    place.prover("cancel", group)
    place.wait_state(group, "cancelled")


def test_jobs_that_fail(place: Place) -> None:
    before = place.metrics("worker")
    _, group = place.submit({"start_timestamp": 1, "end_timestamp": 2})
    place.wait_state(group, "failed")
    place.wait_alert("worker", "ProverJobsFail", before)
    assert group in place.prover("list", "--state", "failed")
    assert "attempt 1" in place.prover("status", group, "--verbose")
    # It could not succeed, and is left as it is.
    assert "left out: twap" in place.prover("redrive", group)


def test_a_message_that_nobody_understands(place: Place) -> None:
    answer = httpx.post(
        place.sqs.url,
        data={
            "Action": "SendMessage",
            "QueueUrl": place.fresh.variables["SQS_QUEUE_URL"],
            "MessageBody": "no job",
        },
        headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/sqs/x"},
        timeout=SECONDS,
    )
    assert answer.status_code == 200
    place.wait_alert("api", "ProverDeadLetters")
    place.wait_line("worker", "a message goes to the dead letters")
    assert "no job" in place.prover("dead", "list")
    place.prover("dead", "drop", "--all", "--yes")
    place.wait_quiet("api", "ProverDeadLetters")


def test_headers_that_are_missing(place: Place) -> None:
    place.prover("headers", "remove", "--from-block", "100", "--to-block", "120", "--yes")
    place.wait_alert("api", "ProverHeadersMissing")
    assert "100 to 120" in place.prover("headers", "status", status=1)
    place.prover("headers", "sync", "--from-block", "100", "--to-block", "120")
    place.wait_quiet("api", "ProverHeadersMissing")
    place.works()


def test_a_node_that_goes_away(place: Place) -> None:
    async def hangs(_: object) -> None:
        raise ConnectionResetError

    place.node.mode = hangs
    place.wait_ready("sync", "source", "warning")
    place.wait_line("sync", "it is asked again in")
    place.node.mode = None
    place.wait_ready("sync", "source", "ok")
    looked_at = place.metrics("sync")["prover_sync_last_success_timestamp_seconds", ()]
    assert time.time() - looked_at < SECONDS


def test_a_plugin_that_cannot_be_loaded(place: Place) -> None:
    place.add_plugin("prover_walk_broken", "raise RuntimeError('out of order')\n")
    place.restart("api")
    place.wait_alert("api", "ProverPluginNotLoaded")
    assert place.ready("api")[1]["plugins_not_loaded"] == ["prover_walk_broken"]
    assert "out of order" in place.log("api")
    assert "out of order" in place.prover("plugins", status=1)
    place.fresh.variables["PROVER_PLUGINS_DISABLED"] = "prover_walk_broken"
    place.restart("api")
    assert place.ready("api")[1]["plugins_not_loaded"] == []
    place.works()


def test_plugins_that_are_not_notified_and_seals_that_are_not_made(place: Place) -> None:
    closed = place.fresh.work / "closed"
    closed.touch()
    place.add_plugin("prover_walk_court", COURT.format(closed=str(closed)))
    for name in ("api", "worker"):
        place.restart(name)
    before = place.metrics("worker")
    status, group = place.submit()
    assert status == 200
    place.wait_result(group)
    place.wait_alert("worker", "ProverSealsFail", before)
    untold = ("prover_undelivered_events", (("plugin", "prover_walk_court"),))
    wait_until(lambda: place.metrics("worker").get(untold, 0) > 0, seconds=SECONDS)
    place.wait_line("worker", "notifying the plugin prover_walk_court of ends of groups failed")
    assert "the court is closed" in place.prover("status", group)
    closed.unlink()
    place.prover("seal", group, "--kind", "stamp")
    wait_until(lambda: "made" in place.prover("status", group), seconds=SECONDS)
    # An end is told again by itself.
    wait_until(lambda: not place.metrics("worker").get(untold), seconds=SECONDS)


def test_a_setting_that_is_misspelt(place: Place) -> None:
    place.fresh.variables["PROVER_LOGLEVEL"] = "DEBUG"
    told = place.prover("list")
    assert "did you mean PROVER_LOG_LEVEL?" in told
    assert "call it PROVER_LOG_LEVEL" in place.prover("check")
    del place.fresh.variables["PROVER_LOGLEVEL"]


def test_every_daemon_stops_when_it_is_asked_to_and_no_secret_was_logged(place: Place) -> None:
    password = (place.fresh.work / "database_url").read_text().strip()
    for name in ("api", "worker", "sync"):
        place.stop(name)
        assert password not in place.log(name)
        for line in place.log(name).splitlines():
            json.loads(line)
