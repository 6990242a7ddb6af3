"""``prover list``: job groups by what they are searched for."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import attrs
import click
from rich.table import Column, Table
from rich.text import Text

from prover_framework.cli.common import console
from prover_framework.cli.operating import (
    namespace_option,
    url_option,
    with_reading,
)
from prover_framework.cli.styles import STYLES
from prover_framework.errors import RequestError
from prover_framework.model.jobs import JobState
from prover_framework.model.listing import MAX_LIMIT, GroupPage, GroupQuery, parse_query
from prover_framework.model.names import DEFAULT_NAMESPACE
from prover_framework.operations import Reading
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json

MOST_GROUPS = 10_000

Command = TypeVar("Command", bound=Callable[..., Any])

FILTERS = (
    click.option(
        "--state",
        type=click.Choice([state.value for state in JobState]),
        help="Only groups with a job in this state.",
    ),
    click.option("--proof-type", help="Only groups with a job of this proof type."),
    click.option("--code", help="Only groups with a job that has this error code."),
    click.option(
        "--since",
        help="Only what was created then or later: Unix seconds, a UTC time such as "
        "2024-05-01T12:00, or how long ago, such as 24h.",
    ),
    click.option("--until", help="Only what was created before; likewise."),
    click.option("--text", help="Only groups whose id has this in it, in upper or lower case."),
)


def filter_options(command: Command) -> Command:
    """Give a command the options that say which groups are meant; `query_of` reads them."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


@click.command("list")
@filter_options
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_GROUPS),
    default=20,
    show_default=True,
    help="How many groups at the most.",
)
@click.option("--cursor", help="Go on where the list before ended.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@namespace_option
@url_option
def list_(limit: int, *, as_json: bool, **filters: str | None) -> None:
    """List the newest job groups, or those that are searched for.

    A job of the group has to have all that is asked for. Where there are more groups than are
    listed, standard error says how to go on; with --json it is next_cursor.
    """
    query = query_of(filters)

    async def read(reading: Reading) -> GroupPage:
        return await all_pages(reading.find, query, limit)

    page = with_reading(read)
    if as_json:
        click.echo(dump_json(unstructure(page)))
        return
    console().print(_table(page))
    if page.next_cursor is not None:
        click.echo(f"there may be more: repeat it with --cursor {page.next_cursor}", err=True)


def query_of(filters: Mapping[str, str | None]) -> GroupQuery:
    """Return the query that options ask for.

    Raises:
        UsageError: Some of them cannot be read.
    """
    given = {name: [value] for name, value in filters.items() if value is not None}
    try:
        return parse_query(given)
    except RequestError as error:
        problems = "\n  ".join(
            f"--{problem.where.replace('_', '-')}: {problem.what}" for problem in error.problems
        )
        raise click.UsageError(problems) from None


async def all_pages(
    find: Callable[[GroupQuery], Awaitable[GroupPage]], query: GroupQuery, limit: int
) -> GroupPage:
    """Read pages until there are as many groups as are wanted, or no more."""
    page = GroupPage(groups=(), next_cursor=None)
    while True:
        wanted = min(MAX_LIMIT, limit - len(page.groups))
        more = await find(attrs.evolve(query, limit=wanted))
        page = attrs.evolve(more, groups=(*page.groups, *more.groups))
        if more.next_cursor is None or len(page.groups) >= limit:
            return page
        query = query.from_cursor(more.next_cursor)


def named(group_id: str, namespace: str) -> str:
    """Return what a table calls a group."""
    return group_id if namespace == DEFAULT_NAMESPACE else f"{group_id} (namespace {namespace})"


def _table(page: GroupPage) -> Table:
    table = Table(
        Column("group", overflow="fold"),
        Column("state", no_wrap=True),
        "jobs",
        Column("created", overflow="fold"),
    )
    for group in page.groups:
        jobs = Text(", ").join(
            Text.assemble(f"{job.job_id} ", (job.status.value, STYLES.get(job.status, "")))
            + (f" ({job.error['code']})" if job.error else "")
            for job in group.jobs
        )
        table.add_row(
            named(group.job_group_id, group.namespace),
            Text(group.status.value, STYLES.get(group.status, "")),
            jobs,
            group.created_at,
        )
    return table


COMMANDS = (list_,)
