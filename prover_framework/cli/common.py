"""What all commands share: settings, output, running asynchronous code."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from prover_framework.settings import Settings, load_settings

T = TypeVar("T")

DOTENV = Path(".env")


def settings() -> Settings:
    """Read the settings from the environment and the working directory's ``.env``."""
    return load_settings(os.environ, DOTENV)


def console() -> Console:
    """Return where results go."""
    return Console(highlight=False)


def progress_console() -> Console:
    """Return where progress goes: not into a pipe that wants results."""
    return Console(stderr=True, highlight=False)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work to its end."""
    return asyncio.run(work)


def start_logging(level: str) -> None:
    """Log to standard error, one line for each record."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
    # Queries at debug level hold parameters and results; connections are of no interest.
    for noisy in ("tortoise", "aiosqlite", "asyncio", "sanic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
