"""Directories that are for their owner only, and changes to them that a power cut does not undo."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

# What a mode grants to others than the owner.
FOR_OTHERS = 0o077


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, for their owner only.

    One that is there is left as it is: it may hold other things.

    Raises:
        OSError: It cannot be made.
    """
    missing = [directory for directory in (path, *path.parents) if not os.path.lexists(directory)]
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)
        synchronise(directory.parent)
    # What is there may be a file.
    path.mkdir(exist_ok=True)


def synchronise(directory: Path) -> None:
    """Let a power cut undo nothing that was done to the names in a directory.

    Raises:
        OSError: The system did not do so.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Write a file that appears whole when the body has ended, or not at all.

    Args:
        path: The file; one that is there is replaced.
        mode: Who may read it.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f"{path.name}~")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        synchronise(path.absolute().parent)
    finally:
        part.unlink(missing_ok=True)
