"""What all commands share: settings, output, running asynchronous code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from rich.console import Console

from prover_framework.cli.exit_codes import INTERRUPTED
from prover_framework.errors import GroupNotFound, SettingsError
from prover_framework.logs import LogForm, start_logging
from prover_framework.model.moments import not_seconds
from prover_framework.model.names import DEFAULT_NAMESPACE, NAMESPACE, NAMESPACE_RULE, group_key
from prover_framework.settings import Settings, aws_variables, load_settings
from prover_framework.variables import Unknown, misspelt

if TYPE_CHECKING:
    from prover_framework.app import Runtime
    from prover_framework.plugins.registry import Plugins

log = logging.getLogger(__name__)

T = TypeVar("T")

DOTENV = Path(".env")


def require_namespace(namespace: str) -> str:
    """Return a namespace that can be one.

    Raises:
        click.BadParameter: It cannot.
    """
    if not NAMESPACE.fullmatch(namespace):
        raise click.BadParameter(f"{namespace!r} is not {NAMESPACE_RULE}", param_hint="--namespace")
    return namespace


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a process to stop; under nohup the terminal's end does not."""
    hang_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if hang_up else ()))


# What reads from a pipe or a file wants whole values in one line, and not a page's width.
PIPE_WIDTH = 10_000


def settings() -> Settings:
    """Read the settings from the environment and the working directory's ``.env``; start the log.

    Whoever waits for a command's result wants to see what is wrong, not all that is done; commands
    that run on start the log anew.
    """
    for name, text in aws_variables(DOTENV).items():
        os.environ.setdefault(name, text)
    chosen = load_settings(os.environ, DOTENV)
    level = "WARNING" if chosen.log_level == "INFO" else chosen.log_level
    start_logging(level, LogForm(chosen.log_format))
    _tell_unknown(tuple(misspelt(chosen.given_names)))
    return chosen


@cache
def _tell_unknown(unknown: tuple[Unknown, ...]) -> None:
    """Name the variables that have no effect, once in a process."""
    for each in unknown:
        log.warning("%s", each)


def in_seconds(_: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    """Refuse a timestamp that is plainly in milliseconds or microseconds."""
    if value is not None and (complaint := not_seconds(value)):
        raise click.BadParameter(complaint, param=parameter)
    return value


def console() -> Console:
    """Return where results go."""
    return _console(sys.stdout)


def progress_console() -> Console:
    """Return where progress goes: not into a pipe that wants results."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    # Names and messages are shown as they are: brackets are no markup, ":x:" is no emoji.
    width = None if file.isatty() else PIPE_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work to its end.

    Raises:
        Exit: Ctrl-C ended it.
    """
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        click.echo("Aborted!", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


async def until_signalled(work: Coroutine[Any, Any, None]) -> bool:
    """Run work to its end, or until Ctrl-C or SIGTERM; return whether it was stopped so."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    numbers = stop_signals()
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    return stopped


def stored() -> Settings:
    """Read the settings for a command that reads what is stored: it makes no database.

    Raises:
        SettingsError: There is no embedded database where the settings say.
    """
    chosen = settings()
    require_stored(chosen)
    return chosen


def require_stored(chosen: Settings) -> None:
    """Require that the embedded database of the settings is there.

    Raises:
        SettingsError: It is not.
    """
    file = chosen.embedded_file
    if file is not None and not file.exists():
        raise SettingsError(
            f"there is no database {file}: name its directory with PROVER_DATA_DIR, or begin one "
            'with "prover up" or "prover headers import"'
        )


def stored_queue() -> Settings:
    """Read the settings for a command that looks at a queue; the embedded one is in a database.

    Raises:
        SettingsError: See `stored`.
    """
    chosen = settings()
    return chosen if chosen.queue_urls else stored()


def stored_key(namespace: str | None, group_id: str) -> str:
    """Return what a group of a namespace is stored under; None is the usual one.

    Raises:
        GroupNotFound: No group can have this id.
    """
    try:
        return group_key(namespace or DEFAULT_NAMESPACE, group_id)
    except ValueError:
        raise GroupNotFound(group_id) from None


@contextmanager
def telling_of_new(chosen: Settings) -> Iterator[None]:
    """Say, after the body, where the embedded database is that it has made."""
    file = chosen.embedded_file
    was_there = file is None or file.exists()
    yield
    if file is not None and not was_there and file.exists():
        click.echo(f"prover: a new database: {file}", err=True)


def with_runtime(
    plugins: "Plugins",
    use: Callable[["Runtime"], Coroutine[Any, Any, T]],
    *,
    stores: bool = False,
) -> T:
    """Run asynchronous work with all parts of the service open.

    Args:
        plugins: The plugins, loaded.
        use: The work.
        stores: Whether it may begin a database; who only reads is told that there is none.
    """
    # Imported where it is used: all parts of the service take half a second.
    from prover_framework.app import open_runtime

    chosen = settings() if stores else stored()

    async def work() -> T:
        async with open_runtime(chosen, plugins) as runtime:
            return await use(runtime)

    with telling_of_new(chosen):
        return run(work())
