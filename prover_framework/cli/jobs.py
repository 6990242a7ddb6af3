"""``prover submit``, ``status``, ``list``, ``cancel``, ``redrive``, ``verify``: job groups."""

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from prover_framework.app import Runtime, load_plugins
from prover_framework.cli.common import (
    NO_PLUGINS,
    console,
    namespace_option,
    progress_console,
    require_namespace,
    settings,
    stored_group,
    with_runtime,
)
from prover_framework.cli.parameters import Given, ParametersCommand, given
from prover_framework.errors import RequestError
from prover_framework.jobs.service import Acceptance
from prover_framework.jobs.views import GroupView, JobView, SealView, VerboseJobView
from prover_framework.model.callers import Caller
from prover_framework.model.jobs import FINAL, JobState
from prover_framework.model.names import DEFAULT_NAMESPACE, GROUP_ID_KEY
from prover_framework.model.proofs import split_job_id
from prover_framework.model.seals import SealState
from prover_framework.receipts.evidence import EVIDENCE
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json, dump_json

T = TypeVar("T")

REFRESH_SECONDS = 0.2

# A worker that runs takes a job at once. Who waits for longer than this may have started none.
PATIENCE_SECONDS = 10.0

STYLES: Mapping[JobState, str] = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "red",
    JobState.RUNNING: "cyan",
    JobState.WAITING: "yellow",
}

