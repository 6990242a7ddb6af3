"""Notice that somebody has committed to an embedded database, in this process or another.

A commit is written to the file of the write-ahead log. A thread looks at the time of that file: it
costs next to nothing, and where the file system hangs, nothing but the thread does. Of two commits
within one tick of the system's clock, some milliseconds, the second may not be seen; whoever waits
looks into the tables now and then all the same.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

# How often the file is looked at.
LOOK_SECONDS = 0.025


class CommitWatch:
    """Watches the file of a write-ahead log until it is stopped.

    Args:
        file: The file; it may not be there yet.
        on_commit: Called in the thread after a commit. It must return at once.
        look_seconds: How often to look.
    """

    def __init__(
        self, file: Path, on_commit: Callable[[], None], *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._file = file
        self._on_commit = on_commit
        self._look_seconds = look_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="commit watch", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer. A thread that hangs in the file system is left behind."""
        self._stopped.set()

    def _watch(self) -> None:
        before = self._mark()
        while not self._stopped.wait(self._look_seconds):
            now = self._mark()
            if now != before:
                before = now
                self._on_commit()

    def _mark(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._file)  # noqa: PTH116 - 40 times a second
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size
