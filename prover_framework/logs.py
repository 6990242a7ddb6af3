"""The log: how its lines look, how often one may repeat, and how lasting trouble is told."""

import logging
import math
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import TextIO

import attrs
from attrs import define

from prover_framework.log_context import NOTHING, LogContext, log_context


class LogForm(StrEnum):
    """How the lines of the log look."""

    TEXT = "text"
    """For people."""
    JSON = "json"
    """For machines: an object in each line."""


# A line for people: in UTC, with what it is about behind it where it does not say so itself.
TEXT_LINE = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s%(about)s"
TEXT_TIME = "%Y-%m-%dT%H:%M:%S"

# The fields of what a line is about, and those that people are shown: a process has one worker,
# which it names when it starts.
CONTEXT = tuple(field.name for field in attrs.fields(LogContext))
SHOWN = tuple(name for name in CONTEXT if name != "worker")

# What a record has for the text form alone.
ABOUT = "about"

# What each line for machines has beside its time and what it is about, and how that is called.
MEMBERS = "%(levelname)s %(name)s %(message)s %(process)d"
MEMBER_NAMES = {"levelname": "level", "name": "logger", "exc_info": "stack"}

# The logger of the trace of hook calls. Whoever asks for it wants all of it.
TRACE_LOGGER = "prover_framework.plugins.trace"

# The logger of requests, one line for each. It is left out or whole.
ACCESS_LOGGER = "prover_framework.web.requests"

# Whose lines are written as they come.
UNBOUNDED = frozenset({TRACE_LOGGER, ACCESS_LOGGER})

# The same line, word for word, in one period. Whoever watches sees that it goes on.
SAME_LINES = 5

# Lines from one place in the code in one period, whatever they say: what a client sends is often
# part of them. Some hundred jobs can end in this time, each with a line.
LINES_OF_A_PLACE = 500

PERIOD_SECONDS = 10.0

# Lines and places that are remembered.
MAX_REMEMBERED = 1000

# The first wait of what goes wrong, and the longest. What is back is noticed within the latter.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 10.0

# Queries at debug level hold parameters and results; connections are of no interest.
# AWS's library would log signed requests and whole messages.
NOISY = ("tortoise", "aiosqlite", "asyncio", "sanic", "botocore", "aiobotocore")


def start_logging(level: str, form: LogForm = LogForm.TEXT) -> None:
    """Log to standard error, one line for each record, none of them without end."""
    handler = BoundedHandler(sys.stderr)
    dress(handler, form)
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each, BoundedHandler)]:
        root.removeHandler(before)
        before.close()
    root.addHandler(handler)
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It tells each vain attempt to connect with its stack; whoever needed the connection says why.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)


def dress(handler: logging.Handler, form: LogForm) -> None:
    """Give the lines of a handler their form, and what they are about."""
    handler.setFormatter(_formatter(form))
    handler.addFilter(_tell_people if form is LogForm.TEXT else _tell_context)


