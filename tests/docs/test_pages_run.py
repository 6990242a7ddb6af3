"""Each page runs as a newcomer would type it: its blocks in order, from an empty directory."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from page_session import Page, pages, run_page
from page_stand_ins import STAND_INS, StandIn

PAGES = {page.name: page for page in pages()}
RUN = [page for page in PAGES.values() if page.commands]

# Commands that cannot run here, by page, each with the reason that the page gives. The list is
# short and stays short: what is on it is not held true by any test.
NOT_RUN = {
    "README.md": ["it is the run that this test is part of"],
    "docs/how-to/headers.md": ["needs the database of an indexer"],
    "docs/how-to/look-at-pages.md": ["installs from an index"],
    "docs/how-to/operate.md": [
        "it is the walk of make walk, which takes some minutes",
        "the same",
    ],
    "docs/how-to/postgresql.md": ["needs docker; a PostgreSQL of the tests stands in"],
    "docs/how-to/sign-and-verify.md": [
        "needs a receipt over the chain of a real node",
        "needs a plugin with a kind of seal",
    ],
    "docs/how-to/sqs.md": [
        "needs docker; a LocalStack of the tests stands in",
        "needs an account with AWS",
    ],
    "docs/reference/http-api.md": ["the how-to shows it with a key that is made"],
    "docs/tutorial/first-results.md": ["the session of the README runs it"],
}


def _case(page: Page) -> object:
    needs_localstack = "with LocalStack" in page.needs
    marks = [pytest.mark.localstack] if needs_localstack else []
    return pytest.param(page, id=page.name, marks=marks)


@pytest.fixture
def stand_ins(request: pytest.FixtureRequest) -> Iterator[list[StandIn]]:
    page: Page = request.getfixturevalue("page")
    with ExitStack() as stack:
        yield [
            stack.enter_context(STAND_INS[need](request))
            for need in sorted(page.needs)
            if need in STAND_INS
        ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [_case(page) for page in RUN])
def test_a_page_does_what_it_says(page: Page, stand_ins: list[StandIn], tmp_path: Path) -> None:
    places = {said: real for stand_in in stand_ins for said, real in stand_in.places.items()}
    run_page(page, tmp_path, places=places)


def test_what_is_not_run_is_on_the_list_with_its_reason() -> None:
    found: dict[str, list[str]] = {}
    for page in PAGES.values():
        for block in page.blocks:
            if block.reason_not_run is not None:
                assert block.language == "sh", f"{page.name}:{block.line}"
                found.setdefault(page.name, []).append(block.reason_not_run)
    assert found == NOT_RUN


def test_what_is_shown_as_json_is_json() -> None:
    for page in PAGES.values():
        for block in page.blocks:
            if block.language == "json":
                json.loads(block.text)


def test_a_session_needs_what_there_is() -> None:
    known = {"in a clone", *STAND_INS}
    for page in PAGES.values():
        assert page.needs <= known, page.name
