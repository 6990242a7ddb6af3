"""How much memory a sandbox process and all that it has started hold, and what is too much.

Resident memory is what counts: address space that is only reserved costs nothing, and programs that
run on node, WebAssembly or a JVM reserve more of it than any machine has.
"""

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# How often to look. What one process may map to write to is limited besides, so that little can
# happen in between; see `prover_framework.sandbox.limits.MemoryLimit`.
LOOK_SECONDS = 0.25

# To look costs at most this part of a processor's time.
LOOK_PART = 0.01


def resident_bytes(root: int) -> int:
    """Return how much memory a process and its descendants hold.

    Pages that several of them share count once where the system tells, and in each of them where it
    does not: of a process that others may not look into, which is what one that a plugin forks is.
    """
    return sum(map(_own_bytes, descendants(root)))


def held_bytes(root: int) -> int:
    """Return the same at less cost: shared pages count in each process."""
    return sum(map(_mapped_bytes, descendants(root)))


def descendants(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [root]
    if Path(f"/proc/{root}/task/{root}/children").exists():
        for pid in found:
            with suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    text = (thread / "children").read_text()
                    found.extend(int(child) for child in text.split())
        return found
    children: dict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):  # noqa: PTH208 - a path for each process costs more than it
        if name.isdigit():
            with suppress(OSError, IndexError):
                # The name of a program may hold anything, a parenthesis too.
                status = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                children[int(status[1])].append(int(name))
    for pid in found:
        found.extend(children[pid])
    return found


def _mapped_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        # It has ended.
        return 0


def _own_bytes(pid: int) -> int:
    """Return what a process holds, its part of what it shares with others."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return _mapped_bytes(pid)
    return _mapped_bytes(pid)


class MemoryWatch:
    """Looks again and again at what a process and its descendants hold, while it makes a call.

    Args:
        root: The process.
        limit: How many bytes they may hold together.
        on_excess: Called once when it is more.
    """

    def __init__(self, root: int, limit: int, on_excess: Callable[[], None]) -> None:
        self.excess: int | None = None
        self._root = root
        self._limit = limit
        self._on_excess = on_excess
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on, where the system shows what processes hold."""
        if sys.platform == "linux":
            self._later(LOOK_SECONDS)

    def stop(self) -> None:
        """Look no longer."""
        if self._next is not None:
            self._next.cancel()

    def _later(self, seconds: float) -> None:
        self._next = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        began = time.monotonic()
        held = held_bytes(self._root)
        if held > self._limit:
            held = resident_bytes(self._root)
        if held > self._limit:
            self.excess = held
            self._on_excess()
            return
        self._later(max(LOOK_SECONDS, (time.monotonic() - began) / LOOK_PART))
