"""What is heard from a sandbox process while it makes a call."""

import logging
from typing import Protocol

from prover_framework.errors import RequestError
from prover_framework.log_context import logging_about
from prover_framework.model.work import MAX_PROGRESS_TEXT, Progress
from prover_framework.sandbox.protocol import (
    MAX_NOTE_BYTES,
    NOTES_A_SECOND,
    NOTES_AT_ONCE,
    HookCall,
    LogLine,
    Note,
)
from prover_framework.sandbox.telling import Allowance
from prover_framework.serialization.converter import structure
from prover_framework.serialization.json_text import parse_json
from prover_framework.text import one_line

# The log of what plugins log.
PLUGIN_LOGGER = "prover_framework.plugins.log"

log = logging.getLogger(PLUGIN_LOGGER)


class Listener(Protocol):
    """Hears what is told in a call. It must return at once."""

    @property
    def subject(self) -> str:
        """What the call is about, as lines of the log begin; empty where that is nothing."""
        ...

    def progress(self, progress: Progress) -> None:
        """Hear how far the computation is."""
        ...


class Nobody:
    """Hears what no job is about; the log has it all the same."""

    subject = ""

    def progress(self, progress: Progress) -> None:
        """Hear of progress, which interests nobody."""
        del progress


class Hearing:
    """Hears the notes of one call.

    Args:
        call: The call.
        listener: Who is told.
    """

    def __init__(self, call: HookCall, listener: Listener) -> None:
        self._call = call
        self._listener = listener
        self._allowance = Allowance(NOTES_AT_ONCE, NOTES_A_SECOND)

    def take(self, text: bytes) -> bool:
        """Hear a note; return whether it is one, and within all bounds."""
        if len(text) > MAX_NOTE_BYTES or not self._allowance.spend():
            return False
        try:
            note = structure(parse_json(text), Note)
        except RequestError:
            return False
        if note.progress is not None:
            fraction = min(1.0, max(0.0, note.progress.fraction))
            told = one_line(note.progress.text)[:MAX_PROGRESS_TEXT]
            self._listener.progress(Progress(fraction, told))
        if note.line is not None:
            self._write(note.line)
        return True

    def _write(self, line: LogLine) -> None:
        level = min(max(line.level, logging.DEBUG), logging.CRITICAL)
        about = f"{self._listener.subject}: " if self._listener.subject else ""
        logger = f"{one_line(line.logger)}: " if line.logger else ""
        text = one_line(line.text)
        with logging_about(plugin=self._call.plugin):
            log.log(level, "%splugin %s: %s%s", about, self._call.plugin, logger, text)
