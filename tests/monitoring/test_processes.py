"""What a running service tells: metrics that Prometheus's own parser reads, and readiness."""

import json
from pathlib import Path

import httpx
from alert_rules import firing
from metric_pages import scrape
from postgres_server import PostgresServer
from prover_processes import Installation
from waiting import PATIENCE_SECONDS, wait_until

DAYS = 8
END = 1_704_067_200
RANGE = {"start_timestamp": END - 7 * 86_400, "end_timestamp": END}
LATER = {"start_timestamp": END, "end_timestamp": END + 86_400}

BROKEN = "raise RuntimeError('out of order')\n"


def ready(url: str) -> tuple[int, dict[str, str]]:
    answer = httpx.get(f"{url}/health/ready", timeout=PATIENCE_SECONDS)
    checks: dict[str, str] = answer.json()["checks"]
    return answer.status_code, checks


def ask(url: str, group: str, when: dict[str, int]) -> None:
    body = {"job_group_id": group, "twap": when, "reserve_price": when, "max_return": when}
    assert httpx.post(f"{url}/api/job", json=body, timeout=PATIENCE_SECONDS).status_code == 200


def installation(directory: Path, **settings: str) -> Installation:
    usual = {"PROVER_MONITORING_PORT": "0", "PROVER_SWEEP_SECONDS": "0.2"}
    made = Installation(directory, {"prover_test_broken": BROKEN}, {**usual, **settings})
    made.command("headers", "simulate", "--days", str(DAYS), "--end", str(END))
    return made


def test_api_and_worker_tell_what_they_do(tmp_path: Path) -> None:
    service = installation(tmp_path)
    with service.running("api"), service.running("worker"):
        api, worker = service.url("api"), service.url("worker")
        ask(api, "told", {**RANGE})
        group = f"{api}/api/job/told"
        wait_until(lambda: httpx.get(group).json()["status"] in ("succeeded", "failed"))
        ask(api, "later", LATER)
        of_twap = ("proof_type", "twap")

        def waiting() -> float:
            key = ("prover_open_jobs", (of_twap, ("state", "waiting")))
            return scrape(api).get(key, 0.0)

        wait_until(lambda: waiting() == 1)

        told = scrape(worker)
        assert told["prover_executions_total", (("outcome", "succeeded"), of_twap)] == 1
        assert told["prover_executions_total", (("outcome", "waits"), of_twap)] >= 1
        assert told["prover_execution_seconds_count", (of_twap,)] >= 2
        assert told["prover_messages_received_total", (("queue", "default"),)] >= 6
        assert told["prover_worker_in_flight", ()] == 0
        assert told["prover_database_up", ()] == 1
        assert told["prover_queue_up", (("queue", "default"),)] == 1
        assert told["prover_dead_letters", (("queue", "default"),)] == 0
        (lag,) = (
            value for (name, _), value in told.items() if name == "prover_headers_lag_seconds"
        )
        assert lag > 86_400
        assert told["prover_plugins", (("state", "failed"),)] == 1

        of_api = scrape(api)
        posts = (("method", "POST"), ("route", "api/job"), ("status", "200"))
        assert of_api["prover_http_request_seconds_count", posts] == 2
        nowhere = (("method", "GET"), ("route", "none"), ("status", "404"))
        for made_up in range(3):
            httpx.get(f"{api}/made/up/{made_up}")
        assert scrape(api)["prover_http_request_seconds_count", nowhere] == 3

        for url in (api, worker):
            assert httpx.get(f"{url}/health/live").status_code == 200
            status, checks = ready(url)
            assert status == 200
            # A plugin is not loaded, and there is no key; the service works without both.
            assert checks == {
                "database": "ok",
                "schema": "ok",
                "queue": "ok",
                "plugins": "warning",
                "headers": "ok",
                "signing": "warning",
            }


def test_a_database_that_is_away_is_seen_and_so_is_its_return(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    url = own_postgres.create_database()
    service = Installation(
        tmp_path, {}, {"DATABASE_URL": url, "PROVER_LEASE_SECONDS": "2", "PROVER_PORT": "0"}
    )
    service.command("migrate")
    with service.running("api"):
        api = service.url("api")
        assert ready(api)[0] == 200
        own_postgres.stop()
        # What was seen is shown again for some seconds.
        wait_until(lambda: ready(api)[1]["database"] == "failed")
        status, checks = ready(api)
        assert status == 503
        assert checks["database"] == checks["schema"] == checks["queue"] == "failed"
        told = scrape(api)
        assert told["prover_database_up", ()] == 0
        assert told["prover_queue_up", (("queue", "default"),)] == 0
        assert {"ProverDatabaseDown", "ProverQueueDown"} <= firing(told)
        assert httpx.get(f"{api}/health/live").status_code == 200
        own_postgres.start()
        wait_until(lambda: ready(api)[0] == 200)


def test_a_probe_asks_the_process_that_listens_on_the_port_of_the_settings(tmp_path: Path) -> None:
    service = installation(tmp_path)
    with service.running("worker") as worker:
        url = httpx.URL(service.url("worker"))
        service.environment["PROVER_MONITORING_PORT"] = str(url.port)
        assert "database: ok" in service.command("worker", "check")
        service.environment["PROVER_MONITORING_HOST"] = "0.0.0.0"
        service.environment["PROVER_OPEN"] = "true"
        assert "database: ok" in service.command("worker", "check")
        worker.terminate()
        worker.wait(PATIENCE_SECONDS)
    service.command("worker", "check", status=1)


def test_headers_that_lag_behind_are_told_where_a_limit_is_set(tmp_path: Path) -> None:
    service = installation(tmp_path, PROVER_MAX_HEADERS_LAG_SECONDS="3600")
    with service.running("api"):
        assert ready(service.url("api"))[1]["headers"] == "warning"


def test_the_command_shows_the_same_and_its_status_says_whether_all_is_well(tmp_path: Path) -> None:
    service = installation(tmp_path)
    found = json.loads(service.command("stats", "--json"))
    assert found["sample"]["queues"]["default"]["dead_letters"] == 0
    assert found["sample"]["jobs"] == []
    told = {check["name"]: check for check in found["checks"]}
    assert told["plugins"] == {
        "name": "plugins",
        "state": "warning",
        "detail": "not loaded: prover_test_broken",
    }
    text = service.command("stats")
    assert "no job is open" in text
    assert "queue default: 0 visible" in text
    service.environment["PROVER_REQUIRE_SIGNATURE"] = "true"
    assert "there is no key" in service.command("stats", status=1)
