"""The keeper of a process that runs a plugin's code: it ends whatever that code has started.

``python keeper.py MODULE FD PARENT ARGUMENT...`` forks and becomes the keeper. The child calls
``MODULE.serve(FD, KEEPER, ARGUMENT...)``. It ends, with all that it has started, when PARENT ends
or sends SIGTERM to the keeper. A process that a plugin starts can leave its session and its parent,
but not its keeper: on Linux, whoever loses his parent becomes the keeper's child. Elsewhere the
keeper ends the child's group.

This file is run before anything is imported, so that the keeper costs next to no memory.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# How often a keeper looks for its worker where the system does not tell of its end.
WATCH_SECONDS = 0.5


def main() -> None:
    """Keep one process until it ends, or the parent does, or says so with SIGTERM."""
    module, descriptor, parent, *arguments = sys.argv[1:]
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    for number in awaited:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    adopt_orphans()
    end_with_parent(signal.SIGTERM, int(parent))
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        os.setsid()
        # The keeper has no use for what this imports.
        from importlib import import_module

        import_module(module).serve(int(descriptor), keeper, *arguments)
        return
    # The parent learns of the child's end by the end of its connection.
    os.close(int(descriptor))
    status = _wait(child)
    end_children(child)
    _end_like(status)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    if sys.platform == "linux":
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: signal.Signals, parent: int) -> None:
    """Have a signal sent to this process when its parent ends, even if that is killed."""
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, number)
    else:
        import threading

        threading.Thread(target=_watch, args=(number, parent), daemon=True).start()
    # The parent may have ended before the lines above.
    if os.getppid() != parent:
        os._exit(1)


def end_children(known: int | None = None) -> None:
    """Kill all children, and whoever becomes a child by that, until there are none.

    Args:
        known: A child whose group is ended where the system can not list children.
    """
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if not ended:
                for child in _children() if sys.platform == "linux" else (known,):
                    _kill(child)
                os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _wait(child: int) -> int | None:
    """Return the child's status when it has ended; None when it is to be ended."""
    while signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGCHLD:
        # Several children may have ended, and one signal tells of them all.
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                return status
            if not ended:
                break
    return None


def _end_like(status: int | None) -> None:
    """End as the child has, so that the parent sees how that was."""
    if status is None:
        os._exit(0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    import resource

    # One file of the dead process's memory is enough.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os.kill(os.getpid(), -code)


def _children() -> list[int]:
    """Return this process's children, from the list of all processes."""
    me = os.getpid()
    names = os.listdir("/proc")  # noqa: PTH208 - pathlib is an import more
    return [int(name) for name in names if name.isdigit() and _parent(name) == me]


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            # The name of a program may hold anything, a parenthesis too.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _kill(child: int | None) -> None:
    try:
        if child is None:
            return
        if sys.platform == "linux":
            os.kill(child, signal.SIGKILL)
        else:
            os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _watch(number: signal.Signals, parent: int) -> None:
    import time

    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
