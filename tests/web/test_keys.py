"""Keys over HTTP: who is let in, to what, and whose groups he sees."""

import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest
from sanic import Sanic

from prover_framework.callers.keys import KeySpec
from prover_framework.callers.store import ApiKeyStore
from prover_framework.model.callers import Scope
from prover_framework.testing import Box, series_of, service_in_a_box, stand_in
from prover_framework.web.app import make_app

HOURS = {"start_timestamp": 0, "end_timestamp": 7200}
SUBMIT_AND_READ = frozenset({Scope.SUBMIT, Scope.READ})

Make = Callable[..., httpx.Client]


def body(group_id: str, **more: int) -> dict[str, Any]:
    return {"job_group_id": group_id, stand_in.NAME: {**HOURS, **more}}


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with service_in_a_box(stand_in, series=series_of([(10, 2)] * 2)) as box:
        # A group of the time before there were keys.
        box.submit(body("shared"))
        yield box


def call(box: Box, work: Coroutine[Any, Any, Any]) -> Any:
    return box._call(work)


@pytest.fixture(scope="module")
def made(box: Box) -> Iterator[Make]:
    """Make keys; the function returns a client that shows a new one."""
    clients: list[httpx.Client] = []

    def make(*scopes: Scope, **more: Any) -> httpx.Client:
        spec = KeySpec(name="somebody", scopes=frozenset(scopes or SUBMIT_AND_READ), **more)
        secret, _ = call(box, ApiKeyStore(box._runtime.database).create(spec))
        # What is known of the keys is a few seconds old.
        box._runtime.callers._known = None
        headers = {"Authorization": f"Bearer {secret.text}"}
        clients.append(httpx.Client(base_url=box.url, headers=headers, timeout=30))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def nobody(box: Box, made: Make) -> Iterator[httpx.Client]:
    """A client without a key, of a service that has some."""
    made()
    with httpx.Client(base_url=box.url, timeout=30) as client:
        yield client


def ended(client: httpx.Client, group_id: str, **parameters: str) -> dict[str, Any]:
    """Wait until a group has ended, and return it."""
    for _ in range(3000):
        answer = client.get(f"/api/job/{group_id}", params=parameters).raise_for_status().json()
        if answer["status"] in ("succeeded", "failed"):
            return dict(answer)
    raise AssertionError(answer)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Require an error of the house's form; return its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Error-Code"] == code
    document = answer.json()
    assert set(document) == {"status", "message", "job_group_id"}
    return str(document["message"])


# Who is let in


def routes(box: Box) -> list[tuple[str, str, Any]]:
    """Return the method, the path and the scope of everything that is served."""
    runtime = box._runtime
    app = make_app(
        runtime.service,
        runtime.receipts,
        runtime.verification,
        runtime.monitoring,
        runtime.callers,
        charts=runtime.charts,
    )
    try:
        return [
            (method, "/" + route.path, getattr(route.ctx, "scope", None))
            for route in app.router.routes
            for method in sorted(route.methods)
        ]
    finally:
        Sanic.unregister_app(app)


def filled(path: str, group_id: str = "shared") -> str:
    """Fill in a route's path."""
    filled = path
    for name in ("group_id", "job_id", "kind", "name", "worker", "queue"):
        value = {"group_id": group_id, "job_id": stand_in.NAME}.get(name, "x")
        for form in (f"<{name}>", f"<{name}:str>"):
            filled = filled.replace(form, value)
    assert "<" not in filled
    return filled


PUBLIC = ["/health", "/health/live", "/health/ready", "/metrics"]


def test_without_a_key_everything_is_refused_but_probes(box: Box, nobody: httpx.Client) -> None:
    served = routes(box)
    assert len(served) > 10
    for method, path, _ in served:
        answer = nobody.request(method, filled(path), headers={"Content-Type": "application/json"})
        if path in PUBLIC:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="prover"'
    refused(nobody.get("/api/job/shared"), 401, "caller_unknown")
    assert nobody.get("/no/such/place").status_code in (401, 404)


