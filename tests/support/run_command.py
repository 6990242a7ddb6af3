"""Run a command of the command line in this process."""

import subprocess
import sys
from typing import Any

import pytest

from prover_framework.cli import main


def run_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Run ``prover`` with arguments; return its exit status and what it has printed."""
    argv = ["prover", *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", argv)
    capfd.readouterr()
    code: Any = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code or 0
    out, err = capfd.readouterr()
    return subprocess.CompletedProcess(argv, code, out, err)
