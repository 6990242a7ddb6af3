"""Plugins that a test writes as files: as a module, or as a distribution that can be found."""

from itertools import count
from pathlib import Path

from prover_framework.plugins.calls import Candidate

_numbers = count()


def write_plugin(directory: Path, name: str, source: str) -> Candidate:
    """Write a plugin's module into a directory of the path; each has a name of its own."""
    module = f"plugin_written_by_a_test_{next(_numbers)}"
    directory.mkdir(exist_ok=True)
    (directory / f"{module}.py").write_text(source, "utf-8")
    return Candidate(name, module, f"prover-{name.replace('_', '-')}", "1.0")


def install_plugin(directory: Path, name: str, source: str) -> Candidate:
    """Write a plugin with the files that make an installed distribution of it."""
    candidate = write_plugin(directory, name, source)
    metadata = directory / f"{candidate.distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {candidate.distribution}\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(f"[prover_framework]\n{name} = {candidate.module}\n")
    return candidate
