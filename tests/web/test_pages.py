"""Pages over HTTP: what they may load, whose forms are taken, and what there is of them."""

import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest

from prover_framework.web.pages.rendering import duration_text, size_text
from prover_framework.web.pages.safety import COOKIE, token_of

PAGES = ("/", "/submit", "/headers", "/queues", "/plugins", "/access")
FORM = "application/x-www-form-urlencoded"
INLINE = re.compile(r"<script(?! type=\"module\" src=)|<style| style=| on[a-z]+=")
RANGE = {"shared.start_timestamp": "2023-12-02T00:00", "shared.end_timestamp": "2024-01-01T00:00"}


@pytest.fixture
def browser(base_url: str) -> Iterator[httpx.Client]:
    """A client with what a browser sends of forms of its own page."""
    headers = {"Origin": base_url, "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=base_url, headers=headers, timeout=30) as client:
        yield client


def token(browser: httpx.Client) -> str:
    """Return the token of the forms that this browser is shown."""
    found = re.search('name="token" value="([0-9a-f]{64})"', browser.get("/submit").text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", [*PAGES, "/reference"])
def test_a_page_loads_nothing_inline_and_nothing_from_elsewhere(
    client: httpx.Client, path: str
) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (
        re.findall(r"<script(?! type=\"module\" src=)|<style| style=| on[a-z]+=", page.text) == []
    )
    loaded = re.findall('(?:href|src|action)="([^"]*)"', page.text)
    assert [each for each in loaded if not re.match("[/#]", each) or each.startswith("//")] == []


def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(client: httpx.Client) -> None:
    cookie = client.get("/submit").headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


def test_a_group_is_asked_for_by_the_form(browser: httpx.Client) -> None:
    fields = {"token": token(browser), "job_group_id": "of-the-form", **RANGE}
    fields["max_return.window_hours"] = "12"
    done = browser.post("/submit", data=fields)
    assert (done.status_code, done.headers["location"]) == (303, "/groups/of-the-form")
    page = browser.get("/groups/of-the-form")
    assert page.text.count("Max Return") == 1
    # A range of its own stands before the one of all.
    other = {**fields, "job_group_id": "of-the-form", "twap.start_timestamp": "2023-12-03T00:00"}
    refused = browser.post("/submit", data=other)
    assert refused.status_code == 409
    assert "asked for something else" in unescape(refused.text)


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        ({"token": "0" * 64}, "is not one that this service has shown here"),
        ({}, "is not one that this service has shown here"),
    ],
)
def test_a_form_needs_the_token_of_its_browser(
    browser: httpx.Client, forged: dict[str, str], why: str
) -> None:
    token(browser)
    answer = browser.post("/submit", data={"job_group_id": "forged", **RANGE, **forged})
    assert answer.status_code == 403
    assert why in answer.text
    assert browser.get("/api/job/forged").status_code == 404


def test_a_token_without_its_cookie_is_none(browser: httpx.Client, base_url: str) -> None:
    fields = {"token": token(browser), "job_group_id": "stolen", **RANGE}
    answer = httpx.post(f"{base_url}/submit", data=fields, headers={"Origin": base_url})
    assert answer.status_code == 403


def test_a_cookie_of_somebodys_own_making_is_none(base_url: str) -> None:
    made = "short"
    answer = httpx.post(
        f"{base_url}/submit",
        data={"token": token_of(made), "job_group_id": "made", **RANGE},
        headers={"Origin": base_url, "Cookie": f"{COOKIE}={made}"},
    )
    assert answer.status_code == 403


def test_a_form_has_to_say_which_page_it_comes_from(browser: httpx.Client, base_url: str) -> None:
    fields = {"token": token(browser), "job_group_id": "nowhere", **RANGE}
    cookies = {COOKIE: browser.cookies[COOKIE]}
    answer = httpx.post(f"{base_url}/submit", data=fields, cookies=cookies)
    assert answer.status_code == 403
    elsewhere = httpx.post(
        f"{base_url}/submit", data=fields, cookies=cookies, headers={"Origin": "http://evil.test"}
    )
    assert elsewhere.status_code == 403


