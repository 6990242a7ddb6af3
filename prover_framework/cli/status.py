"""``prover status``: one job group."""

import click

from prover_framework.cli.operating import (
    installed_plugins,
    namespace_option,
    url_option,
    with_operations,
    with_reading,
)
from prover_framework.cli.tables import show_charts, show_group
from prover_framework.cli.waiting import require_success, timeout_option, watch
from prover_framework.model.charts import GroupCharts
from prover_framework.model.views import GroupView
from prover_framework.operations import Operations, Reading


@click.command()
@click.argument("group_id")
@click.option("--wait", is_flag=True, help="Show the jobs until all have ended.")
@timeout_option
@click.option(
    "--verbose",
    is_flag=True,
    help="Show all that is stored: parameters, queue, worker, deadlines, each attempt.",
)
@click.option(
    "--chart",
    is_flag=True,
    help="Draw the charts of the results as well. On this machine that loads the plugins.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@namespace_option
@url_option
def status(
    group_id: str, timeout: float | None, *, wait: bool, verbose: bool, chart: bool, as_json: bool
) -> None:
    """Show the jobs of the group GROUP_ID: states, results, errors.

    With --wait the exit status is 1 unless all jobs succeeded.
    """
    if chart and as_json:
        raise click.UsageError("--chart draws; GET /api/job/<group_id>/charts is the JSON")

    async def read(reading: Reading) -> GroupView:
        if wait:
            await watch(reading, group_id, timeout=timeout)
        return await reading.status(group_id, verbose=verbose)

    async def draw(operations: Operations) -> tuple[GroupView, GroupCharts]:
        return await read(operations), await operations.charts(group_id)

    charts: GroupCharts | None = None
    if chart:
        group, charts = with_operations(installed_plugins, draw)
    else:
        group = with_reading(read)
    show_group(group, as_json=as_json)
    if charts is not None:
        show_charts(charts)
    if wait:
        require_success(group)


COMMANDS = (status,)
