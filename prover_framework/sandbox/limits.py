"""Limits of a process that runs a plugin's code. They are hard: only root could raise them.

Time is limited by whoever calls, see `prover_framework.sandbox.slot`.
"""

import os
import resource
import stat
import sys
from contextlib import suppress
from pathlib import Path

# How many processes and threads a plugin may start beside those that its user has already: the
# system counts all of a user together. A computation needs none.
MAX_PROCESSES = 128

# How large a file may become that it writes.
MAX_FILE_BYTES = 2**30

# How much one process may map to write to, as a multiple of its limit of resident memory: most
# programs use what they have mapped, and none of them all of it.
MAPPED_PART = 2


def limit_process() -> None:
    """Limit what no call has a limit of its own for: files, processes, core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, MAX_FILE_BYTES + _size_of_log())
    if sys.platform == "linux":
        _lower(resource.RLIMIT_NPROC, MAX_PROCESSES + _tasks_of_user())


class MemoryLimit:
    """The limit of what this process may map to write to. The first one is hard, others below it.

    It catches at once what would take all memory before anybody looks at what is resident, which
    `prover_framework.sandbox.memory` does. Address space that is only reserved does not count.
    """

    def __init__(self) -> None:
        self._is_hard = False

    def set(self, size: int) -> None:
        """Limit the resident memory to so many bytes, or to what is hard already if less."""
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = size * MAPPED_PART
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard if self._is_hard else limit))
        self._is_hard = True


def limit_text(memory_bytes: int) -> str:
    """Name a limit of memory in a message."""
    return f"its limit of {memory_bytes / 2**20:,.0f} MiB"


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lower, lower))


def _size_of_log() -> int:
    """Return the size of the file that standard error goes to: a plugin may print there."""
    with suppress(OSError):
        status = os.fstat(2)
        if stat.S_ISREG(status.st_mode):
            return status.st_size
    return 0


def _tasks_of_user() -> int:
    """Count the processes and threads of this process's user."""
    me, count = os.getuid(), 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # It may end while it is looked at.
        with suppress(OSError):
            fields = (process / "status").read_text().splitlines()
            found = dict(line.split(":", 1) for line in fields if ":" in line)
            if int(found["Uid"].split()[0]) == me:
                count += int(found["Threads"])
    return count
