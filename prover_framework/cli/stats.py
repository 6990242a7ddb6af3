"""``prover stats``: what a service holds, and whether it can work."""

import click
from rich.table import Table

from prover_framework.app import Runtime
from prover_framework.chain.store import RecentHeaders
from prover_framework.cli.common import console, settings, with_runtime
from prover_framework.jobs.outbox import Undelivered
from prover_framework.monitoring.readiness import Check, Readiness
from prover_framework.monitoring.sampling import OpenJobs, Sample
from prover_framework.queues.base import QueueStatus
from prover_framework.sandbox.loading import load_plugins
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def stats(*, as_json: bool) -> None:
    """Show open jobs, queues and headers, and whether the service can do its work.

    The same numbers are at /metrics, the same checks, without their reasons, at /health/ready.
    The exit status is 1 when a check has failed.
    """

    async def look(runtime: Runtime) -> tuple[Sample, Readiness]:
        return await runtime.monitoring.sample(), await runtime.monitoring.readiness()

    sample, readiness = with_runtime(load_plugins(settings()), look)
    if as_json:
        found = {"sample": unstructure(sample), "checks": unstructure(readiness.checks)}
        click.echo(dump_json(found))
    else:
        _show(sample, readiness)
    if not readiness.is_ready:
        raise click.exceptions.Exit(1)


def _show(sample: Sample, readiness: Readiness) -> None:
    out = console()
    out.print(_checks(readiness.checks))
    if sample.jobs:
        out.print(_jobs(sample.at or 0.0, sample.jobs))
    else:
        out.print("no job is open")
    for some in sample.undelivered:
        out.print(_events(sample.at or 0.0, some))
    for name, status in sample.queues.items():
        out.print(_queue(name, status))
    if sample.headers is not None:
        out.print(_headers(sample.at or 0.0, sample.headers))


def _checks(checks: tuple[Check, ...]) -> Table:
    table = Table("check", "state", "what is wrong")
    for check in checks:
        table.add_row(check.name, check.state.value, check.detail)
    return table


def _jobs(now: float, jobs: tuple[OpenJobs, ...]) -> Table:
    table = Table("proof type", "state", "jobs", "oldest", "workers lost", "not capable")
    for some in jobs:
        table.add_row(
            some.proof_type,
            some.state.value,
            f"{some.count:,}",
            _age(now - some.oldest_at / 1000),
            f"{some.losses:,}",
            f"{some.not_capable:,}",
        )
    return table


def _events(now: float, some: Undelivered) -> str:
    what = "have no number yet" if some.observer is None else f"wait for plugin {some.observer}"
    return f"events: {some.count:,} {what}, the oldest for {_age(now - some.oldest_at / 1000)}"


def _queue(name: str, status: QueueStatus | None) -> str:
    if status is None:
        return f"queue {name}: does not answer"
    dead = "no place for" if status.dead_letters is None else f"{status.dead_letters:,}"
    return (
        f"queue {name}: {status.visible:,} visible, {status.in_flight:,} in flight, "
        f"{status.delayed:,} delayed, {dead} dead letters"
    )


def _headers(now: float, headers: RecentHeaders) -> str:
    return (
        f"headers of chain {headers.chain.chain_id}: block {headers.newest_block:,} is the newest, "
        f"{_age(now - headers.newest_timestamp)} old; of the week up to it "
        f"{headers.missing_blocks:,} are missing"
    )


def _age(seconds: float) -> str:
    """Write a duration in its largest whole unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


COMMANDS = (stats,)
