"""The service while its database goes silent, refuses connections or has few: nothing is lost."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from postgres_proxy import PostgresProxy, postgres_proxy
from postgres_server import PostgresServer, postgres_server
from prover_processes import Installation
from slow_plugin import SLOW_PLUGIN
from waiting import PATIENCE_SECONDS, wait_until

from prover_framework.database.engine import Bounds
from prover_framework.worker.worker import STOP_REST_SECONDS

DAYS = 15
END = 1_704_067_200
RANGE = {"start_timestamp": END - (DAYS - 1) * 86_400, "end_timestamp": END}

LEASE_SECONDS = 4.0
STOP_SECONDS = 1.0
CALL_SECONDS = Bounds.below(LEASE_SECONDS).call_seconds

# What a busy machine may take beyond a bound that is kept.
SLACK_SECONDS = 20.0


class Service(Installation):
    """Processes of one service over a database."""

    def __init__(self, directory: Path, url: str, settings: Mapping[str, str]) -> None:
        super().__init__(
            directory,
            {"prover_test_slow": SLOW_PLUGIN},
            {
                "DATABASE_URL": url,
                "PROVER_LEASE_SECONDS": str(LEASE_SECONDS),
                "PROVER_SWEEP_SECONDS": "0.5",
                "PROVER_STOP_SECONDS": str(STOP_SECONDS),
                "PROVER_WORKER_SLOTS": "2",
                **settings,
            },
        )

    def notes(self, group: str) -> Path:
        return self.directory / f"notes-{group}"

    def computes(self, group: str) -> bool:
        """Whether the slow job of a group is being computed."""
        return any(self.notes(group).iterdir())

    def post(self, url: str, group: str, *, seconds: float) -> int:
        notes = self.notes(group)
        notes.mkdir(exist_ok=True)
        body = {
            "job_group_id": group,
            "twap": RANGE,
            "reserve_price": RANGE,
            "max_return": {**RANGE, "window_hours": 48},
            "slow": {**RANGE, "seconds": seconds, "notes": str(notes)},
        }
        return httpx.post(f"{url}/api/job", json=body, timeout=PATIENCE_SECONDS).status_code

    def jobs(self, url: str, group: str) -> dict[str, dict[str, object]]:
        answer = httpx.get(f"{url}/api/job/{group}", timeout=PATIENCE_SECONDS)
        if answer.status_code != 200:
            return {}
        return {job["job_id"]: job for job in answer.json()["jobs"]}

    def done(self, url: str, group: str) -> Callable[[], bool]:
        def done() -> bool:
            jobs = self.jobs(url, group)
            return bool(jobs) and all(job["status"] == "succeeded" for job in jobs.values())

        return done


@pytest.fixture
def url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    url = postgres.create_database(postgres_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def proxy(url: str) -> Iterator[PostgresProxy]:
    with postgres_proxy(url) as proxy:
        yield proxy


@pytest.fixture
def service(tmp_path: Path, url: str, proxy: PostgresProxy) -> Service:
    service = Service(tmp_path, proxy.url(url), {})
    service.command("headers", "simulate", "--days", str(DAYS), "--end", str(END))
    return service


def answered_in_time(post: Callable[[], int]) -> Callable[[], bool]:
    def accepted() -> bool:
        begin = time.monotonic()
        status = post()
        took = time.monotonic() - begin
        # A request is a few calls; each has its time.
        assert took < 3 * CALL_SECONDS + SLACK_SECONDS, f"{status} after {took:.1f} s"
        assert status in (200, 500, 503)
        return status == 200

    return accepted


@pytest.mark.timeout(300)
def test_connections_that_go_silent_cost_no_lease_and_seconds(
    service: Service, proxy: PostgresProxy
) -> None:
    with service.running("up"):
        url = service.url("up")
        assert service.post(url, "long", seconds=3 * LEASE_SECONDS) == 200
        wait_until(lambda: service.computes("long"))
        for number in range(3):
            proxy.freeze()
            begin = time.monotonic()
            group = f"during_{number}"
            wait_until(answered_in_time(lambda: service.post(url, group, seconds=0.01)))  # noqa: B023
            wait_until(service.done(url, group))
            assert time.monotonic() - begin < 4 * LEASE_SECONDS + SLACK_SECONDS
        wait_until(service.done(url, "long"))
        assert service.jobs(url, "long")["slow"]["attempts"] == 1, "it kept its lease"
    log = service.log("up").read_text()
    assert "Traceback" not in log
    assert "does not answer within 1 s" in log


@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", ["silence", "refuse"])
def test_a_stop_keeps_its_promise_whatever_the_database_does(
    service: Service, proxy: PostgresProxy, trouble: str
) -> None:
    with service.running("up") as up:
        url = service.url("up")
        assert service.post(url, "long", seconds=PATIENCE_SECONDS) == 200
        wait_until(lambda: service.computes("long"))
        if trouble == "silence":
            proxy.silence()
        else:
            proxy.refuse()
            proxy.cut()
        begin = time.monotonic()
        up.send_signal(signal.SIGTERM)
        assert up.wait(timeout=PATIENCE_SECONDS) == 0
        assert time.monotonic() - begin < STOP_SECONDS + STOP_REST_SECONDS
    assert "Traceback" not in service.log("up").read_text()
    proxy.mend()
    with service.running("worker"), service.running("api"):
        url = service.url("api")
        wait_until(lambda: service.jobs(url, "long").get("slow", {}).get("status") == "running")
        assert service.jobs(url, "long")["slow"]["attempts"] in (1, 2)


@pytest.mark.timeout(300)
def test_a_server_that_lets_in_four_serves_all_processes(tmp_path: Path) -> None:
    few = {
        "max_connections": "4",
        "superuser_reserved_connections": "0",
        "max_wal_senders": "0",
        "autovacuum": "off",
    }
    with postgres_server(few) as server, ExitStack() as stack:
        service = Service(tmp_path, server.url, {"PROVER_LEASE_SECONDS": "30"})
        service.command("migrate")
        service.command("headers", "simulate", "--days", str(DAYS), "--end", str(END))
        for process in ("api", "worker"):
            stack.enter_context(service.running(process))
        url = service.url("api")
        groups = [f"group_{number}" for number in range(10)]
        for group in groups:
            assert service.post(url, group, seconds=0.01) == 200
        for group in groups:
            wait_until(service.done(url, group))
