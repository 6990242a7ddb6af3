"""The supervisor of a process that runs a plugin's code: it ends whatever that code has started.

``python supervisor.py MODULE FD PARENT ARGUMENT...`` forks and becomes the supervisor. The child
calls ``MODULE.serve(FD, SUPERVISOR, ARGUMENT...)``. It ends, with all that it has started, when
PARENT ends or sends SIGTERM to the supervisor; at SIGUSR1 they are all sent SIGTERM, and have some
seconds to end by themselves, to write down how far they are for example. A process that a plugin
starts can leave its session and its parent, but not its supervisor: on Linux, whoever loses his
parent becomes the supervisor's child. Elsewhere the supervisor ends the child's group.

This file is run before anything is imported, so that the supervisor costs next to no memory.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

# Sent to a supervisor, this ends what it keeps at once, and this one in two steps.
AT_ONCE = signal.SIGTERM
GENTLY = signal.SIGUSR1

# How long what was sent SIGTERM may take to end: enough to write a checkpoint, and within what a
# worker that stops has left to release its jobs.
GRACE_SECONDS = 3.0

# How much of it a plugin's process leaves to what it has started, before it ends itself.
CHILDREN_GRACE_SECONDS = 2.0

# How often is looked meanwhile, where no signal tells.
LOOK_SECONDS = 0.05

# How often a supervisor looks for its worker where the system does not tell of its end.
WATCH_SECONDS = 0.5


def main() -> None:
    """Keep one process until it ends, or the parent does, or says so by a signal."""
    module, descriptor, parent, *arguments = sys.argv[1:]
    awaited = {signal.SIGCHLD, AT_ONCE, GENTLY}
    for number in awaited:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    adopt_orphans()
    # Its child inherits this; what that runs by exec does not.
    protect_memory()
    end_with_parent(AT_ONCE, int(parent))
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        os.setsid()
        # The supervisor has no use for what this imports.
        from importlib import import_module

        import_module(module).serve(int(descriptor), supervisor, *arguments)
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


def protect_memory() -> None:
    """Let no other process of the same user read this one's memory, environment or core dump."""
    if sys.platform == "linux":
        _prctl(PR_SET_DUMPABLE, 0)


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
        known: A child whose group is ended where the system cannot list children.
    """
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if not ended:
                for child in children() if sys.platform == "linux" else (known,):
                    _kill(child)
                os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _wait(child: int) -> int | None:
    """Return the child's status when it has ended; None when it is to be ended."""
    while (number := signal.sigwait({signal.SIGCHLD, AT_ONCE, GENTLY})) == signal.SIGCHLD:
        # Several children may have ended, and one signal tells of them all.
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                return status
            if not ended:
                break
    if number == GENTLY:
        ask_to_end(child)
    return None


def ask_to_end(child: int) -> None:
    """Send SIGTERM to a child, its group and whoever descends from it, and wait for some time."""
    import time

    # It may not have a group of its own yet.
    if not _signal_group(child):
        _kill(child, signal.SIGTERM)
    asked = {child}
    until = time.monotonic() + GRACE_SECONDS
    while (left := until - time.monotonic()) > 0:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        # Those that have left the group come here when their parents have ended.
        for other in children() if sys.platform == "linux" else ():
            if other not in asked:
                asked.add(other)
                _kill(other, signal.SIGTERM)
        if sys.platform == "linux":
            told = signal.sigtimedwait({signal.SIGCHLD, AT_ONCE}, left)
            if told is not None and told.si_signo == AT_ONCE:
                return
        else:
            time.sleep(LOOK_SECONDS)


def let_children_end() -> None:
    """Wait for the children of a process that was sent SIGTERM with its group, but not for long.

    Those outside the group are sent it here.
    """
    if sys.platform != "linux":
        return
    import time

    until = time.monotonic() + CHILDREN_GRACE_SECONDS
    asked: set[int] = set()
    while time.monotonic() < until:
        alive = [child for child in children() if not _is_dead(child)]
        if not alive:
            return
        for child in alive:
            if child not in asked and _group(child) != os.getpgrp():
                _kill(child, signal.SIGTERM)
            asked.add(child)
        time.sleep(LOOK_SECONDS)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _is_dead(pid: int) -> bool:
    """Tell whether a child has ended; its status is for whoever has started it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


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


def children() -> list[int]:
    """Return the ids of this process's children, from the list of all processes."""
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


def _kill(child: int | None, number: signal.Signals = signal.SIGKILL) -> None:
    try:
        if child is None:
            return
        if sys.platform == "linux":
            os.kill(child, number)
        else:
            os.killpg(child, number)
    except (ProcessLookupError, PermissionError):
        return


def _signal_group(leader: int) -> bool:
    try:
        os.killpg(leader, signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        return False
    return True


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
