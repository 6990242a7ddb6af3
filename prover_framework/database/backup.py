"""A copy of the embedded database, made while others write to it."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from prover_framework.errors import TransferError
from prover_framework.files import synchronise

# Pages that are copied before others get their turn: a few milliseconds.
PAGES_AT_ONCE = 1000
TURN_SECONDS = 0.005


def back_up(
    source: Path, target: Path, on_progress: Callable[[int, int], None] | None = None
) -> int:
    """Copy a database as it stands at one moment; the file appears whole or not at all.

    Args:
        source: The database, which others may use meanwhile.
        target: The copy; no file may have this name.
        on_progress: Told how many pages are copied, and how many there are.

    Returns:
        The size of the copy in bytes.

    Raises:
        TransferError: There is no database, the copy is there already, or cannot be made.
    """
    if not source.is_file():
        raise TransferError(f"there is no database {source}")
    if target.exists():
        raise TransferError(f"{target} exists already: name another file")
    part = target.with_name(f"{target.name}~")
    try:
        # For its owner only, as the database is.
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(part)) as copy,
        ):
            live.backup(
                copy,
                pages=PAGES_AT_ONCE,
                progress=_progress(on_progress),
                sleep=TURN_SECONDS,
            )
            # One file, with nothing beside it that could be forgotten.
            copy.execute("PRAGMA journal_mode=DELETE")
            (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise TransferError(
                    f"the copy of {source} is damaged, and so is the database: {found}"
                )
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
        synchronise(target.absolute().parent)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        raise TransferError(f"{source} cannot be copied to {target}: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def _progress(
    on_progress: Callable[[int, int], None] | None,
) -> Callable[[int, int, int], None]:
    def tell(_: int, left: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total - left, total)

    return tell
