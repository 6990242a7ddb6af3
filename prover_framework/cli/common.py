"""What all commands share: settings, output, running asynchronous code."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click
from rich.console import Console

from prover_framework.app import Runtime, open_runtime
from prover_framework.cli.exit_codes import INTERRUPTED
from prover_framework.model.names import NAMESPACE, NAMESPACE_RULE
from prover_framework.plugins.registry import Plugins
from prover_framework.settings import Settings, aws_variables, load_settings

T = TypeVar("T")

DOTENV = Path(".env")

# What reads the database alone waits for no plugin, and works where a plugin hangs.
NO_PLUGINS = Plugins(found=(), hooks={})


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
    """Read the settings from the environment and the working directory's ``.env``."""
    for name, text in aws_variables(DOTENV).items():
        os.environ.setdefault(name, text)
    return load_settings(os.environ, DOTENV)


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


def with_runtime(plugins: Plugins, use: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
    """Run asynchronous work with all parts of the service open."""

    async def work() -> T:
        async with open_runtime(settings(), plugins) as runtime:
            return await use(runtime)

    return run(work())