def test_what_takes_a_form_takes_nothing_else_and_the_api_takes_no_form(
    browser: httpx.Client,
) -> None:
    assert browser.post("/submit", json={"token": token(browser)}).status_code == 415
    assert browser.post("/api/job", data={"job_group_id": "a"}).status_code == 415


def test_what_is_wrong_is_told_at_its_place(browser: httpx.Client) -> None:
    fields = {"token": token(browser), "job_group_id": "a b", **RANGE}
    page = browser.post("/submit", data={**fields, "max_return.window_hours": "<b>"})
    assert page.status_code == 400
    assert "job_group_id" in page.text
    assert 'value="&lt;b&gt;"' in page.text
    assert "must be an integer" in page.text


@pytest.mark.parametrize(
    "value", ["NaN", "-Infinity", "1e999", "[" * 3000, '{"a":' * 2000, "9" * 5000, '"\\ud800"']
)
def test_what_no_number_can_be_is_told_at_its_place(browser: httpx.Client, value: str) -> None:
    fields = {"token": token(browser), "job_group_id": "odd", **RANGE}
    page = browser.post("/submit", data={**fields, "max_return.window_hours": value})
    assert (page.status_code, "must be an integer" in page.text) == (400, True)


def test_a_token_may_be_any_text(browser: httpx.Client) -> None:
    token(browser)
    answer = browser.post("/submit", data={"token": "\u00e9", "job_group_id": "forged", **RANGE})
    assert answer.status_code == 403


def test_cookies_of_others_are_not_looked_at(browser: httpx.Client, base_url: str) -> None:
    fields = {"token": token(browser), "job_group_id": "of-several", **RANGE}
    ours = f"{COOKIE}={browser.cookies[COOKIE]}"
    for cookies, status in (
        (f'a="\\"; {ours}; b', 303),
        (ours + ';"', 303),
        (f"x{ours}", 403),
        (f"{ours}x", 403),
        (f"{COOKIE}={'a' * 43}; {ours}", 403),
    ):
        headers = {"Origin": base_url, "Cookie": cookies}
        assert httpx.post(f"{base_url}/submit", data=fields, headers=headers).status_code == status


def test_wrong_filters_and_unknown_groups_are_pages_that_say_so(client: httpx.Client) -> None:
    wrong = client.get("/?state=tired")
    assert (wrong.status_code, "must be one of" in wrong.text) == (400, True)
    missing = client.get("/groups/nobody")
    assert (missing.status_code, "group_not_found" in missing.text) == (404, True)
    assert client.get("/groups/a%00b").status_code == 404


def test_static_files_are_sent_once(client: httpx.Client) -> None:
    for name in ("style.css", "chart.css", "live.js", "icon.svg"):
        first = client.get(f"/static/{name}")
        again = client.get(f"/static/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code) == (200, 304)


def test_where_the_table_of_jobs_is_the_queue_there_are_no_dead_letters(
    browser: httpx.Client,
) -> None:
    fields = {"token": token(browser), "letter": "4711", "action": "redrive"}
    for page in (
        browser.get("/queues/default/dead-letters"),
        browser.post("/queues/default/dead-letters", data=fields),
    ):
        assert page.status_code == 400
        assert "no messages, so no dead letters" in page.text
    assert browser.get("/queues/other/dead-letters").status_code == 400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.25, "250 ms"), (42, "42.0 s"), (300, "5 min"), (3725, "1 h 2 min"),
     (86_400, "1 d")],
)  # fmt: skip
def test_durations_are_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 bytes"), (1536, "1.5 KiB"), (2**20, "1 MiB"), (4 * 2**30, "4 GiB")],
)
def test_sizes_are_in_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert size_text(count) == text
