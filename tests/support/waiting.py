"""Waiting for what other tasks, threads and processes bring about, where nothing tells of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

# Longer than anything that tests wait for takes on a busy machine.
PATIENCE_SECONDS = 100.0

POLL_SECONDS = 0.01


def wait_until(holds: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for what other threads or processes bring about.

    Args:
        holds: Whether it has come about.
        seconds: When to give up and fail.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about within {seconds} s"
        time.sleep(POLL_SECONDS)


async def until(holds: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait, while other tasks go on, for what they or others bring about.

    Args:
        holds: Whether it has come about.
        seconds: When to give up and fail.
    """

    async def ask() -> bool:
        return holds()

    await answer_that(bool, ask, seconds=seconds)


async def answer_that(
    fits: Callable[[T], bool],
    ask: Callable[[], Awaitable[T]],
    *,
    seconds: float = PATIENCE_SECONDS,
) -> T:
    """Ask again and again, while other tasks go on, until an answer fits; return that one.

    Args:
        fits: Whether an answer is the one that is waited for.
        ask: Asks once.
        seconds: When to give up and fail with the last answer.
    """
    deadline = time.monotonic() + seconds
    while not fits(answer := await ask()):
        assert time.monotonic() < deadline, f"after {seconds} s it is still {answer}"
        await asyncio.sleep(POLL_SECONDS)
    return answer


def gone(pid: int) -> bool:
    """Whether a process has ended, perhaps without anybody having asked for its status."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
