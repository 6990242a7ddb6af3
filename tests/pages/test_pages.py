"""The pages as people use them, in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, Page, expect
from prover_processes import Installation

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
Keep = Callable[[Page, str], None]

SERIOUS = ("serious", "critical")

STATE = "h1 + .state"

CHARTS = 6


def submit(page: Page, group_id: str, window_hours: int = 24) -> None:
    """Fill in the form and send it; the page is that of the group then."""
    page.goto("/submit")
    page.get_by_label("Id of the group").fill(group_id)
    page.get_by_label("window hours").fill(str(window_hours))
    page.get_by_role("button", name="Submit the group").click()
    expect(page.get_by_role("heading", name=group_id)).to_be_visible()


@pytest.fixture(scope="module")
def ended() -> dict[str, str]:
    """Groups that have ended, by what became of them, as tests bring them about."""
    return {}


@pytest.fixture
def round_id(opened: OpenPage, ended: dict[str, str]) -> str:
    """A group that has succeeded."""
    if "succeeded" not in ended:
        page = opened("/submit")
        submit(page, "round")
        expect(page.locator(STATE)).to_have_text("succeeded")
        ended["succeeded"] = "round"
    return ended["succeeded"]


def test_a_group_is_submitted_by_the_form_and_watched_to_its_end(
    opened: OpenPage, keep: Keep
) -> None:
    listing = opened("/")
    page = opened("/submit")
    keep(page, "submit")
    submit(page, "watched")
    # No reload from here on: the page hears of it.
    expect(page.locator(STATE)).to_have_text("succeeded")
    expect(page.locator("figure svg.chart")).to_have_count(CHARTS)
    keep(page, "group")
    entry = listing.locator(".group", has_text="watched")
    expect(entry.locator(".group-head .state")).to_have_text("succeeded")
    keep(listing, "groups")


def test_a_receipt_is_verified_at_a_click(opened: OpenPage, keep: Keep, round_id: str) -> None:
    page = opened(f"/groups/{round_id}")
    page.get_by_role("button", name="Verify the group").click()
    expect(page.get_by_role("status")).to_contain_text("Accepted")
    expect(page.get_by_role("status")).to_contain_text("Shown: the results follow")
    outcomes = page.get_by_role("table").locator("tbody .state")
    assert "passed" in outcomes.all_inner_texts()
    keep(page, "verified")

    page.goto(f"/groups/{round_id}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Receipt", exact=True).first.click()
    assert download.value.suggested_filename.endswith(".receipt.json")


def test_plain_facts_need_no_javascript(opened: OpenPage, keep: Keep, round_id: str) -> None:
    page = opened("/?state=succeeded&proof_type=twap", script=False)
    page.get_by_role("link", name=round_id, exact=True).click()
    expect(page.locator(STATE)).to_have_text("succeeded")
    expect(page.locator(".headline .number")).to_have_count(3)
    expect(page.locator("figure svg.chart")).to_have_count(CHARTS)
    page.locator("summary", has_text="All values of the result").first.click()
    expect(page.get_by_text("occurred_hour")).to_be_visible()
    keep(page, "group_without_javascript")
    page.get_by_role("link", name="Data as a table").last.click()
    expect(page.get_by_role("table").locator("tbody tr")).not_to_have_count(0)
    keep(page, "chart")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == f"{round_id}.twap.base_fee.csv"
    page.goto(f"/groups/{round_id}")
    page.get_by_role("button", name="Verify", exact=True).first.click()
    expect(page.get_by_role("status")).to_contain_text("Accepted")


def test_a_failure_is_explained_and_redriven(opened: OpenPage, keep: Keep) -> None:
    page = opened("/submit")
    submit(page, "too-short", window_hours=87_660)
    expect(page.locator(STATE)).to_have_text("failed")
    failed = page.get_by_role("region", name="Max Return")
    expect(failed).to_contain_text("range_too_short")
    keep(page, "failed")
    attempts = failed.locator(".timeline li", has_text="accepted")
    expect(attempts).to_have_count(1)
    page.get_by_role("button", name="Redrive failed jobs").click()
    expect(page.locator(STATE)).to_have_text("failed")
    expect(page.get_by_role("region", name="Max Return")).to_contain_text("range_too_short")


def test_progress_and_what_failed_are_seen_as_they_come(
    opened: OpenPage, keep: Keep, installation: Installation, tmp_path: Path
) -> None:
    page = opened("/")
    span = {"start_timestamp": 1702339200, "end_timestamp": 1704067200}
    gate = tmp_path / "gate"
    group = {
        "job_group_id": "steady",
        "twap": span,
        "reserve_price": span,
        "max_return": {**span, "window_hours": 24},
        "steady": {**span, "gate": str(gate)},
    }
    key = installation.environment["PROVER_API_KEY"]
    shown = {"Authorization": f"Bearer {key}"}
    assert page.request.post("/api/job", data=group, headers=shown).ok
    page.goto("/groups/steady")
    steady = page.get_by_role("region", name="Steady")
    expect(steady.get_by_role("progressbar")).to_have_attribute("value", "0.4")
    expect(steady).to_contain_text("40.0 % two of five")
    keep(page, "progress")
    # No reload from here on.
    gate.touch()
    attempt = steady.locator("summary", has_text="Attempt 1")
    expect(attempt).to_be_visible()
    attempt.click()
    expect(steady).to_contain_text("ValueError: the fifth is missing")
    expect(steady.locator(".traceback").first).to_contain_text(re.compile(r"steady.*in compute"))
    keep(page, "attempts")
    page.get_by_role("button", name="Cancel the group").click()
    expect(page.locator(STATE)).to_have_text("cancelled")


def test_keys_are_seen_and_who_has_none_is_told_so(
    opened: OpenPage, keep: Keep, installation: Installation
) -> None:
    former = installation.command("key", "api", "create", "former", "--scope", "read").strip()
    page = opened("/access")
    row = page.get_by_role("row").filter(has_text="former")
    expect(row).to_contain_text("active")
    assert former not in page.content()
    keep(page, "access")
    row.get_by_text("Revoke", exact=True).click()
    row.get_by_role("button", name="Revoke for good").click()
    expect(page.get_by_role("row").filter(has_text="former")).to_contain_text("revoked")
    # Without a screen there is nobody whom the browser could ask.
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        opened("/", has_key=False)


def test_what_is_wrong_with_a_form_stands_beside_its_field(opened: OpenPage, keep: Keep) -> None:
    page = opened("/submit")
    page.get_by_label("Id of the group").fill("wrong")
    page.get_by_label("window hours").fill("many")
    page.get_by_role("button", name="Submit the group").click()
    wrong = page.locator(".field.wrong")
    expect(wrong).to_have_count(1)
    expect(wrong).to_contain_text("must be an integer")
    expect(page.get_by_label("window hours")).to_have_value("many")
    keep(page, "wrong")


def test_a_dead_letter_is_redriven_and_dropped(
    opened: OpenPage, keep: Keep, dead_letter: str
) -> None:
    page = opened("/queues/default/dead-letters")
    letter = page.get_by_role("region").filter(has_text=dead_letter)
    first = letter.get_by_role("heading").inner_text()
    keep(page, "dead_letters")
    letter.get_by_role("button", name="Redrive").click()
    # The worker cannot understand it any better: it comes back as another one.
    number = first.split()[-1]
    back = page.get_by_role("heading", name=re.compile(f"Letter (?!{number}$)"))
    while not back.count():
        page.reload()
    page.get_by_role("region").filter(has_text=dead_letter).get_by_role(
        "button", name="Drop"
    ).click()
    expect(page.get_by_text("There are none.")).to_be_visible()


def test_a_form_that_no_page_of_ours_has_shown_is_refused(opened: OpenPage, round_id: str) -> None:
    page = opened(f"/groups/{round_id}")
    own = {"Origin": page.url.split("/groups")[0], "Accept": "text/html"}
    answer = page.request.post(f"/groups/{round_id}/redrive", form={"token": "0" * 64}, headers=own)
    assert answer.status == 403
    assert "is not one that this service has shown here" in answer.text()


PAGES = (
    "/",
    "/submit",
    "/headers",
    "/queues",
    "/queues/default/dead-letters",
    "/plugins",
    "/access",
    "/reference",
    "/groups/round",
    "/groups/round/charts/reserve_price/paths",
)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_stands_in_anybodys_way(
    opened: OpenPage, keep: Keep, round_id: str, path: str, *, dark: bool
) -> None:
    assert round_id == "round"
    page = opened(path, dark=dark, width=390 if dark else 1200)
    for details in page.locator("details").all():
        details.evaluate("each => each.open = true")
    found = Axe().run(page).response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in SERIOUS
    ]
    name = path.strip("/").replace("/", "_") or "groups"
    keep(page, f"{name}_{'dark_phone' if dark else 'light'}")
    assert serious == []
    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
