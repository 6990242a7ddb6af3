"""What a computation that takes long has beside its arguments: progress, a directory, a log."""

import logging
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize

from attrs import frozen

from prover_framework.text import one_line

# One line of a table on a narrow terminal, and a bit more.
MAX_PROGRESS_TEXT = 200

# The log of a computation; what is written to any other logger reaches the service as well.
WORK_LOGGER = "work"


@frozen
class Progress:
    """How far a computation is.

    Args:
        fraction: How much of it is done, 0 to 1.
        text: What it is doing, one line of at most `MAX_PROGRESS_TEXT` characters.
    """

    fraction: float
    text: str = ""


def _nowhere(_: Progress) -> None:
    """Tell nobody of progress."""


class Work:
    """What a computation that takes long may use. ``compute`` is given one if it asks for ``work``.

    Nothing of it may change the digits: the same arguments give the same result with an empty
    directory, and nobody may be listening. Made without arguments, for tests, it tells nobody, and
    has a directory that lasts as long as itself.

    Args:
        directory: Where the kept directory is, or is made when it is asked for; None for one that
            is not kept.
        on_progress: Called with the progress.
        cache: The same of the cache.
    """

    def __init__(
        self,
        directory: Path | None = None,
        on_progress: Callable[[Progress], None] = _nowhere,
        cache: Path | None = None,
    ) -> None:
        self._kept = directory
        self._on_progress = on_progress
        self._cache = cache

    @cached_property
    def directory(self) -> Path:
        """A directory for checkpoints, kept from one attempt at the job to the next.

        It is kept on one machine, for one build of the plugin and the same arguments, and removed
        when the job has ended. It may be empty at any attempt, and a file in it may be half
        written: write to another name and rename.
        """
        return self._made(self._kept)

    @cached_property
    def cache(self) -> Path:
        """A directory of the plugin's own, kept on this machine from one call to the next.

        For what is made once and used again, such as the keys of a proof system. Several calls may
        use it at a time, it may be empty at any call, and what a killed call has left in it may be
        half written: write to another name and rename.
        """
        return self._made(self._cache)

    def _made(self, place: Path | None) -> Path:
        if place is None:
            temporary = mkdtemp(prefix="prover-work-")
            finalize(self, rmtree, temporary, ignore_errors=True)
            return Path(temporary)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place

    @property
    def log(self) -> logging.Logger:
        """A log whose records reach the service's, with group, job and plugin."""
        return logging.getLogger(WORK_LOGGER)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the computation is, as often as you like: what is too often is left out.

        Args:
            fraction: How much of it is done, 0 to 1; what lies outside counts as the nearer end.
            text: What it is doing, in one line; more than `MAX_PROGRESS_TEXT` characters are cut.

        Raises:
            TypeError: ``fraction`` is no number.
            ValueError: It is not a number (NaN).
        """
        if math.isnan(done := float(fraction)):
            raise ValueError("the fraction must be a number from 0 to 1, got nan")
        done = min(1.0, max(0.0, done))
        self._on_progress(Progress(done, one_line(str(text))[:MAX_PROGRESS_TEXT]))
