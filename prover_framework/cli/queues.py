"""``prover queue``: the queues, on SQS or in a table.

AWS's library is imported where it is used: all other commands start quicker without it.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from rich.table import Table

from prover_framework.cli.common import console, run, settings, stored_queue
from prover_framework.cli.operating import url_option, with_reading
from prover_framework.database.opening import open_database
from prover_framework.errors import SettingsError
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.names import DEFAULT_QUEUE
from prover_framework.operations import Reading
from prover_framework.queues.base import QueueStatus
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.settings import Settings

if TYPE_CHECKING:
    from prover_framework.queues.sqs.admin import CreatedQueue

DEFAULT_NAME = "prover-jobs"

# The commands make one call after the other.
CONNECTIONS = 1

_queue = click.option(
    "--queue", default=DEFAULT_QUEUE, show_default=True, help="Name of the queue in the settings."
)


@click.group()
def queue() -> None:
    """See how full the queue is, empty it, or make one on AWS SQS.

    For SQS, endpoint, region and credentials are the usual AWS variables and profiles.
    """


@queue.command()
@click.argument("name", default=DEFAULT_QUEUE)
@click.option("--reason", default="", help="Why, for those who see it.")
@url_option
def pause(name: str, reason: str) -> None:
    """Have no worker take jobs of the queue NAME, until it is resumed.

    Workers obey within two seconds. What they have they finish; jobs are accepted, and wait.
    """

    async def act(reading: Reading) -> None:
        await reading.pause(name, reason)

    with_reading(act)
    click.echo(f"queue {name} is paused")


@queue.command()
@click.argument("name", default=DEFAULT_QUEUE)
@url_option
def resume(name: str) -> None:
    """Have workers take jobs of the queue NAME again."""

    async def act(reading: Reading) -> bool:
        return await reading.resume(name)

    was_paused = with_reading(act)
    click.echo(f"queue {name} {'goes on' if was_paused else 'was not paused'}")


@queue.command()
@click.argument("name", required=False)
@click.option(
    "--fifo", is_flag=True, help="Make a FIFO queue; the name gets .fifo at its end if missing."
)
def create(name: str | None, *, fifo: bool) -> None:
    """Make the queue NAME with its dead-letter queue, and print its URL.

    NAME defaults to the one in SQS_QUEUE_URL, or prover-jobs. The dead-letter queue is NAME-dead.
    Running it again changes nothing; an existing queue only gains a dead-letter queue if it has
    none.
    """
    from prover_framework.queues.sqs import admin as sqs_admin
    from prover_framework.queues.sqs.client import open_client

    url = settings().sqs_queue_url
    chosen = name or (_name_in(url) if url else DEFAULT_NAME)

    async def make() -> "CreatedQueue":
        async with open_client(CONNECTIONS) as client:
            return await sqs_admin.create_queue(client, chosen, fifo=fifo)

    created = run(make())
    for note in created.notes:
        click.echo(f"the queue exists: {note}", err=True)
    click.echo(created.url)


@queue.command()
@_queue
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(queue: str, *, as_json: bool) -> None:
    """Show how full the queue is, and how many dead letters it has.

    SQS's counts are approximate and may be a minute old.
    """
    found = run(_status(stored_queue(), queue))
    if as_json:
        click.echo(dump_json(unstructure(found)))
        return
    table = Table(show_header=False)
    table.add_row("queue", found.url or queue)
    table.add_row("waiting", f"{found.visible:,}")
    table.add_row("in work or hidden", f"{found.in_flight:,}")
    table.add_row("delayed", f"{found.delayed:,}")
    if found.dead_letters is None:
        table.add_row("dead letters", 'no dead-letter queue; "prover queue create" makes one')
    else:
        table.add_row("dead letters", f"{found.dead_letters:,}")
    if found.dead_letter_url:
        table.add_row("", found.dead_letter_url)
    console().print(table)


async def _status(chosen: Settings, queue: str) -> QueueStatus:
    if not chosen.queue_urls:
        async with open_database(chosen) as database:
            return await JobStore(database, RetryPolicy()).queue_status(queue)
    from prover_framework.queues.sqs.admin import PATIENCE_SECONDS
    from prover_framework.queues.sqs.client import open_client
    from prover_framework.queues.sqs.status import queue_status

    chosen.require_queue(queue)
    url = chosen.queue_urls[queue]
    async with open_client(CONNECTIONS) as client:
        return await queue_status(client, url, queue=queue, seconds=PATIENCE_SECONDS)


@queue.command()
@_queue
@click.confirmation_option(
    "--yes",
    prompt="Remove all messages from the queue?",
    help="Do not ask.",
)
def purge(queue: str) -> None:
    """Remove all messages from the queue; its dead letters stay.

    Jobs that are not final are in the database and are sent again by the workers' sweep. To end a
    job, cancel it.
    """
    run(_purge(settings(), queue))
    click.echo(f"queue {queue} is purged")


async def _purge(chosen: Settings, queue: str) -> None:
    if not chosen.queue_urls:
        raise SettingsError(
            "nothing to purge: the queue is the table of jobs, which has no messages; "
            '"prover cancel GROUP" ends the jobs of a group'
        )
    from prover_framework.queues.sqs import admin as sqs_admin
    from prover_framework.queues.sqs.client import open_client

    chosen.require_queue(queue)
    async with open_client(CONNECTIONS) as client:
        await sqs_admin.purge_queue(client, chosen.queue_urls[queue], name=queue)


def _name_in(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


COMMANDS = (queue,)
