"""The examples run as the README says."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROVER = Path(sys.executable).with_name("prover")
END = 1_704_067_200


def test_the_demo_shows_three_results_and_stops() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A fixed end makes the simulated chain, and so the numbers, the same in every run.
    assert "20,036,980,732 wei" in done.stdout
    assert re.search(r"reserve_price\W+1,894,\d{3},\d{3} wei", done.stdout)
    assert "0.202338" in done.stdout
    assert "exit status 0" in done.stdout


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    environment = {**os.environ, "PROVER_DATA_DIR": str(tmp_path)}
    subprocess.run(
        [PROVER, "headers", "simulate", "--days", "90", "--end", str(END)],
        env=environment,
        check=True,
        capture_output=True,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen([PROVER, "up", "--port", str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_client_prints_the_three_numbers(service: str) -> None:
    client = [sys.executable, str(ROOT / "examples" / "client.py"), service, str(END)]
    for _ in range(2):  # Submitting the same round again is harmless.
        done = subprocess.run(client, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        numbers = dict(line.split() for line in done.stdout.splitlines())
        assert set(numbers) == {"twap", "reserve_price", "max_return"}
        assert float(numbers["twap"]) == 20036980732.038345


def test_the_curl_command_of_the_readme_works(service: str) -> None:
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"^curl \S+/api/job -H [\s\S]+?\n}'$", readme, flags=re.MULTILINE)
    assert command is not None
    script = command[0].replace("http://127.0.0.1:3000", service)
    done = subprocess.run(["bash", "-c", f"{script} -s"], capture_output=True, check=True)
    promised = re.search(r'^\{"status": "success".*$', readme, flags=re.MULTILINE)
    assert promised is not None
    assert json.loads(done.stdout) == json.loads(promised[0])
