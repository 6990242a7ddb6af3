"""What the service does for itself against the code of plugins, which runs as the same user.

It guards against accidents and the curious. Against malice only another user or another machine
does: a plugin's module is imported into the service as well, to be registered.
"""

import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prover_framework.sandbox import supervisor as supervisor

FILE_LIMIT = re.compile(rb"^Max file size +\S+ +(\S+)", re.MULTILINE)


def protect_service() -> None:
    """Hide this process's memory, and inherit plugins' processes whose supervisor is killed."""
    supervisor.protect_memory()
    supervisor.adopt_orphans()


def scrub_environment(names: Iterable[str]) -> None:
    """Remove variables from the environment, and from what the system shows of it.

    ``/proc/PID/environ`` is the memory that the process was started with: to unset a variable does
    not change it.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    for name in names:
        if name in os.environ:
            place = libc.getenv(os.fsencode(name))
            if place:
                ctypes.memset(place, 0, len(ctypes.string_at(place)))
            del os.environ[name]


def end_strays() -> None:
    """End processes of plugins that have become this process's children.

    They are known by a limit that they cannot get rid of, see
    `prover_framework.sandbox.limits.limit_process`; no child of the service's own has it. Elsewhere
    than on Linux nobody inherits them.
    """
    if sys.platform != "linux":
        return
    _, own = resource.getrlimit(resource.RLIMIT_FSIZE)
    while strays := [pid for pid in supervisor.children() if _is_limited(pid, own)]:
        for pid in strays:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            # What it has started is inherited when it has ended, and found by the next look.
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _is_limited(pid: int, own: int) -> bool:
    """Tell whether a process may write less than this one."""
    try:
        found = FILE_LIMIT.search(Path(f"/proc/{pid}/limits").read_bytes())
    except OSError:
        return False
    if found is None or found[1] == b"unlimited":
        return False
    return own == resource.RLIM_INFINITY or int(found[1]) < own
