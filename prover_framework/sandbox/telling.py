"""What a sandbox process tells while it makes a call: progress and records of the log, bounded."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from prover_framework.model.work import Progress
from prover_framework.sandbox.protocol import NOTE, LogLine, Note, framed
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json
from prover_framework.text import describe_error, one_line

# How often progress is told at once, and a second after that. People and databases need no more.
PROGRESS_AT_ONCE = 10
PROGRESS_A_SECOND = 5.0

# The same of records of the log.
LINES_AT_ONCE = 100
LINES_A_SECOND = 10.0

MAX_LOGGER_NAME = 100


class Allowance:
    """Lets something happen so often at once, and so often a second after that.

    Args:
        at_once: How often at once.
        a_second: How often a second.
        clock: Seconds that only grow.
    """

    def __init__(
        self, at_once: int, a_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = float(at_once)
        self._a_second = a_second
        self._clock = clock
        self._left = self._most
        self._at = clock()

    def spend(self) -> bool:
        """Return whether it may happen now, and count it if so."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Telling(logging.Handler):
    """Sends what is told, and the reply, over the one connection.

    A thread that a call has left behind, and a process that it has forked, tell nobody anything.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._sending = threading.Lock()
        self._token: bytes | None = None
        self._pid = os.getpid()
        self._begin()

    def _begin(self) -> None:
        self._progress = Allowance(PROGRESS_AT_ONCE, PROGRESS_A_SECOND)
        self._lines = Allowance(LINES_AT_ONCE, LINES_A_SECOND)
        self._left_out = 0

    def begin(self, token: bytes) -> None:
        """Tell what comes from now on as what this call tells."""
        self._begin()
        self._token = token

    def end(self, reply: bytes) -> None:
        """Send the reply of the call; nothing is told after it."""
        self._tell_left_out()
        with self._sending:
            self._token = None
            self._connection.sendall(framed(reply))

    def progress(self, progress: Progress) -> None:
        """Tell of progress, unless that was done too often."""
        if self._progress.spend():
            self._send(Note(progress=progress))

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a record of the log, unless there were too many."""
        if not self._lines.spend():
            self._left_out += 1
            return
        self._tell_left_out()
        self._send(Note(line=_line(record)))

    def _tell_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        if count:
            text = f"left out {count} more lines"
            self._send(Note(line=LogLine(level=logging.WARNING, logger="", text=text)))

    def _send(self, note: Note) -> None:
        text = NOTE + dump_json(unstructure(note)).encode()
        with self._sending:
            if self._token is None or os.getpid() != self._pid:
                return
            self._connection.sendall(framed(self._token + text))


def _line(record: logging.LogRecord) -> LogLine:
    try:
        text = record.getMessage()
    except Exception:
        # Its arguments do not fit, or are of a class that cannot be shown.
        text = str(record.msg)
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text}: {describe_error(record.exc_info[1])}"
    level = min(max(int(record.levelno), logging.DEBUG), logging.CRITICAL)
    return LogLine(level=level, logger=one_line(record.name)[:MAX_LOGGER_NAME], text=one_line(text))
