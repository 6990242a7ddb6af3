"""Load plugins in a child process first, to find those that end the interpreter or hang.

The child writes a line to a pipe before it loads each of them, so that the last line names the
culprit when the process dies.
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module

from prover_framework.compute import keeper

# A plugin's import reads a few modules from disk; one that takes this long is waiting for
# something that will not come.
IMPORT_SECONDS = 30.0

# Address space of the child. The largest numerical libraries need a tenth of it.
IMPORT_MEMORY_BYTES = 4 * 2**30

# A keeper ends what it keeps within milliseconds.
KEEPER_SECONDS = 5.0

NEXT = b"next\n"
FULL = b"full\n"
END = b"end\n"


def find_deadly(
    modules: Sequence[str],
    *,
    timeout: float = IMPORT_SECONDS,
    memory_bytes: int = IMPORT_MEMORY_BYTES,
) -> dict[str, str]:
    """Return those modules that must not be loaded into a service, with the reason.

    Args:
        modules: Import paths of plugins.
        timeout: How long loading some of them may take, in seconds.
        memory_bytes: How much address space loading them may need.
    """
    deadly: dict[str, str] = {}
    remaining = list(modules)
    while remaining:
        reached, reason = _try(remaining, timeout, memory_bytes)
        if reason is None:
            break
        deadly[remaining[reached]] = reason
        remaining = remaining[reached + 1 :]
    return deadly


def serve(descriptor: int, keeper_pid: int, memory_bytes: int | str, *modules: str) -> None:
    """Load plugins, in the child: what they register, too, is their code."""
    from prover_framework.plugins import Candidate, load

    keeper.end_with_parent(signal.SIGKILL, keeper_pid)
    resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    for module in modules:
        os.write(descriptor, NEXT)
        try:
            import_module(module)
            load([Candidate(module, module, module, "")])
        except MemoryError:
            os.write(descriptor, FULL)
            os._exit(1)
        except Exception:  # noqa: S112 - found and told again by the process that wants the module
            continue
    os.write(descriptor, END)
    # Threads or exit handlers that a plugin left behind must not keep the probe alive.
    os._exit(0)


def _try(modules: Sequence[str], timeout: float, memory_bytes: int) -> tuple[int, str | None]:
    """Load plugins in one child; return the index of the one it died at, and how."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as marks:
        try:
            command = ["prover_framework.probe", write_end, os.getpid(), memory_bytes, *modules]
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", keeper.__file__, *map(str, command)],
                pass_fds=[write_end],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        try:
            status: int | None = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.terminate()
            status = None
        except BaseException:
            child.terminate()
            raise
        finally:
            _bury(child)
        # A grandchild may still hold the pipe open; what was written is all there is to know.
        os.set_blocking(marks.fileno(), False)
        written = marks.read() or b""
    reached = max(written.count(NEXT) - 1, 0)
    if written.endswith(END):
        return len(modules), None
    if written.endswith(FULL):
        return reached, f"loading it needs more than {memory_bytes >> 20} MiB of memory"
    if status is None:
        return reached, f"loading it did not come to an end within {timeout:g} s"
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return reached, f"loading it ends the interpreter ({how})"


def _bury(child: "subprocess.Popen[bytes]") -> None:
    try:
        child.wait(KEEPER_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
