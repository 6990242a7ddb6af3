"""Charts of results: on the page of their group, at addresses of their own, as table and CSV."""

from typing import Any

from attrs import frozen
from markupsafe import Markup
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.charts.rows import Rows, rows_of
from prover_framework.charts.svg import draw
from prover_framework.model.charts import Chart
from prover_framework.model.names import group_id_of, namespace_of
from prover_framework.web.auth import group_of
from prover_framework.web.conditional import answer_once
from prover_framework.web.pages.parts import Shown
from prover_framework.web.pages.rendering import (
    PAGE_HEADERS,
    OfGroup,
    Renderer,
    in_namespace,
    segment,
)
from prover_framework.web.pages.results import ResultTexts

# Rows of the table on one page.
TABLE_ROWS = 500


@frozen(kw_only=True)
class Figure:
    """A chart on a page.

    Args:
        chart: The chart.
        drawing: It as SVG.
        address: Where it is by itself, without an ending.
        where: What its addresses have at their end.
    """

    chart: Chart
    drawing: Markup
    address: str
    where: str = ""

    def page(self, first: int) -> str:
        """Return where its data is shown from a row on."""
        return f"{self.address}{self.where}{'&' if self.where else '?'}from={first}"


@frozen(kw_only=True)
class ChartPage(OfGroup):
    """A chart with its data."""

    job_title: str
    figure: Figure
    rows: Rows
    first: int

    @property
    def shown(self) -> tuple[tuple[str, ...], ...]:
        """The rows of this page."""
        return self.rows.rows[self.first : self.first + TABLE_ROWS]

    @property
    def following(self) -> int | None:
        """Where the next page begins, if there is one."""
        following = self.first + TABLE_ROWS
        return following if following < len(self.rows.rows) else None

    @property
    def before(self) -> int | None:
        """Where the page before begins, if there is one."""
        return max(self.first - TABLE_ROWS, 0) if self.first else None


def figure_of(key: str, job_id: str, chart: Chart) -> Figure:
    """Return a chart of a stored group as a page shows it."""
    address = f"/groups/{segment(group_id_of(key))}/charts/{segment(job_id)}/{chart.name}"
    identifier = f"chart-{job_id.replace('@', '-')}-{chart.name}"
    # Everything in it that comes from a plugin is escaped there.
    drawing = Markup(draw(chart, identifier=identifier))  # noqa: S704
    where = in_namespace(namespace_of(key))
    return Figure(chart=chart, drawing=drawing, address=address, where=where)


class ChartPages:
    """The addresses of charts.

    Args:
        shown: What they show.
        renderer: Makes pages of views.
    """

    def __init__(self, shown: Shown, renderer: Renderer) -> None:
        self._charts = shown.charts
        self._renderer = renderer
        self._texts = ResultTexts(shown.service.catalogue())

    def add_to(self, app: "Sanic[Any, Any]") -> None:
        """Add the routes."""
        place = "/groups/<group_id>/charts/<job_id>/<name:[a-z][a-z0-9_-]*>"
        show = self._renderer.show
        show(app, place, self._page, "chart")
        show(app, place.replace("]*>", r"]*\.svg>"), self._svg, "chart_svg")
        show(app, place.replace("]*>", r"]*\.csv>"), self._csv, "chart_csv")

    async def _page(self, request: Request, group_id: str, job_id: str, name: str) -> HTTPResponse:
        key = group_of(request, group_id)
        chart = await self._find(key, job_id, name)
        first = request.args.get("from", "0")
        view = ChartPage(
            key=key,
            job_title=self._texts.title(job_id),
            figure=figure_of(key, job_id, chart),
            rows=rows_of(chart),
            first=int(first) if first.isascii() and first.isdigit() and len(first) < 9 else 0,
        )
        return self._renderer.page(request, "chart.html", view)

    async def _svg(self, request: Request, group_id: str, job_id: str, name: str) -> HTTPResponse:
        key = group_of(request, group_id)
        chart = await self._find(key, job_id, name.removesuffix(".svg"))
        content = draw(chart, alone=True).encode()
        return answer_once(request, content, "image/svg+xml", dict(PAGE_HEADERS))

    async def _csv(self, request: Request, group_id: str, job_id: str, name: str) -> HTTPResponse:
        key = group_of(request, group_id)
        chart = await self._find(key, job_id, name.removesuffix(".csv"))
        file = f"{group_id}.{job_id}.{chart.name}.csv".replace(":", "_")
        headers = {**PAGE_HEADERS, "Content-Disposition": f'attachment; filename="{file}"'}
        content = rows_of(chart).csv().encode()
        return answer_once(request, content, "text/csv; charset=utf-8", headers)

    async def _find(self, key: str, job_id: str, name: str) -> Chart:
        return (await self._charts.of_job(key, job_id)).named(name)
