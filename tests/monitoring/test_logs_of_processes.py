"""What the processes of a service log: a request can be followed to its results."""

import json
from typing import Any

import httpx
import pytest
from prover_processes import Installation
from waiting import PATIENCE_SECONDS, wait_until

END = 1_704_067_200
RANGE = {"start_timestamp": END - 7 * 86_400, "end_timestamp": END}
BODY = {"job_group_id": "followed", "twap": RANGE, "reserve_price": RANGE, "max_return": RANGE}

SECRET = "s3cret-of-nobody"

Line = dict[str, Any]


def lines(service: Installation, *arguments: str) -> list[Line]:
    return [json.loads(line) for line in service.log(*arguments).read_text().splitlines()]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Line], list[Line]]:
    """Lines of an API and of a worker that have proved a group."""
    service = Installation(
        tmp_path_factory.mktemp("service"),
        {"prover_test_broken": "raise RuntimeError('out of order')\n"},
        {
            "PROVER_LOG_FORMAT": "json",
            "PROVER_RPC_URL": f"http://127.0.0.1:1/{SECRET}",
            "PROVER_PLUGIN_TRACE": "true",
        },
    )
    service.command("headers", "simulate", "--days", "8", "--end", str(END))
    with service.running("api"), service.running("worker"):
        url = _url(service)
        sent = httpx.post(f"{url}/api/job", json=BODY, headers={"X-Request-Id": "from-client.1"})
        assert (sent.status_code, sent.headers["X-Request-Id"]) == (200, "from-client.1")
        group = f"{url}/api/job/followed"
        wait_until(lambda: httpx.get(group).json()["status"] in ("succeeded", "failed"))
        made = httpx.get(group, headers={"X-Request-Id": "bad id"})
        assert len(made.headers["X-Request-Id"]) == 16
        assert httpx.get(f"{url}/nowhere").headers["X-Request-Id"]
        for probe in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert httpx.get(url + probe, timeout=PATIENCE_SECONDS).status_code == 200
        wait_until(lambda: len(_ended(lines(service, "worker"))) >= 3)
    return lines(service, "api"), lines(service, "worker")


def _url(service: Installation) -> str:
    def found() -> str:
        for line in lines(service, "api"):
            _, mark, url = str(line["message"]).partition("listening on ")
            if mark:
                return url
        return ""

    wait_until(lambda: bool(service.log("api").read_text()) and bool(found()))
    return found()


def _ended(told: list[Line]) -> list[Line]:
    return [line for line in told if "outcome" in line]


def test_a_request_is_followed_from_the_answer_to_the_result(
    logged: tuple[list[Line], list[Line]],
) -> None:
    _, worker = logged
    for job in ("twap", "reserve_price", "max_return"):
        about = [line for line in worker if line.get("job") == job]
        assert {line["group"] for line in about} == {"followed"}
        assert {line["request_id"] for line in about} == {"from-client.1"}
        assert len({line["worker"] for line in about}) == 1
        started = next(line for line in about if "waited_seconds" in line)
        assert started["attempt"] == 1
        (ended, *_) = _ended(about)
        assert ended["seconds"] >= 0
    assert _ended(worker)[0]["outcome"] in ("succeeded", "failed")


def test_what_happens_in_compute_processes_says_for_which_job(
    logged: tuple[list[Line], list[Line]],
) -> None:
    _, worker = logged
    traced = [line for line in worker if "its hook compute" in line["message"]]
    assert traced
    own = {line["process"] for line in _ended(worker)}
    assert not own & {line["process"] for line in traced}
    assert {line["plugin"] for line in traced} <= {"twap", "reserve_price", "max_return"}
    assert {line["request_id"] for line in traced} == {"from-client.1"}


def test_each_request_has_a_line_but_those_of_probes(
    logged: tuple[list[Line], list[Line]],
) -> None:
    api, _ = logged
    told = [line for line in api if "route" in line]
    (posted,) = (line for line in told if line["method"] == "POST")
    assert posted["route"] == "api/job"
    assert posted["status"] == 200
    assert posted["request_id"] == "from-client.1"
    assert posted["milliseconds"] > 0
    assert {line["route"] for line in told} == {"api/job", "api/job/<group_id:str>", "none"}


def test_a_plugin_that_is_not_loaded_is_told_at_the_start(
    logged: tuple[list[Line], list[Line]],
) -> None:
    for told in logged:
        (line,) = (one for one in told if "prover_test_broken" in one["message"])
        assert line["level"] == "WARNING"
        assert "out of order" in line["message"]


def test_no_line_has_a_secret(logged: tuple[list[Line], list[Line]]) -> None:
    assert SECRET not in json.dumps(logged)
