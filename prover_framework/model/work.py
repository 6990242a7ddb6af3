"""What a computation has beside its arguments: progress, a directory, a log, attachments."""

import logging
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import BinaryIO
from weakref import finalize

from attrs import frozen

from prover_framework.model.attaching import Attaching
from prover_framework.model.attachments import MAX_ATTACHMENTS, AttachmentPlace
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


# What a call without limits of its own, in a test, may attach.
TEST_BYTES = 2**30


class Work:
    """What a computation may use that takes long, or whose result is large.

    ``compute`` is given one if it asks for ``work``. Nothing of it may change the digits: the same
    arguments give the same result and attachments with an empty directory, and nobody may be
    listening. Made without arguments, for tests, it tells nobody, and has directories that last as
    long as itself.

    Args:
        directory: Where the kept directory is, or is made when it is asked for; None for one that
            is not kept.
        on_progress: Called with the progress.
        cache: The same of the cache.
        place: Where attachments are put, and within which limits; None for a place that is not
            kept, with limits that no test reaches.
        claimed: The files of attachments that are judged, by name, where there is no place.
    """

    def __init__(
        self,
        directory: Path | None = None,
        on_progress: Callable[[Progress], None] = _nowhere,
        cache: Path | None = None,
        place: AttachmentPlace | None = None,
        claimed: Mapping[str, Path] | None = None,
    ) -> None:
        self._kept = directory
        self._on_progress = on_progress
        self._cache = cache
        self._place = place
        self._claimed = claimed or {}

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
            return self._temporary()
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

    def attach(self, name: str, media_type: str) -> BinaryIO:
        """Attach a file to the result: write its bytes to what is returned, and close that.

        ::

            with work.attach("paths.csv", "text/csv") as file:
                file.write(b"...")

        They are part of what is claimed: the same arguments have to give the same bytes. A
        computation that fails has attached nothing.

        Args:
            name: Its name: 1 to 64 lower-case letters, digits, ``_``, ``.`` or ``-``.
            media_type: What kind of file it is, such as ``text/csv``.

        Raises:
            ResultInvalid: Name or media type are none, the name is there already, or there are more
                attachments, or more bytes, than the proof type's `Limits` allow. Writing raises
                this, too. Who catches it has the computation fail all the same.
        """
        return self._attaching.attach(name, media_type)

    def claimed(self, name: str) -> Path:
        """Return the file of an attachment that is judged, for a ``verify`` of the plugin's own.

        Its bytes are those that the statement has the digest of. Nobody but ``verify`` has any.

        Raises:
            AttachmentMissing: Whoever verifies has not been given it. Let it pass: what is judged
                is then neither right nor wrong.
        """
        return self._attaching.claimed(name)

    @property
    def attached(self) -> Mapping[str, Path]:
        """The files that were attached, by name."""
        return self._attaching.files

    def close(self) -> None:
        """Close what was attached. Whoever makes the call does that.

        Raises:
            ResultInvalid: More was attached than may be.
        """
        if self._place is not None:
            self._attaching.close()

    @cached_property
    def _attaching(self) -> Attaching:
        place = self._place or AttachmentPlace(
            directory=str(self._temporary()),
            attachments=MAX_ATTACHMENTS,
            attachment_bytes=TEST_BYTES,
            attachments_bytes=TEST_BYTES,
            claimed={name: str(path) for name, path in self._claimed.items()},
        )
        return Attaching(place)

    def _temporary(self) -> Path:
        temporary = mkdtemp(prefix="prover-work-")
        finalize(self, rmtree, temporary, ignore_errors=True)
        return Path(temporary)
