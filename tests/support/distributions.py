"""Distributions as users get them, and an environment that has these and no source tree."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from attrs import frozen
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent

# The core first, then what needs it.
PROJECTS = [
    ROOT,
    *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")),
    *sorted(file.parent for file in ROOT.glob("examples/*/pyproject.toml")),
]
OWN = "prover-"

# Longer than any one command takes on a busy machine with a slow line.
PATIENCE_SECONDS = 300


def metadata(project: Path) -> dict[str, Any]:
    document: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text())
    return document


def build(project: Path, folder: Path, *targets: str) -> None:
    """Build a project as any front end would, with the backend that it names."""
    chosen = [word for target in targets for word in ("-t", target)]
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder, *chosen],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@frozen
class Environment:
    """A virtual environment, and a working directory that has nothing to do with this project."""

    directory: Path
    work: Path
    variables: dict[str, str]

    def command(self, name: str) -> str:
        return str(self.directory / "bin" / name)

    def run(
        self, name: str, *arguments: str | Path, cwd: Path | None = None, status: int = 0
    ) -> str:
        """Run one of its commands, which ends with a status; return what it printed."""
        done = subprocess.run(
            [self.command(name), *arguments],
            cwd=cwd or self.work,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == status, f"{name} {' '.join(map(str, arguments))}\n{done.stdout}"
        return done.stdout


def collect_wheels_of_others() -> Path:
    """Return a folder with wheels of all that the distributions need, kept for the next run."""
    wanted: set[str] = set()
    for project in PROJECTS:
        document = metadata(project)
        wanted.update(document["build-system"]["requires"])
        wanted.update(document["project"]["dependencies"])
        wanted.update(document["project"].get("optional-dependencies", {}).get("testing", ()))
    needed = sorted(text for text in wanted if not Requirement(text).name.startswith(OWN))
    constraints = ROOT / "constraints.txt"
    key = hashlib.sha256("\n".join([sys.version, *needed, constraints.read_text()]).encode())
    folder = Path(sys.prefix) / f"wheels-{key.hexdigest()[:16]}"
    if not folder.exists():
        for old in Path(sys.prefix).glob("wheels-*"):
            shutil.rmtree(old)
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet"),
                *("-w", str(part), "-c", str(constraints), *needed),
            ],
            check=True,
            timeout=PATIENCE_SECONDS,
        )
        part.rename(folder)
    return folder
