"""``prover plugins`` and ``prover migrate``."""

import click
from rich.table import Column, Table

from prover_framework.cli.common import console, run, settings
from prover_framework.database.opening import make_database
from prover_framework.plugins.catalogue import PluginState, catalogue, state_of
from prover_framework.plugins.registry import Plugin, Plugins
from prover_framework.sandbox.loading import load_plugins
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json

STATES = {PluginState.IN_USE: "in use", PluginState.DISABLED: "disabled"}


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print all there is to know, as GET /api/proof-types."
)
def plugins(*, as_json: bool) -> None:
    """List the plugins that were found, and why any is not used.

    The exit status is 1 when one of them cannot be used.
    """
    loaded = load_plugins(settings())
    if as_json:
        click.echo(dump_json(unstructure(catalogue(loaded))))
    else:
        console().print(_table(loaded))
    if any(plugin.failure for plugin in loaded.found):
        raise click.exceptions.Exit(1)


def _table(loaded: Plugins) -> Table:
    # What is wrong with a plugin is told in full, whatever the terminal's width.
    table = Table(
        *(Column(name, overflow="fold") for name in ("plugin", "proof type", "distribution")),
        Column("hooks"),
        Column("state", overflow="fold"),
    )
    for plugin in loaded.found:
        table.add_row(
            plugin.candidate.name,
            _type_of(plugin),
            f"{plugin.candidate.distribution} {plugin.candidate.version}",
            " ".join(plugin.hooks),
            _state_of(plugin),
        )
    return table


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date. Run twice at once, one does it."""

    async def apply() -> None:
        async with make_database(settings()) as database:
            for name in await database.migrate():
                click.echo(f"applied {name}")
            click.echo(f"the schema of {database.name} is up to date")

    run(apply())


def _type_of(plugin: Plugin) -> str:
    if plugin.proof_type is None:
        return ""
    required = ", required" if plugin.proof_type.required else ""
    return f"{plugin.proof_type.title} {plugin.proof_type.version}{required}"


def _state_of(plugin: Plugin) -> str:
    state = state_of(plugin)
    return f"not used: {plugin.failure}" if state is PluginState.FAILED else STATES[state]


COMMANDS = (plugins, migrate)
