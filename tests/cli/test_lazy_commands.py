"""Commands are imported when they are used; the list of them is a table that must be true."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from prover_framework import cli
from prover_framework.cli.main import COMMANDS, prover

# Runs commands, and says after each of them which packages and rooms are imported by then.
WHAT_IS_IMPORTED = """
import json, sys
from prover_framework.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["prover", *command]
    try:
        main()
    except SystemExit:
        pass
    whole = {name.partition(".")[0] for name in sys.modules}
    rooms = {".".join(name.split(".")[:2]) for name in sys.modules if "prover_framework." in name}
    print("imported:", *sorted(whole | rooms))
"""

# What commands wait for with no need: the ORM, HTTP, servers' drivers, AWS, traces, metrics.
DEAR = {
    *("tortoise", "pypika_tortoise", "sanic", "asyncpg", "aiobotocore", "botocore", "aiohttp"),
    *("jinja2", "opentelemetry", "pyarrow", "httpx"),
}

# What reads the database alone works where a plugin hangs, and has nothing of a running service.
OF_THE_SERVICE = {
    *(f"prover_framework.{room}" for room in ("app", "web", "worker", "proofs", "sandbox")),
    *("prover_framework.plugins", "prover_framework.monitoring", "prover_framework.queues.sqs"),
    *("prover_twap", "prover_reserve_price", "prover_max_return", "prover_pitchlake_journal"),
    *("numpy", "scipy", "prometheus_client", "pluggy", "cryptography"),
}

READING = (
    ("list",),
    ("list", "--json"),
    ("status", "g"),
    ("status", "g", "--verbose"),
    ("workers",),
    ("key", "api", "list"),
    ("queue", "status"),
    ("queue", "pause"),
)

# These need plugins, or rules of chains.
OTHERS = (
    ("submit", "--id", "g", "--range", "1709251200..1709337600"),
    ("plugins",),
    ("headers", "status"),
    ("stats",),
    ("receipt", "g"),
)


def defined() -> dict[str, tuple[str, click.Command]]:
    """Return each command with the module that it is in."""
    found: dict[str, tuple[str, click.Command]] = {}
    for module in pkgutil.iter_modules(cli.__path__):
        if not module.ispkg:
            commands = importlib.import_module(f"{cli.__name__}.{module.name}")
            for command in getattr(commands, "COMMANDS", ()):
                if isinstance(command, click.Command):
                    found[str(command.name)] = (module.name, command)
    return found


def test_the_table_has_each_command_and_its_own_words() -> None:
    assert {name: (place.module, place.help) for name, place in COMMANDS.items()} == {
        name: (module, command.get_short_help_str(1000))
        for name, (module, command) in defined().items()
    }


def test_each_command_is_found_and_no_other() -> None:
    context = click.Context(prover)
    assert prover.list_commands(context) == sorted(COMMANDS)
    for name, (_, command) in defined().items():
        assert prover.get_command(context, name) is command
    assert prover.get_command(context, "no-such") is None


def imported_by(commands: Sequence[Sequence[str]], data_dir: Path) -> dict[Sequence[str], set[str]]:
    """Run commands one after the other; return what is imported after each of them."""
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PROVER_DATA_DIR": str(data_dir)},
    )
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("imported:")]
    return {command: set(imported) for command, imported in zip(commands, said, strict=True)}


def test_help_imports_nothing_of_what_commands_need(tmp_path: Path) -> None:
    (imported,) = imported_by([("--help",)], tmp_path).values()
    assert not imported & {*DEAR, *OF_THE_SERVICE}
    assert not imported & {"prover_framework.database", "prover_framework.settings", "cattrs"}


def test_what_reads_imports_no_part_of_the_service_and_others_not_what_they_do_not_use(
    tmp_path: Path,
) -> None:
    imported_by([("headers", "simulate", "--days", "1"), OTHERS[0]], tmp_path)
    for command, imported in imported_by(READING, tmp_path).items():
        assert "prover_framework.database" in imported
        assert not imported & {*DEAR, *OF_THE_SERVICE}, command
    for command, imported in imported_by(OTHERS, tmp_path).items():
        assert not imported & DEAR, command
