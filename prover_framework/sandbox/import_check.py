"""Load plugins in a child process first, to find those that end the interpreter or hang.

The child writes a line to a pipe before it loads each of them, so that the last line names the
culprit when the process dies. The limit on time is for each module alone. One that fails after
others is tried again in a child of its own: what went before may have left a thread, a signal or
half of the memory behind, and the innocent one is not blamed for it.
"""

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module

from prover_framework.errors import PluginError
from prover_framework.sandbox import supervisor as supervisor
from prover_framework.sandbox.limits import MAPPED_PART, MemoryLimit, limit_process
from prover_framework.sandbox.process import clean_environment

# How long the import of one plugin may take, and its registration. It reads a few modules from
# disk; one that takes this long is waiting for something that will not come.
IMPORT_SECONDS = 30.0

# Address space of the child. The largest numerical libraries need a tenth of it.
IMPORT_MEMORY_BYTES = 4 * 2**30

# How long the child may take before it loads the first plugin: a busy machine starts an interpreter
# within seconds. This is no plugin's time.
START_SECONDS = 60.0

# A supervisor ends what it keeps within milliseconds.
SUPERVISOR_SECONDS = 5.0

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
        timeout: How long loading each of them may take, in seconds.
        memory_bytes: How much memory loading each of them may map to write to.

    Raises:
        PluginError: No child could be started to try them in.
    """
    deadly: dict[str, str] = {}
    remaining = list(modules)
    while remaining:
        reached, reason = _try(remaining, timeout, memory_bytes)
        if reason is None:
            break
        if reached == 0:
            deadly[remaining.pop(0)] = reason
        else:
            remaining = remaining[reached:]
    return deadly


def serve(descriptor: int, supervisor_pid: int, memory_bytes: int | str, *modules: str) -> None:
    """Load plugins, in the child: what they register, too, is their code."""
    from prover_framework.plugins.calls import Candidate
    from prover_framework.plugins.loading import load

    supervisor.end_with_parent(signal.SIGKILL, supervisor_pid)
    limit_process()
    MemoryLimit().set(int(memory_bytes) // MAPPED_PART)
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
            command = [
                "prover_framework.sandbox.import_check",
                write_end,
                os.getpid(),
                memory_bytes,
                *modules,
            ]
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", supervisor.__file__, *map(str, command)],
                pass_fds=[write_end],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=clean_environment(),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        try:
            written, overdue = _follow(child, marks.fileno(), timeout)
            if overdue:
                child.terminate()
            status = None if overdue else child.wait(SUPERVISOR_SECONDS)
        except subprocess.TimeoutExpired:
            child.terminate()
            status = None
        except BaseException:
            child.terminate()
            raise
        finally:
            _bury(child)
    if NEXT not in written:
        how = "did not start" if status is None else f"ended with status {status}"
        raise PluginError(f"plugins could not be tried: the process for it {how}")
    reached = written.count(NEXT) - 1
    if written.endswith(END):
        return len(modules), None
    if written.endswith(FULL):
        return reached, f"loading it needs more than {memory_bytes >> 20} MiB of memory"
    if status is None:
        return reached, f"loading it did not come to an end within {timeout:g} s"
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return reached, f"loading it ends the interpreter ({how})"


def _follow(child: "subprocess.Popen[bytes]", marks: int, timeout: float) -> tuple[bytes, bool]:
    """Read the marks until the child ends; return them, and whether a module took too long."""
    written = b""
    deadline = time.monotonic() + START_SECONDS
    os.set_blocking(marks, False)
    with selectors.DefaultSelector() as selector, _ended(child) as ended:
        selector.register(marks, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = [key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
            new = _read(marks)
            written += new
            if marks in ready and not new:
                # Nobody can write to it any more; the child ends, or hangs without it.
                selector.unregister(marks)
            if NEXT in new:
                deadline = time.monotonic() + timeout
            if written.endswith((END, FULL)):
                return written, False
            if ended in ready:
                # A grandchild may still hold the pipe open; what was written is all there is.
                return written + _read(marks), False
            if time.monotonic() >= deadline:
                return written, True


@contextmanager
def _ended(child: "subprocess.Popen[bytes]") -> Iterator[int]:
    """Give a descriptor that can be read when the child has ended."""
    read_end, write_end = os.pipe()

    def watch() -> None:
        # The status stays to be collected by whoever waits for the child.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        os.close(write_end)

    watcher = threading.Thread(target=watch, name="probe", daemon=True)
    watcher.start()
    try:
        yield read_end
    finally:
        os.close(read_end)


def _read(marks: int) -> bytes:
    parts = b""
    with suppress(BlockingIOError):
        while part := os.read(marks, 4096):
            parts += part
    return parts


def _bury(child: "subprocess.Popen[bytes]") -> None:
    try:
        child.wait(SUPERVISOR_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
