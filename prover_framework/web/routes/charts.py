"""Charts over HTTP as plugins describe them, for whoever draws them elsewhere."""

from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from prover_framework.proofs.charts import ChartService
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.web.auth import group_of
from prover_framework.web.conditional import answer_once
from prover_framework.web.routes.receipts import READ


def add_chart_route(app: "Sanic[Any, Any]", charts: ChartService) -> None:
    """Add the charts of a group's results."""
    app.ctx.charts = charts
    app.add_route(
        _of_group, "/api/job/<group_id>/charts", methods=READ, name="group_charts", unquote=True
    )


async def _of_group(request: Request, group_id: str) -> HTTPResponse:
    charts: ChartService = request.app.ctx.charts
    found = await charts.document(group_of(request, group_id))
    return answer_once(request, dump_json(unstructure(found)).encode(), "application/json")
