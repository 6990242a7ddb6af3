"""A command in this process, with a data directory of the test's own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from run_command import run_command


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let commands have nothing of the developer's environment, and a directory of their own."""
    for name in [name for name in os.environ if name.startswith("PROVER_")]:
        if name != "PROVER_GOLDEN_DIR":
            monkeypatch.delenv(name)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("SQS_QUEUE_URL", raising=False)
    # A developer's .env must not reach the tests.
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    monkeypatch.setenv("PROVER_DATA_DIR", str(folder))
    # Nodes of tests need not be spared.
    monkeypatch.setenv("PROVER_RPC_REQUESTS_PER_SECOND", "10000")
    monkeypatch.setenv("PROVER_FOLLOW_SECONDS", "0.01")
    monkeypatch.setenv("PROVER_RPC_RETRY_SECONDS", "0.01")
    return folder


@pytest.fixture
def prover(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command; no stack trace and no key of a node's URL is ever shown."""
    del data_dir

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = run_command(monkeypatch, capfd, *arguments)
        assert "Traceback" not in done.stdout + done.stderr
        assert "secret-key" not in done.stdout + done.stderr
        return done

    return call
