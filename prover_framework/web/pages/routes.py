"""All pages of one application; or, without what they are made with, a word on how to get it."""

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.web.pages.parts import PageMode, Shown

MISSING = (
    "The pages of this service need an extra: pip install 'prover-framework[pages]', then start it "
    "again. The API is there: GET /api/proof-types. PROVER_PAGES=off leaves this out.\n"
)


def add_pages(app: "Sanic[Any, Any]", shown: Shown) -> None:
    """Add the pages that the mode of their parts says."""
    if shown.parts.mode is PageMode.OFF:
        return
    if find_spec("jinja2") is None:
        app.add_route(_missing, "/", methods=("GET", "HEAD"), name="page_missing")
        return
    # Imported where they are used: they need what an API without pages does not.
    from prover_framework.web.pages.access import AccessPages
    from prover_framework.web.pages.charts import ChartPages
    from prover_framework.web.pages.files import add_static_files
    from prover_framework.web.pages.groups import GroupPages
    from prover_framework.web.pages.reference import ReferencePage
    from prover_framework.web.pages.rendering import Renderer
    from prover_framework.web.pages.submission import SubmitPages
    from prover_framework.web.pages.system import SystemPages

    renderer = Renderer(shown.parts.mode, version("prover-framework"))
    system = SystemPages(shown, renderer)
    app.ctx.error_page = renderer.error
    add_static_files(app)
    ChartPages(shown, renderer).add_to(app)
    GroupPages(shown, renderer).add_to(app)
    system.add_to(app)
    AccessPages(shown, renderer).add_to(app)
    ReferencePage(shown, renderer).add_to(app)
    SubmitPages(shown, renderer, system).add_to(app)


async def _missing(request: Request) -> HTTPResponse:
    del request
    return HTTPResponse(MISSING, status=501, content_type="text/plain; charset=utf-8")
