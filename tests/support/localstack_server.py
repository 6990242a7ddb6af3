"""LocalStack's SQS for tests, fault runs and measurements: without docker, in a process of its own.

It runs in an environment of its own, which ``make .venv-localstack/.ready`` makes.
"""

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqs_server import SqsEmulator

PYTHON = Path(__file__).parents[2] / ".venv-localstack" / "bin" / "python"

# A machine that compiles its modules for the first time, beside other work.
START_SECONDS = 120.0
STOP_SECONDS = 20.0

# Another process may take a free port before LocalStack listens on it.
ATTEMPTS = 3

# It ends when its standard input does: with the test run, however that ends. A number on it lets
# so many seconds pass by SQS's clock; what they make visible is visible when it answers.
LAUNCHER = """
import os, sys, threading, time, types
from localstack.runtime.main import main

def listen():
    passed = 0.0
    for line in sys.stdin:
        from localstack.services.sqs import models, provider
        passed += float(line)
        clock = types.SimpleNamespace(time=lambda: time.time() + passed)
        models.time = provider.time = clock
        provider.QueueUpdateWorker().do_update_all_queues()
        print("passed", passed, flush=True)
    os._exit(0)

threading.Thread(target=listen, daemon=True).start()
main()
"""


class LocalStackMissing(Exception):
    """LocalStack cannot be had on this machine; the message says why."""


@contextmanager
def localstack_server() -> Iterator[SqsEmulator]:
    """Start LocalStack on a free port of this machine; stop it when the body is left.

    Raises:
        LocalStackMissing: It is not installed, or does not start.
    """
    if not PYTHON.exists():
        raise LocalStackMissing(
            f"LocalStack is not installed in {PYTHON.parents[1]}: make .venv-localstack/.ready"
        )
    with tempfile.TemporaryDirectory(prefix="localstack-") as directory:
        for attempt in range(ATTEMPTS):
            try:
                server = _start(Path(directory))
                break
            except LocalStackMissing:
                if attempt == ATTEMPTS - 1:
                    raise
        try:
            yield server
        finally:
            _stop(server.process)


def _start(directory: Path) -> SqsEmulator:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log = directory / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [PYTHON, "-c", LAUNCHER],
            cwd=directory,
            env=_environment(directory, port),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not _ready(url):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            _stop(process)
            how = "ended" if ended else f"was not ready after {START_SECONDS:g} s"
            raise LocalStackMissing(f"LocalStack {how}: {log.read_text()[-2000:]}")
        time.sleep(0.1)
    return SqsEmulator(url, process)


def _environment(directory: Path, port: int) -> dict[str, str]:
    """Return the variables it runs with: nothing of this machine's configuration."""
    address = f"127.0.0.1:{port}"
    return {
        "PATH": os.environ.get("PATH", ""),
        # Where it keeps things, caches included: nowhere else, root or not, container or not.
        "HOME": str(directory),
        "FILESYSTEM_ROOT": str(directory / "root"),
        "OVERRIDE_IN_DOCKER": "0",
        "SERVICES": "sqs",
        "EAGER_SERVICE_LOADING": "1",
        "GATEWAY_LISTEN": address,
        "LOCALSTACK_HOST": address,
        "SQS_ENDPOINT_STRATEGY": "path",
        # What it would do over the network.
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=5) as answer:
            return b'"sqs": "running"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
