"""``prover check`` and ``prover worker check``: what is wrong, and what mends it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

import click
from rich.table import Column, Table
from rich.text import Text

from prover_framework.app import open_runtime
from prover_framework.cli.common import console, run, settings
from prover_framework.database.opening import open_database
from prover_framework.errors import PluginError, ProverError, SettingsError
from prover_framework.monitoring.diagnosis import (
    Finding,
    Grade,
    Part,
    of_clock,
    of_headers,
    of_keys,
    of_permissions,
    of_plugins,
    of_queues,
    of_settings,
)
from prover_framework.monitoring.sampling import Sample
from prover_framework.plugins.registry import Plugins
from prover_framework.sandbox.loading import load_plugins
from prover_framework.seals.making import signature_maker
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.settings import Settings
from prover_framework.variables import misspelt, unowned

STYLES = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.PROBLEM: "red"}

# A process that does not answer a probe within this time is to be started anew.
ANSWER_SECONDS = 8.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def check(*, as_json: bool) -> None:
    """Look at settings, permissions, plugins, schema, headers, keys, queue and clock.

    Each line says what was found and what mends it. Nothing is made or changed. The exit status is
    1 when there is a problem, and 0 when there are at most warnings.
    """
    found = [*_findings()]
    if as_json:
        click.echo(dump_json(unstructure(found)))
    else:
        console().print(_table(found))
    if any(finding.grade is Grade.PROBLEM for finding in found):
        raise click.exceptions.Exit(1)


def _findings() -> Iterator[Finding]:
    try:
        chosen = settings()
        chosen.queue_urls  # noqa: B018 - it may be that it cannot be read
    except SettingsError as error:
        yield Finding(Part.SETTINGS, Grade.PROBLEM, str(error), "docs/reference/settings.md")
        return
    yield from of_settings(chosen, [*misspelt(chosen.given_names)])
    yield from of_permissions(chosen)
    plugins = None
    try:
        plugins = load_plugins(chosen)
        yield from of_plugins(plugins, [*unowned(chosen.given_names, plugins.owners)])
    except PluginError as error:
        yield Finding(Part.PLUGINS, Grade.PROBLEM, str(error), "prover plugins says more")
    yield from of_keys(signature_maker(chosen), chosen.key_path)
    yield from _stored(chosen, plugins)


def _stored(chosen: Settings, plugins: Plugins | None) -> Iterator[Finding]:
    """Look at what is in the database, if it can be opened, and at what is reached with it."""
    file = chosen.embedded_file
    if file is not None and not file.exists():
        text = f"there is no database {file} yet"
        yield Finding(Part.SCHEMA, Grade.WARNING, text, "prover up makes it")
        return
    try:
        run(_open(chosen))
    except ProverError as error:
        remedy = "prover migrate" if "prover migrate" in str(error) else "docs/how-to/operate.md"
        yield Finding(Part.SCHEMA, Grade.PROBLEM, str(error), remedy)
        return
    yield Finding(Part.SCHEMA, Grade.OK, "it is this version's")
    try:
        sample = run(_sample(chosen, plugins or Plugins(found=(), hooks={})))
    except ProverError as error:
        yield Finding(Part.QUEUE, Grade.PROBLEM, str(error), "docs/how-to/operate.md")
        return
    yield from of_headers(chosen, sample)
    yield from of_queues(sample)
    yield from of_clock(sample)


async def _open(chosen: Settings) -> None:
    async with open_database(chosen):
        pass


async def _sample(chosen: Settings, plugins: Plugins) -> Sample:
    async with open_runtime(chosen, plugins) as runtime:
        return await runtime.monitoring.sample()


def _table(found: list[Finding]) -> Table:
    table = Table(
        Column("part", no_wrap=True),
        Column("", no_wrap=True),
        Column("found", overflow="fold"),
        Column("what mends it", overflow="fold"),
    )
    for finding in found:
        grade = Text(finding.grade.value, STYLES[finding.grade])
        table.add_row(finding.part.value, grade, finding.text, finding.remedy)
    return table


@click.command("check")
def check_worker() -> None:
    """Ask the worker or sync of this machine whether it can do its work, for probes of containers.

    It is asked on PROVER_MONITORING_PORT. The exit status is 0 when it is ready, and 1 when it is
    not or does not answer.
    """
    chosen = settings()
    if not chosen.monitoring_port:
        raise SettingsError("PROVER_MONITORING_PORT is not set to a port, so nothing can be asked")
    host = _reachable(chosen.monitoring_host)
    connection = HTTPConnection(host, chosen.monitoring_port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        document = json.load(connection.getresponse())
    except (OSError, HTTPException, ValueError) as error:
        where = f"{host}:{chosen.monitoring_port}"
        raise SettingsError(f"nobody answers at {where}: {error}") from None
    finally:
        connection.close()
    for name, state in document["checks"].items():
        click.echo(f"{name}: {state}")
    if document["status"] != "ready":
        raise click.exceptions.Exit(1)


def _reachable(host: str) -> str:
    """Return the loopback address where a process can be asked that listens everywhere."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "::1" if address.version == 6 else "127.0.0.1"


COMMANDS = (check,)
