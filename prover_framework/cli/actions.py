"""``prover cancel``, ``redrive`` and ``delete``: one job, a group, or all that a filter finds."""

from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import click
from rich.table import Column, Table

from prover_framework.cli.common import console
from prover_framework.cli.listing import filter_options, query_of
from prover_framework.cli.operating import (
    installed_plugins,
    namespace_option,
    url_option,
    with_operations,
)
from prover_framework.cli.tables import show_group
from prover_framework.cli.waiting import followed, require_success, timeout_option
from prover_framework.model.actions import Accepted, Action, ActionReport
from prover_framework.model.jobs import JobState
from prover_framework.model.listing import GroupQuery
from prover_framework.model.views import GroupView
from prover_framework.operations import Operations
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json

# What one command acts on at the most: it says so, and is given again for the rest.
MOST_GROUPS = 10_000

# Groups that one request acts on: each is some transactions, and an answer has a minute.
GROUPS_AT_ONCE = 50

DONE = {Action.CANCEL: "cancelled", Action.REDRIVE: "tried again", Action.DELETE: "removed"}

_group_id = click.argument("group_id", required=False)
_job = click.option(
    "--job", "job_id", help="Only this job of the group, by its id in it. Default: all."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done, and to what.")
_yes = click.option("--yes", is_flag=True, help="Do not ask for a confirmation.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.command()
@_group_id
@_job
@filter_options
@_dry_run
@_yes
@_as_json
@namespace_option
@url_option
def cancel(
    group_id: str | None,
    job_id: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Call off jobs that have not ended: those of the group GROUP_ID, or what filters find.

    A computation that runs is stopped within a third of PROVER_LEASE_SECONDS. "prover redrive"
    brings the jobs back.
    """
    if group_id is None:
        _on_found(Action.CANCEL, job_id, filters, dry_run=dry_run, yes=yes, as_json=as_json)
    else:
        _refuse_filters(filters)
        _on_group(Action.CANCEL, group_id, job_id, dry_run=dry_run, as_json=as_json)


@click.command()
@_group_id
@_job
@filter_options
@click.option("--force", is_flag=True, help="Try again also what cannot succeed.")
@click.option("--wait", is_flag=True, help="Show the jobs of the group until all have ended.")
@timeout_option
@_dry_run
@_yes
@_as_json
@namespace_option
@url_option
def redrive(
    group_id: str | None,
    job_id: str | None,
    timeout: float | None,
    *,
    force: bool,
    wait: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Try failed and cancelled jobs again, with new budgets: those of GROUP_ID, or what is found.

    What cannot succeed is left out, and why: the same method would come to the same error again.
    With --wait the exit status is 1 unless all jobs succeeded.
    """
    if group_id is None:
        if wait:
            raise click.UsageError("--wait is for one group")
        _on_found(
            Action.REDRIVE, job_id, filters, dry_run=dry_run, yes=yes, as_json=as_json, force=force
        )
    else:
        _refuse_filters(filters)
        _on_group(
            Action.REDRIVE,
            group_id,
            job_id,
            dry_run=dry_run,
            as_json=as_json,
            force=force,
            wait=wait,
            timeout=timeout,
        )


@click.command()
@_group_id
@filter_options
@_dry_run
@_yes
@_as_json
@namespace_option
@url_option
def delete(
    group_id: str | None, *, dry_run: bool, yes: bool, as_json: bool, **filters: str | None
) -> None:
    """Remove groups that have ended, with results and receipts: GROUP_ID, or what filters find.

    Nothing brings them back. "prover receipt" and "prover prune --export" keep receipts.
    """
    if group_id is None:
        _on_found(Action.DELETE, None, filters, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    _refuse_filters(filters)

    async def preview(operations: Operations) -> ActionReport:
        return await operations.act(Action.DELETE, group_id, dry_run=True)

    async def act(operations: Operations) -> ActionReport:
        return await operations.act(Action.DELETE, group_id)

    _confirm_and_act(Action.DELETE, preview, act, dry_run=dry_run, yes=yes, as_json=as_json)


def _on_group(
    action: Action,
    group_id: str,
    job_id: str | None,
    *,
    dry_run: bool,
    as_json: bool,
    force: bool = False,
    wait: bool = False,
    timeout: float | None = None,
) -> None:
    async def act(operations: Operations) -> tuple[ActionReport, GroupView | None]:
        report = await operations.act(action, group_id, job_id, dry_run=dry_run, force=force)
        if dry_run:
            return report, None
        accepted = Accepted(group_id, report.groups[0].unsent)
        return report, await followed(operations, accepted, wait=wait, timeout=timeout)

    report, group = with_operations(installed_plugins, act)
    if group is None:
        _show(report, as_json=as_json)
        return
    succeeded = {job.job_id for job in group.jobs if job.status is JobState.SUCCEEDED}
    for one in report.groups[0].left_out:
        # Nobody wonders that a result is not computed again.
        if one.job_id not in succeeded and not (action is Action.CANCEL and job_id is None):
            click.echo(f"left out: {one.job_id}: {one.reason}", err=True)
    show_group(group, as_json=as_json)
    if wait:
        require_success(group)


def _on_found(
    action: Action,
    job_id: str | None,
    filters: dict[str, str | None],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    force: bool = False,
) -> None:
    if job_id is not None:
        raise click.UsageError("--job needs a GROUP_ID")
    query = query_of(filters)
    if not query.has_filters:
        raise click.UsageError("give a GROUP_ID, or say by filters such as --state which are meant")

    async def preview(operations: Operations) -> ActionReport:
        return await _all_pages(operations, action, query, dry_run=True, force=force)

    async def act(operations: Operations) -> ActionReport:
        return await _all_pages(operations, action, query, dry_run=False, force=force)

    _confirm_and_act(action, preview, act, dry_run=dry_run, yes=yes, as_json=as_json)


def _confirm_and_act(
    action: Action,
    preview: Callable[[Operations], Coroutine[Any, Any, ActionReport]],
    act: Callable[[Operations], Coroutine[Any, Any, ActionReport]],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if dry_run or not yes:
        report = with_operations(installed_plugins, preview)
        if dry_run:
            _show(report, as_json=as_json)
            return
        jobs = sum(len(group.jobs) for group in report.groups)
        groups = sum(bool(group.jobs) for group in report.groups)
        if jobs:
            click.confirm(f"{action} {jobs} jobs of {groups} groups?", abort=True, err=True)
    _show(with_operations(installed_plugins, act), as_json=as_json)


async def _all_pages(
    operations: Operations, action: Action, query: GroupQuery, *, dry_run: bool, force: bool
) -> ActionReport:
    """Act page by page. What comes or goes meanwhile is in one page or in none."""
    query = attrs.evolve(query, limit=GROUPS_AT_ONCE)
    report = ActionReport(action=action, dry_run=dry_run, groups=())
    while True:
        more = await operations.act_on_found(action, query, dry_run=dry_run, force=force)
        report = attrs.evolve(more, groups=(*report.groups, *more.groups))
        if more.next_cursor is None or len(report.groups) >= MOST_GROUPS:
            return report
        query = query.from_cursor(more.next_cursor)


def _show(report: ActionReport, *, as_json: bool) -> None:
    if as_json:
        click.echo(dump_json(unstructure(report)))
        return
    done = f"would be {DONE[report.action]}" if report.dry_run else DONE[report.action]
    table = Table(
        Column("group", overflow="fold"),
        Column(done, overflow="fold"),
        Column("left out", overflow="fold"),
    )
    for group in report.groups:
        left_out = "; ".join(f"{one.job_id}: {one.reason}" for one in group.left_out)
        table.add_row(group.job_group_id, ", ".join(group.jobs), left_out)
        for reason in group.unsent:
            click.echo(f"{group.job_group_id}: not sent yet: {reason}", err=True)
    console().print(table)
    if report.next_cursor is not None:
        click.echo("there may be more: repeat the command", err=True)


def _refuse_filters(filters: dict[str, str | None]) -> None:
    if given := [name for name, value in filters.items() if value is not None]:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"give either a GROUP_ID or filters ({options}), not both")


COMMANDS = (cancel, redrive, delete)
