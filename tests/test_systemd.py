"""systemd is told, over its own socket, what it wants to know."""

import os
import socket
from pathlib import Path

import pytest
from prover_processes import Installation
from waiting import PATIENCE_SECONDS

from prover_framework.systemd import Systemd


@pytest.fixture
def listener(tmp_path: Path) -> "tuple[socket.socket, str]":
    address = str(tmp_path / "notify")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(PATIENCE_SECONDS)
    return made, address


def test_a_worker_tells_that_it_is_ready_lives_and_stops(
    listener: tuple[socket.socket, str], tmp_path: Path
) -> None:
    heard, address = listener
    service = Installation(tmp_path, {}, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"})
    with heard, service.running("worker") as worker:
        told = [heard.recv(100)]
        while not {b"READY=1", b"WATCHDOG=1"} <= {*told} or told.count(b"WATCHDOG=1") < 3:
            told.append(heard.recv(100))
        worker.terminate()
        while told[-1] != b"STOPPING=1":
            told.append(heard.recv(100))
        assert worker.wait(PATIENCE_SECONDS) == 0
    assert "systemd is not told" not in service.log("worker").read_text()


def test_variables_are_for_this_process_alone() -> None:
    environment = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5000000", "PATH": "/bin"}
    assert Systemd.of(environment) == Systemd("/run/x", 5.0)
    assert environment == {"PATH": "/bin"}
    other = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}
    assert Systemd.of(other) == Systemd("/run/x", None)
    own = {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}
    assert Systemd.of(own) == Systemd(None, 5.0)
    assert Systemd.of({}) == Systemd()


def test_a_socket_that_is_gone_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    Systemd("/nonexistent/notify").ready()
    assert "systemd is not told READY=1" in caplog.text
    Systemd("@prover-nobody-listens").ready()
    Systemd().stopping()