def log_form() -> LogForm:
    """Return the form of this process's log; text where none was started."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BoundedHandler):
            is_text = type(handler.formatter) is logging.Formatter
            return LogForm.TEXT if is_text else LogForm.JSON
    return LogForm.TEXT


def _formatter(form: LogForm) -> logging.Formatter:
    if form is LogForm.TEXT:
        text = logging.Formatter(TEXT_LINE, TEXT_TIME, defaults={ABOUT: ""})
        text.converter = time.gmtime
        return text
    # Imported where it is used: commands for people do without it.
    from pythonjsonlogger.core import RESERVED_ATTRS
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        MEMBERS,
        rename_fields=MEMBER_NAMES,
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, ABOUT],
    )


def _tell_context(record: logging.LogRecord) -> bool:
    """Note on a record what it is about."""
    context = log_context()
    if context is not NOTHING:
        for name in CONTEXT:
            if (value := getattr(context, name)) is not None and name not in record.__dict__:
                setattr(record, name, value)
    return True


def _tell_people(record: logging.LogRecord) -> bool:
    """Note on a record what it is about and does not say itself."""
    _tell_context(record)
    about = [(name, record.__dict__[name]) for name in SHOWN if name in record.__dict__]
    if about:
        text = _text(record)
        told = " ".join(f"{name}={value}" for name, value in about if value not in text)
        record.about = f" [{told}]" if told else ""
    return True


@define
class _Count:
    """How often something was logged since a time, and how often it was left out."""

    first: logging.LogRecord
    since: float
    written: int = 0
    left_out: int = 0


class _Counts:
    """Counts of the current period, each by what it counts; so many and no more.

    Args:
        most: How often each may be written.
        tell: Called with a count that is forgotten and was left out.
    """

    def __init__(self, most: int, tell: Callable[[_Count], None]) -> None:
        self._most = most
        self._tell = tell
        # The oldest come first: each is put at the end when its period begins.
        self._counts: OrderedDict[tuple[object, ...], _Count] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def admit(self, key: tuple[object, ...], record: logging.LogRecord, now: float) -> bool:
        """Count a record; return whether it may be written."""
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= MAX_REMEMBERED:
                self._forget()
            count = self._counts[key] = _Count(record, now)
        if count.written >= self._most:
            count.left_out += 1
            return False
        count.written += 1
        return True

    def forget(self, before: float) -> None:
        """Forget, and tell, what was counted in periods that began before a time."""
        while self._counts and next(iter(self._counts.values())).since <= before:
            self._forget()

    def _forget(self) -> None:
        _, count = self._counts.popitem(last=False)
        if count.left_out:
            self._tell(count)


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes records to a stream, but no line, and no place in the code, without end.

    What is left out is counted, and told with the next record after the period, or at the end.
    The trace of plugins' hooks, requests and debug records are written as they come: who asks for
    them wants all of them.

    Args:
        stream: Where the lines go.
        clock: Seconds that only grow.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._places = _Counts(LINES_OF_A_PLACE, self._tell_place)
        self._lines = _Counts(SAME_LINES, self._tell_line)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        if record.levelno <= logging.DEBUG or record.name in UNBOUNDED:
            super().emit(record)
            return
        now = self._clock()
        self._forget(now - PERIOD_SECONDS)
        place = (record.name, record.levelno, record.pathname, record.lineno)
        line = (record.name, record.levelno, _text(record))
        if self._lines.admit(line, record, now) and self._places.admit(place, record, now):
            super().emit(record)

    def close(self) -> None:
        """Tell what was left out."""
        self.acquire()
        try:
            self._forget(math.inf)
        finally:
            self.release()
        super().close()

    def _forget(self, before: float) -> None:
        self._places.forget(before)
        self._lines.forget(before)

    def _tell_place(self, count: _Count) -> None:
        self._tell(count, f"like: {_text(count.first)}")

    def _tell_line(self, count: _Count) -> None:
        self._tell(count, f"of: {_text(count.first)}")

    def _tell(self, count: _Count, what: str) -> None:
        first = count.first
        super().emit(
            logging.LogRecord(
                first.name,
                first.levelno,
                first.pathname,
                first.lineno,
                "left out %d more lines %s",
                (count.left_out, what),
                None,
            )
        )


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # Its arguments do not fit; the stream's own handler says so.
        return str(record.msg)


class Trouble:
    """Something that goes wrong again and again: growing waits, few lines, and one when it is over.

    Args:
        what: What is tried, as the beginning of a sentence: "receiving".
        log: Where the lines go.
        first_seconds: The first wait. Each further one is twice as long.
        longest_seconds: The longest wait.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        what: str,
        log: logging.Logger,
        *,
        first_seconds: float = FIRST_WAIT_SECONDS,
        longest_seconds: float = LONGEST_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._log = log
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._began: float | None = None
        self._failures = 0
        self._wait = 0.0
        self._until = 0.0

    @property
    def seconds_left(self) -> float:
        """How long to wait before the next attempt; 0 while all is well."""
        return max(0.0, self._until - self._clock()) if self._began is not None else 0.0

    def failed(self, error: BaseException, *, stack: bool = False) -> float:
        """Note that an attempt has failed, with a line unless one was written in this wait.

        Args:
            error: Why.
            stack: Whether nobody foresaw it, so that the line needs a stack trace.

        Returns:
            How many seconds to wait before the next attempt.
        """
        now = self._clock()
        self._failures += 1
        if self._began is None:
            self._began = now
        elif now < self._until:
            # Others have failed at the same time, or the rhythm is not ours to choose.
            return self._until - now
        self._wait = min(self._longest_seconds, self._wait * 2 or self._first_seconds)
        self._until = now + self._wait
        self._log.error("%s failed: %s", self._what, error, exc_info=error if stack else None)
        return self._wait

    def passed(self) -> None:
        """Note that an attempt has succeeded, with a line if it had failed before."""
        if self._began is None:
            return
        seconds = self._clock() - self._began
        self._log.info(
            "%s works again, after %d failures in %.0f s", self._what, self._failures, seconds
        )
        self._began, self._failures, self._wait = None, 0, 0.0
