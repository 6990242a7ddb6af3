"""``prover workers`` and ``drain``: who computes, and has to end."""

import click
from rich.table import Column, Table

from prover_framework.cli.common import console
from prover_framework.cli.operating import url_option, with_reading
from prover_framework.model.workers import WorkersView
from prover_framework.operations import Reading
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@url_option
def workers(*, as_json: bool) -> None:
    """List the workers: who they are, what they compute, since when, and with which plugins."""

    async def read(reading: Reading) -> WorkersView:
        return await reading.workers()

    known = with_reading(read)
    if as_json:
        click.echo(dump_json(unstructure(known)))
        return
    table = Table(
        Column("worker", overflow="fold"),
        "queue",
        "state",
        "version",
        Column("plugins", overflow="fold"),
        "slots",
        Column("since", overflow="fold"),
        Column("seen", overflow="fold"),
        Column("jobs", overflow="fold"),
    )
    for one in known.workers:
        table.add_row(
            one.worker,
            one.queue,
            one.status.value,
            one.version,
            ", ".join(one.plugins),
            str(one.slots),
            one.started_at,
            one.seen_at,
            ", ".join(one.jobs),
        )
    console().print(table)
    for pause in known.paused:
        reason = f": {pause.reason}" if pause.reason else ""
        console().print(f"queue {pause.queue} is paused since {pause.paused_at}{reason}")


@click.command()
@click.argument("worker")
@url_option
def drain(worker: str) -> None:
    """Have the worker WORKER take no more jobs, finish what it has, and end.

    It begins within two seconds. "prover workers" lists them.
    """

    async def act(reading: Reading) -> None:
        await reading.drain(worker)

    with_reading(act)
    click.echo(f"{worker} finishes what it has, and ends")


COMMANDS = (workers, drain)
