"""Import modules in a child process first, to find those that end the interpreter or hang.

Run as a module it is that child: ``python -m prover_framework.probe MODULE...`` writes the number
of each module to its standard error before it imports it, so that the last number names the
culprit when the process dies.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

# A plugin's import reads a few modules from disk; one that takes this long is waiting for
# something that will not come.
IMPORT_SECONDS = 30.0


def find_deadly(modules: Sequence[str], *, timeout: float = IMPORT_SECONDS) -> dict[str, str]:
    """Return those modules that must not be imported into a service, with the reason."""
    deadly: dict[str, str] = {}
    remaining = list(modules)
    while remaining:
        reached, reason = _try_imports(remaining, timeout)
        if reason is None:
            break
        deadly[remaining[reached]] = reason
        remaining = remaining[reached + 1 :]
    return deadly


def _try_imports(modules: Sequence[str], timeout: float) -> tuple[int, str | None]:
    """Import modules in one child; return the index of the one it died at, and how."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as marks:
        try:
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "prover_framework.probe", str(write_end), *modules],
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
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            # The child leads a process group of its own; what the import started goes with it.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            status = None
        # A grandchild may still hold the pipe open; what was written is all there is to know.
        os.set_blocking(marks.fileno(), False)
        written = marks.read() or b""
    reached = written.count(b"\n") - 1
    if written.endswith(b"end\n"):
        return len(modules), None
    if status is None:
        return max(reached, 0), f"its import did not finish within {timeout:g} s"
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return max(reached, 0), f"its import ends the interpreter ({how})"


def _main() -> None:
    descriptor = int(sys.argv[1])
    for module in sys.argv[2:]:
        os.write(descriptor, b"next\n")
        # What an import raises is found and told again by the process that wants the module.
        with suppress(Exception):
            import_module(module)
    os.write(descriptor, b"end\n")
    # Threads or exit handlers that a plugin left behind must not keep the probe alive.
    os._exit(0)


if __name__ == "__main__":
    _main()
