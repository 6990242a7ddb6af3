"""Processes of the service: started and stopped, their memory and what they use of processors."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from attrs import frozen
from checkouts import Checkout

STOP_SECONDS = 60.0
START_SECONDS = 4.0


@contextmanager
def process(
    checkout: Checkout, arguments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """Run a command of the service in the background and stop it at the end."""
    child = subprocess.Popen([checkout.prover, *arguments], env={**os.environ, **environment})
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(STOP_SECONDS)


@contextmanager
def api(
    checkout: Checkout, environment: Mapping[str, str], command: str = "api"
) -> Iterator[tuple[psutil.Process, int]]:
    """Run the API, alone or with a worker in it (``up``); yield its process and its port."""
    port = free_port()
    with process(checkout, [command, "--port", str(port)], environment) as running:
        wait_for_port(port)
        yield running, port


def run(checkout: Checkout, arguments: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """Run a command of the service to its end and return what it printed."""
    done = subprocess.run(
        [checkout.prover, *arguments],
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


@frozen
class Ran:
    """A command that has ended.

    Args:
        seconds: How long it took.
        cpu: Seconds of the processors that it and all it started used.
        memory: MiB that they had at most.
    """

    seconds: float
    cpu: float
    memory: float


def ran(checkout: Checkout, arguments: Sequence[str | Path], environment: Mapping[str, str]) -> Ran:
    """Run a command of the service to its end and return what that took.

    Raises:
        RuntimeError: It failed.
    """
    began, before = time.perf_counter(), os.times()
    with (
        subprocess.Popen(
            [checkout.prover, *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
        ) as command,
        peak_memory(psutil.Process(command.pid)) as peak,
    ):
        if command.wait():
            raise RuntimeError(f"prover {' '.join(map(str, arguments))} failed")
    seconds, after = time.perf_counter() - began, os.times()
    # This process waits for no other one meanwhile.
    used = after.children_user + after.children_system
    return Ran(seconds, used - before.children_user - before.children_system, peak())


@frozen
class CpuTime:
    """Seconds of the processors.

    Args:
        own: Of a process itself.
        children: Of the processes that it has started, and of theirs.
    """

    own: float
    children: float

    def since(self, before: "CpuTime") -> "CpuTime":
        """Return what was used after an earlier moment."""
        return CpuTime(self.own - before.own, self.children - before.children)

    @property
    def all(self) -> float:
        """Of all of them."""
        return self.own + self.children


def cpu_time(process: psutil.Process) -> CpuTime:
    """Return what a process has used so far. What children used does not go with their end."""
    times = process.cpu_times()
    children = times.children_user + times.children_system
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            of_child = child.cpu_times()
            # What its own children used is in it once they have ended.
            children += sum(of_child[:4])
    return CpuTime(times.user + times.system, children)


def memory(process: psutil.Process) -> float:
    """Return the memory of a process and its children in MiB, shared pages counted once."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**20


def idle_memory(process: psutil.Process) -> float:
    """Return the memory of a process of the service some seconds after its start, in MiB.

    Until imports are done, those of sandbox processes too; nothing tells.
    """
    time.sleep(START_SECONDS)
    return memory(process)


@contextmanager
def peak_memory(process: psutil.Process) -> Iterator[Callable[[], float]]:
    """Watch the memory of a process; what is yielded returns the highest so far, in MiB."""
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            # It may have ended just now.
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, memory(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        watcher.join()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Wait until somebody listens on a port."""
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")
