"""What the API answers beside ``POST /api/job``."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

RANGE = {"start_timestamp": 1234567890, "end_timestamp": 1234567891}


@pytest.fixture
def group(client: httpx.Client) -> str:
    body = {"job_group_id": "job_123", "twap": RANGE, "reserve_price": RANGE, "max_return": RANGE}
    client.post("/api/job", json=body).raise_for_status()
    return "job_123"


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert set(error) == {"status", "message", "job_group_id"}
    assert error["status"] == "error"
    assert len(answer.content) < 1000
    return dict(error)


def test_a_group_shows_its_jobs_in_the_order_of_the_request(
    client: httpx.Client, group: str
) -> None:
    answer = client.get(f"/api/job/{group}")
    assert answer.status_code == 200
    view = answer.json()
    assert {key: view[key] for key in view if key != "jobs"} == {
        "job_group_id": "job_123",
        "status": "queued",
        "seals": [],
        "namespace": "default",
        "priority": 0,
    }
    assert [job["job_id"] for job in view["jobs"]] == ["twap", "reserve_price", "max_return"]
    for job in view["jobs"]:
        assert (job["status"], job["attempts"]) == ("queued", 0)
        assert job["created_at"] <= job["queued_at"]
        assert job["created_at"].endswith("Z")
        unset = ("started_at", "finished_at", "error", "result")
        assert [job[name] for name in unset] == [None] * len(unset)


def test_an_unknown_group_is_not_found(client: httpx.Client) -> None:
    error = error_of(client.get("/api/job/nobody"), 404)
    assert error["message"] == "there is no job group 'nobody'"
    assert error["job_group_id"] == "nobody"


@pytest.mark.parametrize(
    "path",
    [
        "%20",
        "a%2Fb",
        "%2F",
        "%2e%2e%2f%2e%2e%2fetc",
        "%00",
        "%0a",
        "%ff",
        "%ED%A0%80",
        "%F0%9F%98%80",
        "\u00e4",
        "%",
        "%zz",
        "a%25b",
        "'",
        "<script>",
        "x" * 129,
        "x" * 7000,
        "%C3%A4" * 1000,
    ],
)
def test_an_id_that_no_group_can_have_is_not_found(client: httpx.Client, path: str) -> None:
    error = error_of(client.get(f"/api/job/{path}"), 404)
    assert error["message"].startswith("there is no job group ")
    assert error["job_group_id"] is None


def test_an_id_is_the_same_however_its_letters_are_escaped(
    client: httpx.Client, group: str
) -> None:
    assert group == "job_123"
    for path in ("job%5F123", "%6Aob_123", "job_123/", "job_123?x=y", "job_123#part"):
        assert client.get(f"/api/job/{path}").json()["job_group_id"] == "job_123"
    error_of(client.get("/api/job/JOB_123"), 404)
    error_of(client.get("/api/job/job_123%20"), 404)


def test_a_path_beyond_all_measure_is_refused(client: httpx.Client) -> None:
    error = error_of(client.get("/api/job/" + "x" * 20_000), 431)
    assert error["message"] == "the request's head is too large"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/jobs", "/api/job/a/b", "/health/x", "/" + "x" * 5000]
)
def test_an_unknown_path_is_not_found(client: httpx.Client, path: str) -> None:
    error = error_of(client.get(path), 404)
    assert error["message"].startswith("there is nothing at '/")
    assert error["job_group_id"] is None


@pytest.mark.parametrize(
    ("path", "allowed", "methods"),
    [
        ("/api/job", "GET, HEAD, POST", ["PUT", "PATCH", "DELETE", "OPTIONS"]),
        ("/api/job/job_123", "GET, HEAD", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        ("/health", "GET, HEAD", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.Client, path: str, allowed: str, methods: list[str]
) -> None:
    for method in methods:
        answer = client.request(method, path)
        message = error_of(answer, 405)["message"]
        assert message == f"'{path}' takes {allowed}, not '{method}'"
        assert answer.headers["allow"] == allowed


def test_head_answers_like_get_without_a_body(client: httpx.Client, group: str) -> None:
    for path, status in ((f"/api/job/{group}", 200), ("/health", 200), ("/api/job/nobody", 404)):
        head = client.head(path)
        assert (head.status_code, head.content) == (status, b"")
        assert head.headers["content-type"] == "application/json"


def test_the_service_says_that_it_is_up(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_reading_stores_nothing(
    client: httpx.Client, rows: Callable[[str], list[tuple[object, ...]]]
) -> None:
    before = rows("SELECT id FROM job_group")
    for path in ("reading", "reading%20", "%00"):
        client.get(f"/api/job/{path}")
    assert rows("SELECT id FROM job_group") == before
    assert json.dumps(before)


def test_groups_are_searched_for_a_page_at_a_time(client: httpx.Client, group: str) -> None:
    for name in ("page-1", "page-2"):
        body = {"job_group_id": name, "twap": RANGE, "reserve_price": RANGE, "max_return": RANGE}
        client.post("/api/job", json=body).raise_for_status()
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(2):
        page = client.get("/api/job", params={"text": "PAGE", "limit": "1", **cursor}).json()
        assert "groups" in page, page
        (one,) = page["groups"]
        found.append(one["job_group_id"])
        assert [job["job_id"] for job in one["jobs"]] == ["twap", "reserve_price", "max_return"]
        cursor = {"cursor": page["next_cursor"]}
    assert (found, page["next_cursor"]) == (["page-2", "page-1"], None)
    everything = client.get("/api/job?proof_type=twap&state=queued&since=1h").json()
    assert {"page-1", "page-2", group} <= {one["job_group_id"] for one in everything["groups"]}
    assert client.get("/api/job?until=2001-01-01").json()["groups"] == []


def test_what_is_wrong_with_a_search_is_named(client: httpx.Client) -> None:
    error = error_of(client.get("/api/job?state=lost&limit=1000&limit=2&sort=up&cursor=x"), 400)
    for part in ("'sort': is unknown", "limit: is given more than once", "state: must be one of"):
        assert part in error["message"]


@pytest.mark.parametrize(
    "moment", ["9" * 12, "9" * 18, "9" * 20, "1" + "0" * 30, "0" * 100 + "9" * 20, "9" * 4000]
)
@pytest.mark.parametrize("name", ["since", "until"])
def test_no_moment_is_beyond_what_times_are(client: httpx.Client, name: str, moment: str) -> None:
    error = error_of(client.get(f"/api/job?{name}={moment}"), 400)
    assert f"{name}: must be Unix seconds" in error["message"]
    assert client.get(f"/?{name}={moment}").status_code == 400
    body = {name: moment, "dry_run": True}
    error_of(client.post("/api/jobs/cancel", json=body), 400)


def test_a_moment_may_begin_with_noughts(client: httpx.Client) -> None:
    assert client.get(f"/api/job?since={'0' * 4000}1").status_code == 200


@pytest.mark.parametrize("seconds", ["0" * 9 + "99999", "0" * 5000, "51", "-1", "1.5", "\u0661"])
def test_nobody_waits_longer_than_one_may(client: httpx.Client, group: str, seconds: str) -> None:
    answer = client.get(f"/api/job/{group}", params={"wait": seconds})
    assert "wait: must be seconds, 0 to 50" in error_of(answer, 400)["message"]


@pytest.mark.parametrize("path", ["/api/job", "/api/events", "/api/verify", "/"])
def test_a_query_full_of_mistakes_gets_a_short_answer(client: httpx.Client, path: str) -> None:
    address = f"{path}?{'&'.join(f'{number}=1' for number in range(1000))}"
    answer = client.post(address, json={}) if path == "/api/verify" else client.get(address)
    assert (answer.status_code, "and more" in answer.text) == (400, True)
    assert len(answer.content) < 10_000


def test_a_verbose_group_has_the_attempts_around_what_it_shows_anyway(
    client: httpx.Client, group: str
) -> None:
    short = client.get(f"/api/job/{group}").json()
    verbose = client.get(f"/api/job/{group}?verbose=1").json()
    more = [
        {name: job.pop(name) for name in [*job] if name not in short["jobs"][0]}
        for job in verbose["jobs"]
    ]
    assert [one["history"] for one in more] == [[], [], []]
    assert [one["parameters"] for one in more] == [RANGE, RANGE, RANGE]
    assert {(one["queue"], one["worker"], one["sends"], one["losses"]) for one in more} == {
        ("default", None, 0, 0)
    }
    assert verbose == short
