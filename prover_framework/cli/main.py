"""The command line's entry: its commands, and how it tells errors."""

import sys

import click

from prover_framework.cli import dead_letters as dead
from prover_framework.cli import headers, jobs, new_plugin, receipts, stats, system
from prover_framework.cli import queues as queue
from prover_framework.cli import service as processes
from prover_framework.errors import ProverError

EXIT_FAILED = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="prover-framework", prog_name="prover")
def prover() -> None:
    """Compute and serve proofs over the Ethereum base fee.

    Start with "prover headers simulate --days 90" and "prover up"; then "prover submit --help".
    Settings come from the environment and from a .env file in the working directory.
    """


for module in (processes, jobs, receipts, headers, queue, dead, stats, system, new_plugin):
    for command in module.COMMANDS:
        prover.add_command(command)


def main() -> None:
    """Run the command line; an error the framework can explain is one line."""
    try:
        prover(prog_name="prover")
    except ProverError as error:
        click.echo(f"prover: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except OSError as error:
        # No space left where the output goes, no file descriptors left: the machine's words do.
        click.echo(f"prover: {error}", err=True)
        sys.exit(EXIT_FAILED)
