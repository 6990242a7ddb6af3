"""Job groups as tables."""

from collections.abc import Iterator, Mapping

import click
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from prover_framework.charts.terminal import draw_text
from prover_framework.cli.common import console
from prover_framework.cli.styles import STYLES
from prover_framework.model.charts import GroupCharts
from prover_framework.model.priorities import USUAL_PRIORITY
from prover_framework.model.proofs import split_job_id
from prover_framework.model.seals import SealState
from prover_framework.model.views import GroupView, JobView, SealView, VerboseJobView
from prover_framework.receipts.evidence import EVIDENCE
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json

# Wider, a curve is no easier to read.
MAX_CHART_WIDTH = 100

SEAL_STYLES: Mapping[SealState, str] = {
    SealState.MADE: "green",
    SealState.FAILED: "red",
    SealState.MAKING: "cyan",
}


def show_group(group: GroupView, *, as_json: bool) -> None:
    """Print a group."""
    if as_json:
        click.echo(dump_json(unstructure(group)))
    else:
        console().print(group_table(group))


def show_charts(group: GroupCharts) -> None:
    """Draw the charts of a group's results."""
    out = console()
    width = min(out.width, MAX_CHART_WIDTH)
    for job in group.jobs:
        for chart in job.charts:
            out.print()
            out.print(Text(job.job_id, "dim"))
            out.print(draw_text(chart, width), soft_wrap=True)
        if not job.charts:
            why = job.failure or "none are described"
            out.print(Text(f"{job.job_id}: no charts: {why}", "dim"))


def group_table(group: GroupView) -> Group:
    """Return a group as a table, with notes on its jobs below it."""
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
            notes.extend(Text(line, "dim") for line in _stored(job))
            notes.extend(Text(line, "dim") for line in _history(job))
    notes.extend(_seal_note("(group)", seal) for seal in group.seals)
    title = Text.assemble(("group ", "dim"), group.job_group_id)
    if group.priority != USUAL_PRIORITY:
        title.append(f", priority {group.priority}", "dim")
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


def _stored(job: VerboseJobView) -> Iterator[str]:
    """Tell what is stored of a job and not in the table."""
    yield f"{job.job_id}, id {job.id}: parameters {dump_json(job.parameters)}"
    yield (
        f"    queue {job.queue}, worker {job.worker or 'none'}, created {job.created_at}, queued "
        f"{job.queued_at or 'not yet'}, {job.sends} messages, {job.failures} failures, "
        f"{job.losses} losses"
    )
    ends = {
        "may begin": job.not_before,
        "lease ends": job.lease_until,
        "waits for data until": job.data_deadline,
    }
    if told := ", ".join(f"{what} {at}" for what, at in ends.items() if at is not None):
        yield f"    {told}"


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
