"""Signals, from the first moment of a process to its last."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from prover_processes import COMMAND, Installation
from slow_plugin import SLOW_PLUGIN
from waiting import PATIENCE_SECONDS, wait_until


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path, {}, {"PROVER_PLUGINS": "twap", "PROVER_WORKER_SLOTS": "1"})


def listens_to(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\t([0-9a-f]+)", status, flags=re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> number - 1 & 1)


def can_be_first() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and not subprocess.run(
            [unshare, "--pid", "--fork", "true"], check=False, capture_output=True
        ).returncode
    )


@pytest.mark.skipif(not can_be_first(), reason="this machine lets nobody have a process 1")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_process_1_can_be_ended_in_its_first_second(
    installation: Installation, number: signal.Signals
) -> None:
    with installation.log("first").open("ab") as log:
        outside = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", *COMMAND, "up"],
            env=installation.environment,
            cwd=installation.directory,
            stderr=log,
        )
    try:
        wait_until(lambda: bool(psutil.Process(outside.pid).children()))
        (first,) = psutil.Process(outside.pid).children()
        wait_until(lambda: listens_to(first.pid, number))
        first.send_signal(number)
        assert outside.wait(PATIENCE_SECONDS) == 128 + number
    finally:
        outside.kill()
        outside.wait()
    assert "API: listening" not in installation.log("first").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_stops_a_service_in_order(
    installation: Installation, number: signal.Signals
) -> None:
    with installation.running("up") as process:
        installation.url("up")
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert "API: stopped" in installation.log("up").read_text()


def test_under_nohup_a_terminal_that_closes_stops_nothing(installation: Installation) -> None:
    with installation.log("up").open("ab") as log:
        process = subprocess.Popen(
            ["nohup", *COMMAND, "up"],
            env=installation.environment,
            cwd=installation.directory,
            stdout=log,
            stderr=log,
        )
    try:
        installation.url("up")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_a_second_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    """What runs has ten minutes to finish, and is not waited for."""
    notes = tmp_path / "notes"
    notes.mkdir()
    installation = Installation(
        tmp_path,
        {"prover_test_slow": SLOW_PLUGIN},
        {
            "PROVER_PLUGINS": "prover_test_slow",
            "PROVER_WORKER_SLOTS": "1",
            "PROVER_STOP_SECONDS": "600",
        },
    )
    installation.command("headers", "simulate", "--days", "1", "--end", "1704067200")
    range_ = ("--slow.start_timestamp", "1703980800", "--slow.end_timestamp", "1704067200")
    slow = ("--slow.seconds", "600", "--slow.notes", str(notes))
    installation.command("submit", "--id", "g", *range_, *slow)
    with installation.running("worker") as process:
        wait_until(lambda: any(notes.iterdir()))
        started = psutil.Process(process.pid).children(recursive=True)
        assert started
        process.send_signal(signal.SIGINT)
        wait_until(lambda: "a second Ctrl-C" in installation.log("worker").read_text())

        def has_ended() -> bool:
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        wait_until(has_ended)
        assert process.returncode == 128 + signal.SIGINT
        wait_until(lambda: not any(map(psutil.Process.is_running, started)))
    assert "ended at once" in installation.log("worker").read_text()
