"""The ``prover`` command."""

from prover_framework.cli.main import main

__all__ = ["main"]
