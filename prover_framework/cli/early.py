"""Signals that come before there is anything to stop."""

import os
import signal
import sys
from types import FrameType

# What shells add to a signal's number for the exit status of what the signal has ended.
SIGNALLED = 128


def end_on_signals() -> None:
    """Let process 1, a container's first, be ended before it has handlers of its own.

    The kernel keeps from it every signal that it has no handler for. Other processes are ended by
    them as they are.
    """
    if os.getpid() != 1:
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(SIGNALLED + number)
