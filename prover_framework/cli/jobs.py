"""``prover submit``: a new job group."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from prover_framework.cli.operating import (
    namespace_option,
    url_option,
    with_operations,
)
from prover_framework.cli.parameters import Given, ParametersCommand, given
from prover_framework.cli.tables import show_group
from prover_framework.cli.waiting import followed, require_success, timeout_option
from prover_framework.errors import RequestError
from prover_framework.model.names import GROUP_ID_KEY
from prover_framework.model.priorities import HIGHEST_PRIORITY, LOWEST_PRIORITY, USUAL_PRIORITY
from prover_framework.model.views import GroupView
from prover_framework.operations import Operations
from prover_framework.serialization.json_text import Json, dump_json

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.command(cls=ParametersCommand)
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--id", "group_id", help="The job group id. Default: one is made up.")
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="[TYPE=]START..END",
    help="Time range, for one proof type or (without TYPE) for all required ones that have none "
    "of their own. Unix timestamps or UTC times such as 2024-05-01T12:00. May be repeated.",
)
@click.option(
    "--priority",
    type=click.IntRange(LOWEST_PRIORITY, HIGHEST_PRIORITY),
    default=USUAL_PRIORITY,
    show_default=True,
    help="Of the groups that wait for a worker, those of the highest priority come first.",
)
@click.option("--wait", is_flag=True, help="Show the jobs until all have ended.")
@timeout_option
@_as_json
@namespace_option
@url_option
def submit(
    file: Path | None,
    group_id: str | None,
    ranges: tuple[str, ...],
    priority: int,
    timeout: float | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Submit a job group, from flags or from a FILE with the JSON of POST /api/job.

    \b
    Example:
      prover submit --id round-7 --range 2024-03-01..2024-05-30 --wait

    A parameter of a proof type is an option of its own, --TYPE.NAME; those of the proof types that
    are installed here are listed below.

    With --wait the exit status is 1 unless all jobs succeeded.
    """  # noqa: D301 - click looks for the character itself
    wanted = given()
    if file and (group_id is not None or ranges or wanted.values):
        raise click.UsageError("give either a FILE or flags, not both")
    body = file.read_bytes() if file else dump_json(_document(wanted, group_id, ranges)).encode()

    async def send(operations: Operations) -> GroupView:
        accepted = await operations.submit(body, priority=priority)
        return await followed(operations, accepted, wait=wait, timeout=timeout)

    try:
        group = with_operations(lambda: wanted.plugins, send, stores=True)
    except RequestError as error:
        raise click.UsageError("\n  ".join(map(str, error.problems))) from None
    show_group(group, as_json=as_json)
    if wait:
        require_success(group)


def _document(wanted: Given, group_id: str | None, ranges: Sequence[str]) -> dict[str, Json]:
    """Build the body of a request from flags; what is wrong with its content the service says."""
    spans: dict[str, dict[str, Json]] = {}
    for text in ranges:
        name, _, span = text.rpartition("=")
        start, dots, end = span.partition("..")
        if not dots:
            raise click.BadParameter(f"{text!r} is not [TYPE=]START..END", param_hint="--range")
        if name in spans:
            whose = name or "all required proof types"
            raise click.BadParameter(
                f"{text!r} is the second range for {whose}", param_hint="--range"
            )
        spans[name] = {"start_timestamp": _timestamp(start), "end_timestamp": _timestamp(end)}
    forms: dict[str, dict[str, Json]] = {}
    if (for_all := spans.pop("", None)) is not None:
        forms.update(
            {name: dict(for_all) for name, kind in wanted.types.items() if kind.is_required}
        )
    forms.update(spans)
    for name, values in wanted.values.items():
        forms.setdefault(name, {}).update(values)
    if group_id is None:
        group_id = f"cli-{secrets.token_hex(6)}"
    return {**forms, GROUP_ID_KEY: group_id}


def _timestamp(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a Unix timestamp nor a time such as 2024-05-01T12:00",
            param_hint="--range",
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


COMMANDS = (submit,)
