"""The command line's entry: its commands, and how it tells errors.

A command's module is imported when the command is used, so that none waits for what others need.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

import click
from attrs import frozen

from prover_framework.cli.exit_codes import FAILED, exit_code
from prover_framework.errors import ProverError


@frozen
class Place:
    """Where a command is, and what the list of commands says of it."""

    module: str
    help: str


COMMANDS: Mapping[str, Place] = MappingProxyType(
    {
        "up": Place("service", "Run API and worker together."),
        "api": Place("service", "Run the HTTP API alone."),
        "worker": Place("service", "Run a worker alone."),
        "submit": Place(
            "jobs", "Submit a job group, from flags or from a FILE with the JSON of POST /api/job."
        ),
        "status": Place("status", "Show the jobs of the group GROUP_ID: states, results, errors."),
        "list": Place("listing", "List the newest job groups, or those that are searched for."),
        "cancel": Place(
            "actions",
            "Call off jobs that have not ended: those of the group GROUP_ID, or what filters find.",
        ),
        "redrive": Place(
            "actions",
            "Try failed and cancelled jobs again, with new budgets: those of "
            "GROUP_ID, or what is found.",
        ),
        "delete": Place(
            "actions",
            "Remove groups that have ended, with results and receipts: GROUP_ID, or"
            " what filters find.",
        ),
        "receipt": Place(
            "receipts", "Write the receipt of the group GROUP_ID, or of its proof PROOF_TYPE alone."
        ),
        "seal": Place(
            "receipts",
            "Ask for seals on the receipts of the group GROUP_ID, which a worker makes then.",
        ),
        "verify": Place(
            "receipts",
            "Check the receipt TARGET: a file, or the id of a job group of this service.",
        ),
        "key": Place(
            "keys",
            'Manage the keys that sign receipts, and those of the API ("prover key api").',
        ),
        "headers": Place("headers", "Load block headers and see what is there."),
        "queue": Place("queues", "See how full the queue is, empty it, or make one on AWS SQS."),
        "dead": Place(
            "dead_letters", "See to dead letters: messages that nobody could understand."
        ),
        "check": Place(
            "check",
            "Look at settings, permissions, plugins, schema, headers, keys, queue and clock.",
        ),
        "backup": Place("moving", "Copy the embedded database to FILE, while the service runs."),
        "export": Place(
            "moving",
            "Write groups, receipts, attachments, headers and public keys to FILE, "
            'for "prover import".',
        ),
        "import": Place(
            "moving", 'Take in FILE, which "prover export" of the same version has written.'
        ),
        "new-plugin": Place("new_plugin", "Write a new plugin NAME as a distribution of its own."),
        "prune": Place(
            "pruning",
            "Remove groups that ended long ago, with results, receipts and "
            "attachments, and old events.",
        ),
        "stats": Place(
            "stats", "Show open jobs, queues and headers, and whether the service can do its work."
        ),
        "migrate": Place("system", "Bring the database's schema up to date."),
        "plugins": Place("system", "List the plugins that were found, and why any is not used."),
        "drain": Place(
            "workers", "Have the worker WORKER take no more jobs, finish what it has, and end."
        ),
        "workers": Place(
            "workers",
            "List the workers: who they are, what they compute, since when, and "
            "with which plugins.",
        ),
    }
)


class LazyCommands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's form
        """Return the names of the commands, in the order of the list."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is none of this name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module = import_module(f"prover_framework.cli.{place.module}")
        commands: tuple[click.Command, ...] = module.COMMANDS
        return next(command for command in commands if command.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in sorted(COMMANDS)])


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="prover-framework", prog_name="prover")
def prover() -> None:
    """Compute and serve proofs over the Ethereum base fee.

    Start with "prover headers simulate --days 90" and "prover up"; then "prover submit --help".
    Settings come from the environment and from a .env file in the working directory.
    """


def main() -> None:
    """Run the command line; an error the framework can explain is one line."""
    try:
        prover(prog_name="prover")
    except ProverError as error:
        click.echo(f"prover: {error}", err=True)
        sys.exit(exit_code(error))
    except OSError as error:
        # No space left where the output goes, no file descriptors left: the machine's words do.
        click.echo(f"prover: {error}", err=True)
        sys.exit(FAILED)
