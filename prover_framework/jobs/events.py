"""Tell plugins what becomes of jobs, without waiting for them.

Each observer has a queue and a thread of its own, so that what one of them does, or fails to do,
delays nobody: neither the event loop with its heartbeats nor another observer. It is told the
changes that its own process made, in their order. A change is told at most once: those that a
process has not told when it is killed are not told by another.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from prover_framework.errors import PluginError
from prover_framework.jobs.records import Transition
from prover_framework.model.jobs import JobChange
from prover_framework.plugins.calls import Observer
from prover_framework.serialization.json_text import parse_json

log = logging.getLogger(__name__)

# What waits for an observer that has stopped listening must not fill the memory: some minutes of
# a busy worker, and no more of large results than this many characters.
MAX_WAITING = 10_000
MAX_WAITING_CHARACTERS = 64 * 2**20

# How long a process that stops waits for its observers: enough for a last request over a network,
# and well within the half minute that process managers give a service to end.
STOP_SECONDS = 5.0

# A hook that fails for one change fails for most. Its error is logged once in this time, with the
# number of the others.
QUIET_SECONDS = 60.0


class Observers:
    """The observers of one process. Leaving the context tells what is still to be told."""

    def __init__(
        self, observers: Sequence[Observer], *, stop_seconds: float = STOP_SECONDS
    ) -> None:
        self._lines = [_Line(observer) for observer in observers]
        self._stop_seconds = stop_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        deadline = _now() + self._stop_seconds
        for line in self._lines:
            line.close()
        for line in self._lines:
            await asyncio.to_thread(line.join, deadline)

    def notify(self, transitions: Sequence[Transition]) -> None:
        """Leave changes for every observer; this returns at once."""
        for line in self._lines:
            line.add(transitions)


class _Line:
    """What waits for one observer, and the thread that tells it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._name = observer.candidate.name
        self._news = threading.Condition()
        self._waiting: deque[Transition] = deque()
        self._characters = 0
        self._dropped = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._complaints = 0
        self._complained_at: float | None = None

    def add(self, transitions: Sequence[Transition]) -> None:
        with self._news:
            for transition in transitions:
                self._add_one(transition)
            if self._thread is None:
                # A daemon: an observer that never returns must not keep the process alive.
                self._thread = threading.Thread(
                    target=self._run, name=f"observer {self._name}", daemon=True
                )
                self._thread.start()
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()

    def join(self, deadline: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - _now()))
        with self._news:
            untold = len(self._waiting) + self._dropped
            if self._thread is not None and self._thread.is_alive():
                untold += 1
        if untold:
            log.error(
                "plugin %s: its hook job_changed was too slow: %d changes were not told or not "
                "finished when the process stopped",
                self._name,
                untold,
            )

    def _add_one(self, transition: Transition) -> None:
        size = _size(transition)
        if len(self._waiting) >= MAX_WAITING or self._characters + size > MAX_WAITING_CHARACTERS:
            if not self._dropped:
                log.error(
                    "plugin %s: its hook job_changed is too slow: %d changes wait for it, and "
                    "more are dropped",
                    self._name,
                    len(self._waiting),
                )
            self._dropped += 1
            return
        self._waiting.append(transition)
        self._characters += size

    def _run(self) -> None:
        while (transition := self._next()) is not None:
            try:
                self._observer.job_changed(_change(transition))
            except PluginError as error:
                self._complain(str(error))

    def _next(self) -> Transition | None:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            if self._dropped and len(self._waiting) <= MAX_WAITING // 2:
                log.error(
                    "plugin %s: %d changes were dropped, since its hook job_changed was too slow",
                    self._name,
                    self._dropped,
                )
                self._dropped = 0
            transition = self._waiting.popleft()
            self._characters -= _size(transition)
            return transition

    def _complain(self, what: str) -> None:
        now = _now()
        if self._complained_at is not None and now < self._complained_at + QUIET_SECONDS:
            self._complaints += 1
            return
        more = (
            f" (and {self._complaints} more since the last in the log)" if self._complaints else ""
        )
        log.error("%s%s", what, more)
        self._complaints, self._complained_at = 0, now


def _now() -> float:
    return time.monotonic()


def _size(transition: Transition) -> int:
    return len(transition.job.result or "")


def _change(transition: Transition) -> JobChange:
    """Make the change anew for each observer, so that none can alter what another sees."""
    job = transition.job
    return JobChange(
        group_id=job.job_group_id,
        namespace=job.namespace,
        proof_type=job.proof_type,
        job_id=job.id,
        old_state=transition.old,
        new_state=job.state,
        attempts=job.attempts,
        error_code=job.error_code,
        error_message=job.error_message,
        changed_at_ms=transition.at_ms,
        result=None if job.result is None else parse_json(job.result.encode()),
    )
