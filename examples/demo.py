"""The whole service in a few seconds: simulate a chain, start, submit a job group, show results.

It ends as whoever gets the results should begin: by verifying their receipts.

It uses a directory of its own, which is gone afterwards, and a free port.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from client import round_request, submit, wait
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

# 2024-01-01T00:00Z. A fixed end makes every run of the demonstration give the same numbers.
END_TIMESTAMP = 1_704_067_200
DAYS = 90

PROVER = Path(sys.executable).with_name("prover")
# With this variable the service stays up, to look at its pages, until Ctrl-C.
STAY = "STAY"

START_SECONDS = 30
STOP_SECONDS = 30


def main() -> int:
    """Run the demonstration; return the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prover-demo-") as directory:
        log_path = Path(directory, "service.log")
        environment = {**os.environ, "PROVER_DATA_DIR": directory}
        console.print(f"[bold]1.[/] Simulating {DAYS} days of block headers")
        subprocess.run(
            [PROVER, "headers", "simulate", "--days", str(DAYS), "--end", str(END_TIMESTAMP)],
            env=environment,
            check=True,
        )
        subprocess.run([PROVER, "key", "create"], env=environment, check=True, capture_output=True)
        port = _free_port()
        base_url = f"http://127.0.0.1:{port}"
        console.print(f"[bold]2.[/] Starting API and worker: prover up --port {port}")
        console.print(f"   pages: {base_url}/")
        with log_path.open("wb") as log:
            service = subprocess.Popen(
                [PROVER, "up", "--port", str(port)], env=environment, stderr=log, stdout=log
            )
            try:
                _wait_until_healthy(service, base_url)
                body = round_request("demo", END_TIMESTAMP)
                console.print(f"[bold]3.[/] POST {base_url}/api/job")
                group_id = submit(base_url, body)
                console.print(f"   its page, while this runs: {base_url}/groups/{group_id}")
                with Live(console=console, transient=True, auto_refresh=False) as live:
                    group = wait(
                        base_url,
                        group_id,
                        seconds=120,
                        on_change=lambda now: live.update(_progress(now), refresh=True),
                    )
                if STAY in os.environ:
                    console.print(f"It stays up: {base_url}/groups/{group_id} (Ctrl-C ends it)")
                    _wait_for_interrupt(service)
            finally:
                status = _stop(service)
        console.print("[bold]4.[/] Results")
        console.print(_results(group))
        console.print("[bold]5.[/] Verifying the receipts, with a public key that we pin")
        verified = _verify(group_id, Path(directory), environment)
        console.print(
            f"Stopped with exit status {status}, {time.monotonic() - started:.1f} s in all. "
            "The chain is simulated: these numbers settle nothing."
        )
        if status != 0 or group["status"] != "succeeded" or not verified:
            console.print(log_path.read_text(), markup=False)
            return 1
    return 0


def _verify(group_id: str, directory: Path, environment: dict[str, str]) -> bool:
    """Write the group's receipt to a file and verify that; tell whether all checks passed.

    What is printed at the end says what was shown and what is taken on trust.
    """
    key, receipt = directory / "key.json", directory / "receipt.json"
    with key.open("wb") as file:
        subprocess.run([PROVER, "key", "show"], env=environment, check=True, stdout=file)
    subprocess.run(
        [PROVER, "receipt", group_id, "-o", receipt],
        env=environment,
        check=True,
    )
    done = subprocess.run([PROVER, "verify", receipt, "--key", key], env=environment, check=False)
    return done.returncode == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_healthy(service: "subprocess.Popen[bytes]", base_url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with status {service.returncode}")
        try:
            with urllib.request.urlopen(f"{base_url}/health", timeout=1):
                return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise TimeoutError(f"the service was not ready within {START_SECONDS} s")


def _wait_for_interrupt(service: "subprocess.Popen[bytes]") -> None:
    # The service has it, too.
    with contextlib.suppress(KeyboardInterrupt):
        service.wait()


def _stop(service: "subprocess.Popen[bytes]") -> int:
    service.send_signal(signal.SIGTERM)
    try:
        return service.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        return service.wait()


def _progress(group: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None)
    for job in group["jobs"]:
        table.add_row("", job["job_id"], job["status"])
    return table


def _results(group: dict[str, Any]) -> Table:
    table = Table("proof", Column("result", no_wrap=True), "hours", "explained by", box=SIMPLE)
    for job in group["jobs"]:
        name, result = job["job_id"], job["result"]
        if result is None:
            table.add_row(name, job["status"], "", job["error"]["message"])
            continue
        evidence = result["evidence"]
        table.add_row(
            name,
            f"{result[name]:,.6g}" if abs(result[name]) < 1000 else f"{result[name]:,.0f} wei",
            f"{evidence['inputs']['hourly_base_fee']['facts']['hours']:,}",
            _explanation(result),
        )
    return table


def _explanation(result: dict[str, Any]) -> str:
    if "standard_error" in result:
        return f"standard error {result['standard_error']:,.0f}, strike {result['strike']:,.0f}"
    if "occurred_hour" in result:
        return f"at hour {result['occurred_hour']}, window {result['window_hours']} hours"
    return f"block-weighted mean {result['block_weighted_mean']:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
