"""What the benchmarks share: processes of the service and their memory, requests, test plugins."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROVER = Path(sys.executable).with_name("prover")

NOOP_PLUGIN = """
from attrs import frozen
from prover_framework import ProofType, RangeParameters, hookimpl
PROVER_API = 1

@frozen
class NoopResult:
    noop: int

@hookimpl
def proof_type():
    return ProofType(name="noop", title="No-op", version="1", parameters=RangeParameters,
                     result=NoopResult)

@hookimpl
def compute():
    return NoopResult(1)
"""


def install_plugin(site: Path, name: str, module: str) -> dict[str, str]:
    """Put a plugin's distribution into a folder; return the variables that make it the only one."""
    metadata = site / f"{name}_plugin-1.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{name}_plugin.py").write_text(module)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[prover_framework]\n{name} = {name}_plugin\n")
    return {"PYTHONPATH": str(site), "PROVER_PLUGINS": name}


THE_THREE = ("twap", "reserve_price", "max_return")


async def post_all(
    port: int, count: int, connections: int, prefix: str, proofs: Sequence[str] = THE_THREE
) -> float:
    """POST ``count`` groups over some connections; return how many a second."""
    numbers = iter(range(count))
    window = {"start_timestamp": 1_696_291_200, "end_timestamp": 1_704_067_200}

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = json.dumps(
                {"job_group_id": f"{prefix}-{number}", **dict.fromkeys(proofs, window)}
            ).encode()
            writer.write(
                b"POST /api/job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return count / (time.perf_counter() - began)


@contextmanager
def process(
    arguments: list[str], directory: Path, extra: dict[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a command of the service in the background and stop it at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PROVER_DATA_DIR": str(directory),
        "PROVER_LOG_LEVEL": "ERROR",
        **(extra or {}),
    }
    child = subprocess.Popen([PROVER, *arguments], env=environment)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


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
    """Return the memory of a worker that has started its compute processes and has no job."""
    for _ in range(100):
        if len(process.children()) == os.cpu_count():
            break
        time.sleep(0.1)
    time.sleep(2)  # Until their imports are done; nothing tells.
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
