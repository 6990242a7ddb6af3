"""Alert rules are about metrics that exist, and each of the common ones fires by its own cause."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from alert_rules import RULES, Rule, firing, rules
from known_metrics import series
from metric_pages import Samples, scrape
from node_server import instead, node_in_thread
from prover_processes import Installation
from slow_plugin import SLOW_PLUGIN
from sqs_server import SqsEmulator, aws_environment
from waiting import PATIENCE_SECONDS, wait_until

from prover_framework.chain.sources.simulated import made_whole, simulate

HOUR = 3600
END = 1_704_067_200

# What Prometheus has of itself.
OWN = {"up": frozenset({"job", "instance"})}


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule.name)
def test_each_rule_is_about_a_metric_and_labels_that_exist(rule: Rule) -> None:
    known = {**series(), **OWN}
    name = str(rule.parts["name"])
    assert name in known
    assert {label for label, _, _ in rule.matchers} <= known[name]
    assert set(rule.document) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule.document["labels"]["severity"] in ("page", "warn")
    assert set(rule.document["annotations"]) == {"summary", "runbook"}


def test_each_rule_has_a_name_of_its_own() -> None:
    names = [rule.name for rule in rules()]
    assert len(names) == len({*names}) > 10


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_itself_takes_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True)


# The causes


def up(url: str) -> Samples:
    """Return what Prometheus notes of a scrape by itself."""
    try:
        answers = httpx.get(f"{url}/metrics", timeout=PATIENCE_SECONDS).is_success
    except httpx.TransportError:
        answers = False
    return {("up", (("job", "prover-worker"),)): float(answers)}


def wait_for(url: str, alert: str, before: Samples | None = None, *, at: float = 0.0) -> None:
    wait_until(lambda: alert in firing(scrape(url), before, at=at))


@contextmanager
def service(directory: Path, *plugins: str, end: int, **settings: str) -> Iterator[Installation]:
    usual = {"PROVER_MONITORING_PORT": "0", "PROVER_SWEEP_SECONDS": "0.2"}
    made = Installation(
        directory,
        {f"prover_test_plugin{number}": text for number, text in enumerate(plugins)},
        {**usual, **settings},
    )
    made.command("headers", "simulate", "--days", "2", "--end", str(end))
    yield made


def ask(url: str, group: str, *, expect: int = 200, **jobs: dict[str, Any]) -> None:
    body = {"job_group_id": group, **jobs}
    answer = httpx.post(f"{url}/api/job", json=body, timeout=PATIENCE_SECONDS)
    assert answer.status_code == expect, answer.text


def hours(end: int, *, count: int = 1) -> dict[str, int]:
    return {"start_timestamp": end - count * HOUR, "end_timestamp": end}


def test_jobs_that_fail_or_wait_lost_workers_and_a_stalled_queue_fire(tmp_path: Path) -> None:
    end = int(time.time()) // HOUR * HOUR + HOUR
    more = {
        "PROVER_REQUIRED": "none",
        "PROVER_LEASE_SECONDS": "1",
        "PROVER_WORKER_SLOTS": "1",
        "PROVER_MAX_ATTEMPTS": "1",
    }
    notes = tmp_path / "notes"
    notes.mkdir()
    with (
        service(tmp_path, SLOW_PLUGIN, end=end, **more) as made,
        made.running("api"),
        made.running("worker") as first,
    ):
        api = made.url("api")
        worker = made.url("worker")
        assert firing(scrape(api), at=time.time()) == set()
        before = scrape(worker)
        ask(api, "too-short", twap={"start_timestamp": 1, "end_timestamp": 2})
        wait_for(worker, "ProverJobsFail", before)
        ask(api, "raises", slow={**hours(end), "seconds": -1.0})
        wait_for(worker, "ProverAttemptsFail", before)
        ask(api, "waits", twap=hours(end + 4 * HOUR))
        ask(api, "lost", slow={**hours(end), "seconds": 60.0, "notes": str(notes)})
        wait_until(lambda: any(notes.iterdir()))
        assert firing(scrape(api), at=time.time()) == set()
        assert "ProverDown" not in firing(up(worker))
        first.kill()
        wait_until(lambda: "ProverDown" in firing(up(worker)))
        with made.running("worker", "--queue", "other"):
            other = made.url("worker", "--queue", "other")
            before = scrape(other)
            # The sweep of any worker finds the lease that has expired.
            key = ("prover_leases_expired_total", ())
            if not before[key]:
                wait_for(other, "ProverLeasesExpired", before)
            assert scrape(other)[key] == 1
            _let_jobs_be_old(tmp_path / "prover.sqlite3", seconds=660)
            wait_for(api, "ProverQueueStalled")
            assert "ProverJobsWaitForHeaders" not in firing(scrape(api))
            _let_jobs_be_old(tmp_path / "prover.sqlite3", seconds=6 * HOUR)
            wait_for(api, "ProverJobsWaitForHeaders")


def _let_jobs_be_old(database: Path, *, seconds: int) -> None:
    with closing(sqlite3.connect(database, timeout=PATIENCE_SECONDS)) as connection, connection:
        connection.execute("UPDATE job SET created_at = created_at - ?", [seconds * 1000])


def test_dead_letters_lagging_headers_and_a_broken_plugin_fire(
    tmp_path: Path, moto: SqsEmulator
) -> None:
    broken = "raise RuntimeError('out of order')\n"
    with service(tmp_path, broken, end=END, **moto.environment) as made:
        url = made.command("queue", "create", "alerts").strip()
        made.environment["SQS_QUEUE_URL"] = url
        with made.running("worker"):
            worker = made.url("worker")
            before = scrape(worker)
            told = firing(before)
            assert {"ProverHeadersLag", "ProverPluginNotLoaded"} == told
            _send(url, "no job", moto)
            wait_for(worker, "ProverDeadLetters")


@pytest.mark.slow
def test_a_queue_that_is_away_fires(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:1"
    settings = {**aws_environment(nobody), "SQS_QUEUE_URL": f"{nobody}/123456789012/jobs"}
    with (
        service(tmp_path, end=END, PROVER_REQUIRED="none", **settings) as made,
        made.running("api"),
    ):
        api = made.url("api")
        wait_for(api, "ProverQueueDown")
        ask(api, "first", twap=hours(END), expect=500)
        before = scrape(api)
        with ThreadPoolExecutor() as pool:
            further = [
                pool.submit(ask, api, f"further-{number}", expect=500, twap=hours(END))
                for number in range(6)
            ]
        for one in further:
            one.result()
        assert {"ProverMessagesUnsent", "ProverRequestsFail"} <= firing(scrape(api), before)


def _send(url: str, body: str, moto: SqsEmulator) -> None:
    """Send a message, as any program with the right to do so can."""
    answer = httpx.post(
        moto.url,
        data={"Action": "SendMessage", "QueueUrl": url, "MessageBody": body},
        headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/sqs/x"},
        timeout=PATIENCE_SECONDS,
    )
    assert answer.status_code == 200, answer.text


def test_a_node_that_is_away_and_comes_back_is_seen_in_metrics_readiness_and_log(
    tmp_path: Path,
) -> None:
    chain = list(islice(made_whole(simulate(1_700_002_800, 1, first_number=0)), 40))
    made = Installation(
        tmp_path,
        {},
        {"PROVER_MONITORING_PORT": "0", "PROVER_FOLLOW_SECONDS": "0.1"},
    )
    with node_in_thread(chain, chain_id=31337) as node:
        made.environment["PROVER_RPC_URL"] = node.url
        node.finalized = 20
        command = ("headers", "sync", "--from-block", "0", "--follow")
        with made.running(*command):
            sync = made.url(*command)
            wait_until(lambda: scrape(sync)["prover_sync_reached_block", ()] == 20)
            told = scrape(sync)
            assert told["prover_sync_source_block", ()] == 20
            assert told["prover_sync_headers_new_total", ()] == 21
            assert told["prover_database_up", ()] == 1
            assert "ProverSyncStalled" not in firing(told, at=time.time())
            assert _ready(sync) == (200, "ok")

            node.mode = instead(node, _without_block_21)
            node.finalized = 21
            wait_until(lambda: scrape(sync)["prover_sync_failures_total", ()] >= 1)
            assert _ready(sync) == (503, "failed")
            assert "ProverSyncStalled" in firing(scrape(sync), at=time.time() + 700)

            node.mode, node.finalized = None, 22
            wait_until(lambda: scrape(sync)["prover_sync_reached_block", ()] == 22)
            assert _ready(sync) == (200, "ok")
            log = made.log(*command).read_text()
            assert "following the chain failed: " in log
            assert "following the chain works again, after" in log
            assert log.count("following the chain failed") < 10


def _without_block_21(call: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "result": None} if call["params"][0] == hex(21) else answer


def _ready(url: str) -> tuple[int, str]:
    answer = httpx.get(f"{url}/health/ready", timeout=PATIENCE_SECONDS)
    return answer.status_code, answer.json()["checks"]["source"]