def test_what_changes_something_takes_more_than_reading(box: Box, made: Make) -> None:
    reader = made(Scope.READ)
    for method, path, scope in routes(box):
        if path in PUBLIC:
            continue
        answer = reader.request(method, filled(path), headers={"Content-Type": "application/json"})
        if method in ("GET", "HEAD"):
            assert scope is None
            assert answer.status_code not in (401, 403), (method, path)
        else:
            wanted = scope or Scope.OPERATE
            assert refused(answer, 403, "scope_missing").endswith(f"takes the scope {wanted}")
            assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer nonsense",
        f"Bearer prover_{'0' * 12}_{'0' * 64}",
        "Basic !!!",
        f"Basic {base64.b64encode(b'x:y').decode()}",
        f"Basic {base64.b64encode(bytes([255, 254])).decode()}",
        "Digest x",
        "x" * 5000,
        "Bearer \u00e9",
    ],
)
def test_a_key_that_is_none_is_refused(nobody: httpx.Client, header: str) -> None:
    answer = nobody.get("/api/keys", headers=[(b"Authorization", header.encode("latin-1"))])
    refused(answer, 401, "caller_unknown")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_two_keys_in_one_request_are_refused(nobody: httpx.Client, made: Make) -> None:
    shown = made(Scope.READ).headers["Authorization"]
    twice = [("Authorization", shown), ("Authorization", shown)]
    refused(nobody.get("/api/keys", headers=twice), 401, "caller_unknown")


def test_a_browser_asks_for_the_key_as_a_password(nobody: httpx.Client, made: Make) -> None:
    page = {"Accept": "text/html,*/*"}
    answer = nobody.get("/api/keys", headers=page)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="prover", charset="UTF-8"'
    key = made(Scope.READ).headers["Authorization"].removeprefix("Bearer ")
    assert nobody.get("/api/keys", auth=("anybody", key)).status_code == 200
    assert nobody.get("/api/keys", auth=("anybody", key[:-1])).status_code == 401


def test_a_revoked_key_is_refused(box: Box, made: Make) -> None:
    client = made(Scope.READ)
    assert client.get("/api/keys").status_code == 200
    key_id = client.headers["Authorization"].split("_")[1]
    call(box, ApiKeyStore(box._runtime.database).revoke(key_id))
    box._runtime.callers._known = None
    assert "revoked" in refused(client.get("/api/keys"), 401, "caller_unknown")


# Whose groups


@pytest.fixture(scope="module")
def team(made: Make) -> httpx.Client:
    """A member of a team, whose group has the id of another namespace's."""
    client = made(namespace="team-a")
    assert client.post("/api/job", json=body("shared", end_timestamp=3600)).status_code == 200
    assert ended(client, "shared")["namespace"] == "team-a"
    return client


def test_an_id_is_taken_in_its_namespace_alone(team: httpx.Client, made: Make) -> None:
    again = body("shared", end_timestamp=3600)
    assert team.post("/api/job", json=again).status_code == 200
    assert made(namespace="team-a").post("/api/job", json=again).status_code == 200
    refused(team.post("/api/job", json=body("shared")), 409, "group_conflict")
    default = made()
    assert default.post("/api/job", json=body("shared")).status_code == 200
    refused(default.post("/api/job", json=again), 409, "group_conflict")
    (own,) = ended(team, "shared")["jobs"]
    (others,) = ended(default, "shared")["jobs"]
    assert (own["result"]["stand_in"], others["result"]["stand_in"]) == (1, 2)


def test_receipts_do_not_tell_of_namespaces(box: Box, team: httpx.Client) -> None:
    receipt = team.get("/api/job/shared/receipt").raise_for_status().json()
    assert receipt["statement"]["group_id"] == "shared"
    assert "team-a" not in json.dumps(receipt)
    assert box.verify_body(json.dumps(receipt).encode()).accepted
    own = team.get(f"/api/job/shared/receipt/{stand_in.NAME}").raise_for_status().json()
    assert receipt["receipts"][0]["statement"] == own["statement"]


