"""Commands are imported when they are used; the list of them is a table that must be true."""

import importlib
import pkgutil
import subprocess
import sys

import click

from prover_framework import cli
from prover_framework.cli.main import COMMANDS, prover

WHAT_IS_IMPORTED = """
import sys
from prover_framework.cli import main
sys.argv = ["prover", "--help"]
try:
    main()
finally:
    print(*sorted(name for name in sys.modules if name in ("tortoise", "sanic", "asyncpg")))
"""


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


def test_help_imports_nothing_of_what_commands_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED], capture_output=True, text=True, check=True
    )
    assert "Write a new plugin" in done.stdout
    assert done.stdout.splitlines()[-1] == ""
