"""Who waits to write to a file of SQLite, for those who write a lot to know.

SQLite has no line of waiting writers: whoever finds the write lock taken sleeps and looks again,
and one who takes it again and again without a pause leaves him nothing to find. So each writer
holds a lock of the operating system's while he waits, which others can ask about without waiting.
It ends with his process, however that ends.

The lock is on the write-ahead log: SQLite itself locks nothing there, every process with an open
connection has the same one, and it belongs to whom the database belongs to.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Asking takes some microseconds, in which nobody can say that he waits. Who finds that tries again
# a few times: the one who asks may have been put aside by a busy machine just then.
TRIES = 5
TRY_SECONDS = 0.001


class WriteTurns:
    """One connection's view of who waits to write.

    Args:
        log_file: The write-ahead log of the database.
    """

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the log, which is there while a connection is open that has read something."""
        self.close()
        # Without it nobody knows who waits, as on a file system that has no such locks.
        with suppress(OSError):
            self._descriptor = os.open(self._log_file, os.O_RDONLY)

    def close(self) -> None:
        """Close the log."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let others see, while the body runs, that it waits to write, or writes."""
        said = self._say()
        try:
            yield
        finally:
            if said and self._descriptor is not None:
                with suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _say(self) -> bool:
        if self._descriptor is None:
            return False
        for _ in range(TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TRY_SECONDS)
            except OSError:
                return False
            else:
                return True
        return False

    def is_anybody_waiting(self) -> bool | None:
        """Return whether another connection, of any process, waits to write; None if unknown."""
        if self._descriptor is None:
            return None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False
