"""Pages of a service with keys: browsers are asked for one, and operators see and revoke them."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from prover_framework.callers.keys import KeySpec, Secret
from prover_framework.callers.store import ApiKeyStore
from prover_framework.database.database import Database
from prover_framework.model.callers import ALL_SCOPES, Scope

READER = frozenset({Scope.READ, Scope.SUBMIT})

Keys = dict[str, Secret]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keys]:
    """A database with keys, from before the service starts."""
    path = tmp_path_factory.mktemp("data") / "prover.sqlite3"

    async def make() -> Keys:
        async with Database(path) as database:
            await database.migrate()
            store = ApiKeyStore(database)
            specs = (
                KeySpec(name="op <b>", scopes=ALL_SCOPES),
                KeySpec(name="reader", scopes=READER, requests_per_minute=321, open_groups=7),
                KeySpec(name="former", scopes=READER),
            )
            return {spec.name.split()[0]: (await store.create(spec))[0] for spec in specs}

    return path, asyncio.run(make())


@pytest.fixture(scope="module")
def database_path(prepared: tuple[Path, Keys]) -> Path:
    return prepared[0]


@pytest.fixture(scope="module")
def keys(prepared: tuple[Path, Keys]) -> Keys:
    return prepared[1]


def browser(url: str, key: Secret | None) -> httpx.Client:
    """Return what a browser sends whose user has typed a key as the password."""
    return httpx.Client(
        base_url=url,
        auth=None if key is None else ("anybody", key.text),
        headers={"Accept": "text/html,*/*;q=0.8", "Origin": url, "Sec-Fetch-Site": "same-origin"},
        timeout=30,
    )


@pytest.fixture
def operator(base_url: str, keys: Keys) -> Iterator[httpx.Client]:
    with browser(base_url, keys["op"]) as client:
        yield client


@pytest.fixture
def reader(base_url: str, keys: Keys) -> Iterator[httpx.Client]:
    with browser(base_url, keys["reader"]) as client:
        yield client


def token(client: httpx.Client) -> str:
    found = re.search('name="token" value="([0-9a-f]{64})"', client.get("/submit").text)
    assert found is not None
    return found[1]


def asked_for_a_key(answer: httpx.Response) -> str:
    """Require that a browser asks its user for a key, and shows a page if he has none."""
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def test_a_browser_without_a_key_is_asked_for_one(base_url: str) -> None:
    with browser(base_url, None) as nobody:
        assert "caller_unknown" in asked_for_a_key(nobody.get("/"))
        # Programs are told so in their own form.
        api = nobody.get("/api/job")
        assert (api.status_code, api.json()["status"]) == (401, "error")


def test_what_a_page_is_shown_with_needs_no_key(base_url: str) -> None:
    with browser(base_url, None) as nobody:
        for name in ("style.css", "chart.css", "live.js", "icon.svg"):
            assert nobody.get(f"/static/{name}").status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Accept": "text/event-stream"}, {"Accept": "*/*", "Sec-Fetch-Site": "same-origin"}]
)
def test_a_page_below_another_address_is_asked_for_the_key_that_the_browser_has(
    base_url: str, headers: dict[str, str]
) -> None:
    answer = httpx.get(f"{base_url}/api/events", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_what_changes_something_asks_for_the_key_of_an_operator(reader: httpx.Client) -> None:
    assert reader.get("/").status_code == 200
    shown = token(reader)
    for answer in (
        reader.get("/access"),
        reader.post("/groups/any/cancel", data={"token": shown}),
        reader.post("/access/revoke", data={"token": shown}),
    ):
        assert "scope_missing" in asked_for_a_key(answer)
    api = reader.post("/api/job/any/cancel", json={})
    assert (api.status_code, api.headers["www-authenticate"][:6]) == (403, "Bearer")


def test_an_operator_sees_keys_rates_and_quotas_and_nothing_secret(
    operator: httpx.Client, reader: httpx.Client, keys: Keys
) -> None:
    reader.get("/")
    page = operator.get("/access")
    assert page.status_code == 200
    assert "op &lt;b&gt;" in page.text
    assert re.search(r"[1-9]\d* of 321", page.text), "requests that were made"
    assert "0 of 7" in page.text
    assert "PROVER_MAX_OPEN_JOBS" in page.text
    for key in keys.values():
        assert key.id in page.text
        assert key.digest not in page.text
        assert key.text.rpartition("_")[2] not in page.text


def test_a_key_is_revoked_by_a_form_of_the_page_and_not_the_one_that_is_shown(
    operator: httpx.Client, keys: Keys
) -> None:
    former = {"key": keys["former"].id}
    assert operator.post("/access/revoke", data=former).status_code == 403
    shown = {"token": token(operator)}
    done = operator.post("/access/revoke", data={**shown, **former})
    assert (done.status_code, done.headers["location"]) == (303, "/access")
    assert "revoked" in operator.get("/access").text
    own = operator.post("/access/revoke", data={**shown, "key": keys["op"].id})
    assert own.status_code == 400
    assert operator.post("/access/revoke", data={**shown, "key": "x"}).status_code == 400
    assert operator.get("/").status_code == 200


def test_an_address_that_leads_nowhere_is_a_page_for_people(operator: httpx.Client) -> None:
    answer = operator.get("/nowhere")
    assert answer.status_code == 404
    assert "there is nothing at" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