def test_anothers_group_is_not_there_at_any_address(
    box: Box, team: httpx.Client, made: Make
) -> None:
    assert team.post("/api/job", json=body("own")).status_code == 200
    ended(team, "own")
    stranger = made(*Scope, namespace="other")
    reader = made(Scope.READ, Scope.SUBMIT, namespace="other")
    asked = [
        (method, path, scope)
        for method, path, scope in routes(box)
        if "<group_id" in path and path.startswith("/api/")
    ]
    assert len(asked) > 5
    for method, path, scope in asked:
        headers = {"Content-Type": "application/json"}
        for client in (stranger, reader):
            answer = client.request(method, filled(path, "own"), headers=headers)
            if client is reader and method == "POST" and scope is None:
                assert answer.status_code == 403, "that takes operate"
                continue
            if "<kind" in path:
                assert answer.status_code in (400, 404)
                continue
            assert answer.status_code == 404, (method, path)
            if method != "HEAD":
                assert "there is no job group 'own'" in answer.json()["message"]


def test_an_operator_sees_every_namespace_and_says_which(team: httpx.Client, made: Make) -> None:
    operator = made(*Scope)
    (own,) = ended(operator, "shared", namespace="team-a")["jobs"]
    assert own["result"]["stand_in"] == 1
    (default,) = ended(operator, "shared")["jobs"]
    assert default["result"]["stand_in"] == 2
    answer = team.get("/api/job/shared", params={"namespace": "default"})
    assert refused(answer, 403, "scope_missing").endswith("operate")
    assert team.get("/api/job/shared", params={"namespace": "team-a"}).status_code == 200
    refused(operator.get("/api/job/shared", params={"namespace": "A/b"}), 400, "bad_request")


# How much


def test_too_many_requests_are_told_when_to_come_again(made: Make) -> None:
    client = made(Scope.READ, requests_per_minute=2)
    assert [client.get("/api/keys").status_code for _ in range(2)] == [200, 200]
    answer = client.get("/api/keys")
    assert "2 requests a minute" in refused(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 30


def test_too_many_verifications_are_refused_before_their_receipts_are_read(made: Make) -> None:
    client = made(Scope.VERIFY, verifications_per_minute=1)
    assert client.post("/api/verify", json={}).status_code in (200, 400)
    answer = client.post("/api/verify", json={})
    assert "1 verifications a minute" in refused(answer, 429, "rate_limited")


def test_too_many_open_groups_are_refused_and_repeats_are_not(made: Make) -> None:
    client = made(open_groups=1)
    # There are no such hours: the job waits for them.
    later = {"start_timestamp": 3600 * 10**6, "end_timestamp": 3600 * (10**6 + 2)}
    for _ in range(2):
        waiting = {"job_group_id": "waiting", stand_in.NAME: later}
        assert client.post("/api/job", json=waiting).status_code == 200
    answer = client.post("/api/job", json=body("one too many"[:3]))
    assert "may have 1 job groups" in refused(answer, 429, "too_many_open_groups")
    assert answer.json()["job_group_id"] == "one"
    assert int(answer.headers["Retry-After"]) > 0


def test_a_key_says_how_high_a_priority_may_be(made: Make) -> None:
    def submit(client: httpx.Client, group_id: str, priority: int) -> httpx.Response:
        return client.post("/api/job", params={"priority": priority}, json=body(group_id))

    usual, more, operator = made(), made(max_priority=5), made(*Scope)
    for client, group_id, priority in ((usual, "low", -9), (more, "up", 5), (operator, "top", 9)):
        assert submit(client, group_id, priority).status_code == 200
        assert client.get(f"/api/job/{group_id}").json()["priority"] == priority
    message = refused(submit(usual, "too-high", 1), 403, "priority_too_high")
    assert "may ask for the priority 0 at the most, not for 1" in message
    refused(submit(more, "too-high", 6), 403, "priority_too_high")
    assert usual.get("/api/job/too-high").status_code == 404


@pytest.mark.parametrize("priority", ["10", "-10", "1.0", "", "high", ["1", "1"]])
def test_a_priority_that_is_none_is_refused(made: Make, priority: str | list[str]) -> None:
    answer = made(*Scope).post("/api/job", params={"priority": priority}, json=body("g"))
    message = refused(answer, 400, "bad_request")
    assert message.startswith("priority: must be, once, a whole number from -9 to 9, got ")
    assert answer.json()["job_group_id"] == "g"
