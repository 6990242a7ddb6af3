"""Which pages there are: the operator's setting, and what is installed, say."""

import re
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any, cast

import pytest
from api_server import NO_MONITORING, NO_RECEIPTS, no_verification
from sanic import Sanic

from prover_framework.app import open_runtime
from prover_framework.plugins.registry import Plugins
from prover_framework.settings import Settings
from prover_framework.text import LAST_DATED_SECOND
from prover_framework.web.app import make_app
from prover_framework.web.pages import routes
from prover_framework.web.pages.rendering import moment_text


async def addresses(installed: Plugins, mode: str, tmp_path: Any) -> set[tuple[str, str]]:
    async with open_runtime(Settings(data_dir=tmp_path, pages=mode), installed) as runtime:
        app = make_app(
            runtime.service,
            NO_RECEIPTS,
            no_verification(),
            NO_MONITORING,
            runtime.callers,
            charts=runtime.charts,
            pages=runtime.pages,
        )
        try:
            return {
                (re.sub(":str>", ">", f"/{route.path}"), method)
                for route in app.router.routes
                for method in route.methods - {"HEAD"}
                if not route.path.startswith(("api", "health", "metrics", "openapi", "static"))
            }
        finally:
            Sanic.unregister_app(app)


async def test_none_where_they_are_off(installed: Plugins, tmp_path: Any) -> None:
    assert await addresses(installed, "off", tmp_path) == set()


async def test_pages_to_read_change_nothing(installed: Plugins, tmp_path: Any) -> None:
    found = await addresses(installed, "read", tmp_path)
    posts = {path for path, method in found if method == "POST"}
    # To verify changes nothing.
    assert posts == {"/groups/<group_id>/verify"}
    assert ("/", "GET") in found
    assert ("/submit", "GET") not in found


async def test_all_of_them(installed: Plugins, tmp_path: Any) -> None:
    found = await addresses(installed, "on", tmp_path)
    assert {path for path, method in found if method == "POST"} == {
        "/submit",
        "/access/revoke",
        "/groups/<group_id>/verify",
        "/groups/<group_id>/cancel",
        "/groups/<group_id>/redrive",
        "/queues/<queue>/dead-letters",
    }


async def test_without_the_extra_the_first_page_says_how_to_get_it(
    installed: Plugins, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_jinja(name: str) -> ModuleSpec | None:
        return None if name == "jinja2" else find_spec(name)

    monkeypatch.setattr(routes, "find_spec", without_jinja)
    assert await addresses(installed, "on", tmp_path) == {("/", "GET")}
    assert "pip install 'prover-framework[pages]'" in routes.MISSING
    answer = await routes._missing(cast(Any, None))
    assert answer.status == 501


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2024-05-01T12:00:03.500Z", "2024-05-01 12:00:03 UTC"),
        (0, "1970-01-01 00:00:00 UTC"),
        (LAST_DATED_SECOND, "9999-12-31 23:59:59 UTC"),
        (LAST_DATED_SECOND + 1, "second 253,402,300,800"),
        (2**63 - 1, "second 9,223,372,036,854,775,807"),
        (-1, "second -1"),
        (1e300, "second 1e+300"),
    ],
)
def test_a_time_that_has_no_date_is_written_in_seconds(value: str | float, text: str) -> None:
    # Whoever a header or a chart comes from may say when it is.
    assert moment_text(value) == text
