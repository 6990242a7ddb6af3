"""The ``prover`` command."""

from prover_framework.cli.early import end_on_signals

# Before the imports, which take most of a second.
end_on_signals()

from prover_framework.cli.main import main  # noqa: E402

__all__ = ["main"]
