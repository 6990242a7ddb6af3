"""A service that can not start says why in one line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROVER = Path(sys.executable).with_name("prover")


@pytest.mark.parametrize("command", ["up", "api"])
def test_a_port_in_use_is_one_line(tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [PROVER, command, "--port", port],
            env={**os.environ, "PROVER_DATA_DIR": str(tmp_path), "PROVER_LOG_LEVEL": "ERROR"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"prover: can not listen on 127.0.0.1:{port}: Address already in use; "
        "choose another address with PROVER_HOST and PROVER_PORT\n"
    )


def test_a_data_directory_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [PROVER, "headers", "status"],
        env={**os.environ, "PROVER_DATA_DIR": str(tmp_path / "file" / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("prover: the data directory ")
    assert len(done.stderr.splitlines()) == 1
