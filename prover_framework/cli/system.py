"""``prover plugins`` and ``prover migrate``."""

import click
from rich.table import Column, Table

from prover_framework.cli.common import console, run, settings
from prover_framework.plugins import Plugin
from prover_framework.runtime import load_plugins, open_database


@click.command()
def plugins() -> None:
    """List the plugins that were found, and why any is not used.

    The exit status is 1 when one of them cannot be used.
    """
    found = load_plugins(settings()).found
    # What is wrong with a plugin is told in full, whatever the terminal's width.
    table = Table(
        *(Column(name, overflow="fold") for name in ("plugin", "proof type", "distribution")),
        Column("hooks"),
        Column("state", overflow="fold"),
    )
    for plugin in found:
        table.add_row(
            plugin.candidate.name,
            _type_of(plugin),
            f"{plugin.candidate.distribution} {plugin.candidate.version}",
            " ".join(plugin.hooks),
            _state_of(plugin),
        )
    console().print(table)
    if any(plugin.failure for plugin in found):
        raise click.exceptions.Exit(1)


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date."""

    async def apply() -> None:
        async with open_database(settings()) as database:
            click.echo(f"the schema of {database.path} is up to date")

    run(apply())


def _type_of(plugin: Plugin) -> str:
    if plugin.proof_type is None:
        return ""
    required = ", required" if plugin.proof_type.required else ""
    return f"{plugin.proof_type.title} {plugin.proof_type.version}{required}"


def _state_of(plugin: Plugin) -> str:
    if plugin.failure:
        return f"not used: {plugin.failure}"
    return "disabled" if plugin.disabled else "in use"


COMMANDS = (plugins, migrate)
