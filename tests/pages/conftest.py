"""A whole service with its pages, and Chromium in front of it.

Whatever a page asks of another host is blocked and counted, and so is what its content security
policy forbids. Screenshots are kept in the folder that ``PAGES_ARTEFACTS`` names.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    HttpCredentials,
    Page,
    Route,
    sync_playwright,
)
from prover_processes import Installation
from sqs_contract import send_raw, use_emulator
from sqs_server import SqsEmulator
from waiting import wait_until

from prover_framework.model.callers import Scope
from prover_framework.text import utc_now

NAMES = ("chromium", "chromium-browser", "google-chrome")

HOW = (
    "needs Chromium: apt-get install chromium, or name one by CHROMIUM (`make test-pages` installs "
    "it where it may)"
)

ARTEFACTS = Path(os.environ.get("PAGES_ARTEFACTS", "page-artefacts"))

# Long enough for a price to be computed on a busy machine.
PATIENCE_MS = 30_000

# Enough for a reserve price, and for a max return over short windows.
DAYS = 20

OpenPage: TypeAlias = Callable[..., Page]

# Says how far it is until its gate is opened, and then fails.
STEADY = """
import time
from pathlib import Path

from attrs import frozen
from prover_framework import ProofType, RangeParameters, hookimpl

PROVER_API = 1


@frozen(kw_only=True)
class Parameters(RangeParameters):
    gate: str


@frozen
class Result:
    steady: int


@hookimpl
def proof_type():
    return ProofType(name="steady", title="Steady", version="1", parameters=Parameters,
                     result=Result)


@hookimpl
def inputs(parameters):
    return {}


@hookimpl
def compute(parameters, work):
    while not Path(parameters.gate).exists():
        work.progress(0.4, "two of five")
        time.sleep(0.05)
    raise ValueError("the fifth is missing")
"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(HOW)
        pytest.skip(HOW)
    # Its own sandbox refuses to work for root, as containers have it.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def installation(
    tmp_path_factory: pytest.TempPathFactory, moto: SqsEmulator
) -> Iterator[Installation]:
    """A service with simulated headers that is up, with a queue that has dead letters."""
    settings = {"PROVER_WORKER_SLOTS": "2", **moto.environment}
    place = Installation(tmp_path_factory.mktemp("service"), {"steady": STEADY}, settings)
    place.command("headers", "simulate", "--days", str(DAYS), "--end", "1704067200")
    place.environment["SQS_QUEUE_URL"] = place.command("queue", "create", "pages").strip()
    # Browsers of the tests have it, as their users would have typed it.
    scopes = [option for scope in Scope for option in ("--scope", scope)]
    place.environment["PROVER_API_KEY"] = place.command(
        "key", "api", "create", "operator", *scopes
    ).strip()
    with place.running("up"):
        yield place


@pytest.fixture(scope="session")
def address(installation: Installation) -> str:
    return installation.url("up")


@pytest.fixture
def opened(chromium: Browser, address: str, installation: Installation) -> Iterator[OpenPage]:
    """Open pages, each in a browser of its own; at the end none has asked for anything elsewhere.

    The browsers have an operator's key, unless it is said that their user has none.

    What is complained about is shown by the browser's console: blocked styles and scripts, too.
    """
    elsewhere: list[str] = []
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith(f"{address}/"):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    def complain(page: Page, message: ConsoleMessage) -> None:
        # A page that says what is wrong with a request has the status that says so, too.
        if message.location.get("url") != page.url or "status of 4" not in message.text:
            complaints.append(message.text)

    key: HttpCredentials = {
        "username": "operator",
        "password": installation.environment["PROVER_API_KEY"],
    }

    def open_page(
        path: str,
        *,
        script: bool = True,
        dark: bool = False,
        width: int = 1200,
        has_key: bool = True,
    ) -> Page:
        context = chromium.new_context(
            base_url=address,
            http_credentials=key if has_key else None,
            java_script_enabled=script,
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 900},
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        context.route("**/*", guard)
        page = context.new_page()
        page.on("console", lambda message: complain(page, message))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert complaints == []


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keep a screenshot of a page among the artefacts."""
    del request

    def shoot(page: Page, name: str) -> None:
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    return shoot


@pytest.fixture
def dead_letter(
    installation: Installation, address: str, moto: SqsEmulator, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A message that nobody can understand, among the dead letters; return its body."""
    assert address, "the worker is there"
    use_emulator(moto, monkeypatch)
    now = utc_now()
    body = f'{{"nonsense": "{now}"}}'
    # The browser's driver has an event loop in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(send_raw, installation.environment["SQS_QUEUE_URL"], [body]).result()
    wait_until(lambda: now in installation.command("dead", "list", "--json"))
    return body