SEAL_STYLES: Mapping[SealState, str] = {
    SealState.MADE: "green",
    SealState.FAILED: "red",
    SealState.MAKING: "cyan",
}

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
@click.option("--wait", is_flag=True, help="Show the jobs until all have ended.")
@namespace_option
@_as_json
def submit(
    file: Path | None,
    group_id: str | None,
    ranges: tuple[str, ...],
    namespace: str,
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

    caller = Caller(namespace=require_namespace(namespace))

    async def send(runtime: Runtime) -> GroupView:
        request = runtime.service.parse(body)
        return await _accepted(runtime, await runtime.service.submit(request, caller), wait=wait)

    try:
        group = with_runtime(wanted.plugins, send)
    except RequestError as error:
        raise click.UsageError("\n  ".join(map(str, error.problems))) from None
    _show(group, as_json=as_json)
    if wait:
        _require_success(group)


@click.command()
@click.argument("group_id")
@click.option("--wait", is_flag=True, help="Show the jobs until all have ended.")
@click.option("--verbose", is_flag=True, help="Show each attempt, with its worker and its error.")
@namespace_option
@_as_json
def status(group_id: str, namespace: str, *, wait: bool, verbose: bool, as_json: bool) -> None:
    """Show the jobs of the group GROUP_ID: states, results, errors.

    With --wait the exit status is 1 unless all jobs succeeded.
    """
    key = stored_group(namespace, group_id)

    async def read(runtime: Runtime) -> GroupView:
        if wait:
            await watch(runtime, key)
        if verbose:
            return await runtime.service.verbose_status(key)
        return await runtime.service.status(key)

    group = with_runtime(NO_PLUGINS, read)
    _show(group, as_json=as_json)
    if wait:
        _require_success(group)


@click.command("list")
@click.option(
    "--state",
    type=click.Choice([state.value for state in JobState]),
    help="Only groups with a job in this state.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many groups at the most.",
)
@click.option("--namespace", help="Only groups of this namespace. Default: those of all.")
@_as_json
def list_(state: str | None, limit: int, namespace: str | None, *, as_json: bool) -> None:
    """List the newest job groups."""
    if namespace is not None:
        require_namespace(namespace)

    async def read(runtime: Runtime) -> list[GroupView]:
        return await runtime.service.list(
            state=JobState(state) if state else None, limit=limit, namespace=namespace
        )

    groups = with_runtime(NO_PLUGINS, read)
    if as_json:
        click.echo(dump_json(unstructure(groups)))
        return
    table = Table(
        Column("group", overflow="fold"),
        Column("state", no_wrap=True),
        "jobs",
        Column("created", overflow="fold"),
    )
    for group in groups:
        jobs = Text(", ").join(
            Text.assemble(f"{job.job_id} ", (job.status.value, STYLES.get(job.status, "")))
            for job in group.jobs
        )
        table.add_row(
            _name(group),
            Text(group.status.value, STYLES.get(group.status, "")),
            jobs,
            group.jobs[0].created_at,
        )
    console().print(table)


@click.command()
@click.argument("group_id")
@namespace_option
@_as_json
def cancel(group_id: str, namespace: str, *, as_json: bool) -> None:
    """Call off the jobs of the group GROUP_ID that have not ended.

    A computation that runs is stopped within a third of PROVER_LEASE_SECONDS. "prover redrive"
    brings the jobs back.
    """
    key = stored_group(namespace, group_id)

    async def call_off(runtime: Runtime) -> GroupView:
        return await runtime.service.cancel(key)

    _show(with_runtime(load_plugins(settings()), call_off), as_json=as_json)


@click.command()
@click.argument("group_id")
@click.option("--wait", is_flag=True, help="Show the jobs until all have ended.")
@namespace_option
@_as_json
def redrive(group_id: str, namespace: str, *, wait: bool, as_json: bool) -> None:
    """Try the failed and cancelled jobs of the group GROUP_ID again, with new budgets.

    With --wait the exit status is 1 unless all jobs succeeded.
    """
    key = stored_group(namespace, group_id)

    async def send(runtime: Runtime) -> GroupView:
        return await _accepted(runtime, await runtime.service.redrive(key), wait=wait)

    group = with_runtime(load_plugins(settings()), send)
    _show(group, as_json=as_json)
    if wait:
        _require_success(group)


def _require_success(group: GroupView) -> None:
    if group.status is not JobState.SUCCEEDED:
        raise click.exceptions.Exit(1)


def _document(wanted: Given, group_id: str | None, ranges: Sequence[str]) -> dict[str, Json]:
    """Build the body of a request from flags; what is wrong with its content the service says."""
    types = wanted.plugins.proof_types
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
        forms.update({name: dict(for_all) for name in types if types[name].required})
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


async def watch(
    runtime: Runtime, group_id: str, *, patience_seconds: float = PATIENCE_SECONDS
) -> GroupView:
    """Wait until all jobs have ended; show them meanwhile where standard error is a terminal.

    Args:
        runtime: The service.
        group_id: The key of the group.
        patience_seconds: When to ask whether a worker runs, if none has taken a job until then.
    """
    group = await runtime.service.status(group_id)
    begun = asyncio.get_running_loop().time()
    hinted = False
    with Live(
        _table(group), console=progress_console(), transient=True, auto_refresh=False
    ) as view:
        while group.status not in FINAL:
            await asyncio.sleep(REFRESH_SECONDS)
            group = await runtime.service.status(group_id)
            view.update(_table(group), refresh=True)
            waited = asyncio.get_running_loop().time() - begun
            if not hinted and waited > patience_seconds and _untouched(group):
                hinted = True
                view.console.print('no worker has taken a job yet: is "prover up" running?')
    return group


async def _accepted(runtime: Runtime, acceptance: Acceptance, *, wait: bool) -> GroupView:
    """Tell what was not sent; return the group, if so asked when all of its jobs have ended."""
    for title, reason in acceptance.unsent:
        click.echo(f"{title}: stored, and not sent yet: {reason}", err=True)
    if wait:
        return await watch(runtime, acceptance.group_id)
    return await runtime.service.status(acceptance.group_id)


def _name(group: GroupView) -> str:
    """Name a group to people: with its namespace, where that is not the default one."""
    if group.namespace == DEFAULT_NAMESPACE:
        return group.job_group_id
    return f"{group.job_group_id} (namespace {group.namespace})"


def _untouched(group: GroupView) -> bool:
    return not any(job.attempts for job in group.jobs)


def _show(group: GroupView, *, as_json: bool) -> None:
    if as_json:
        click.echo(dump_json(unstructure(group)))
    else:
        console().print(_table(group))


def _table(group: GroupView) -> Group:
    # A terminal may be too narrow for all; names and results are what has to stay whole.
    table = Table(
        Column("proof", no_wrap=True),
        Column("state", no_wrap=True),
        "attempts",
        Column("result", no_wrap=True),
        Column("finished", overflow="fold"),
    )
    notes: list[Text] = []
    for job in group.jobs:
        table.add_row(
            job.job_id,
            Text(_state(job), STYLES.get(job.status, "")),
            str(job.attempts),
            _number(job),
            job.finished_at or "",
        )
        if job.progress and job.progress.text:
            notes.append(Text(f"{job.job_id}: {job.progress.text}", "cyan"))
        if job.error:
            notes.append(Text(f"{job.job_id}: {job.error['message']}", "yellow"))
        if said := other_version(job):
            notes.append(Text(f"{job.job_id}: {said}", "yellow"))
        notes.extend(_seal_note(job.job_id, seal) for seal in job.seals)
        for one in job.attachments:
            about = f"{one.media_type}, {one.size:,} bytes, SHA-256 {one.sha256}"
            notes.append(Text(f"{job.job_id}: attached {one.name}: {about}", "dim"))
        if isinstance(job, VerboseJobView):
            notes.extend(Text(line, "dim") for line in _history(job))
    notes.extend(_seal_note("(group)", seal) for seal in group.seals)
    title = Text.assemble(("group ", "dim"), _name(group))
    return Group(title, table, *notes)


def _seal_note(whose: str, seal: SealView) -> Text:
    """Tell of a seal that is made after its receipt."""
    why = f": {seal.error['message']}" if seal.error else ""
    style = SEAL_STYLES.get(seal.status, "dim")
    return Text(f"{whose}: seal {seal.kind} {seal.status.replace('_', ' ')}{why}", style)


def _state(job: JobView) -> str:
    """Name the state of a job, and how far it is where it says so."""
    if job.progress is None:
        return job.status.value
    # Rounded down: what is not done is not shown as done.
    return f"{job.status.value} {int(job.progress.fraction * 100)} %"


def _history(job: VerboseJobView) -> Iterator[str]:
    """Tell of each attempt at a job: who, when, and what came of it."""
    for one in job.history:
        yield (
            f"{job.job_id}, attempt {one.number}: {one.worker}, "
            f"{one.started_at} to {one.ended_at or 'now'}"
        )
        if one.error:
            yield f"    {one.error['code']}: {one.error['message']}"
        yield from (f"    at {place}" for place in one.traceback)


def other_version(job: JobView) -> str:
    """Say that a job was computed by another version of the method than it was accepted under."""
    evidence = job.result.get(EVIDENCE) if isinstance(job.result, dict) else None
    version = evidence.get("version") if isinstance(evidence, dict) else None
    if version is None or job.method_version in (None, version):
        return ""
    return f"accepted under method {job.method_version}, computed under {version}"


def _number(job: JobView) -> str:
    if not isinstance(job.result, dict):
        return ""
    value = job.result.get(split_job_id(job.job_id)[0])
    if value is None:
        return ""
    return f"{value:,.6f}" if isinstance(value, float) else str(value)


COMMANDS = (submit, status, list_, cancel, redrive)
