"""What a user has: built distributions, and an environment with these and no source tree."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import PROJECTS, Environment, build, collect_wheels_of_others, metadata


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist of core, plugins and examples."""
    folder = tmp_path_factory.mktemp("dist")
    for project in PROJECTS:
        build(project, folder)
    return folder


@pytest.fixture(scope="module")
def fresh(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A new environment with core and plugins from their wheels, as pip installs them."""
    directory = tmp_path_factory.mktemp("fresh")
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    environment = Environment(
        directory / "venv",
        directory / "work",
        {
            **{name: os.environ[name] for name in kept if name in os.environ},
            # pip finds what it is asked for in these folders, also where it builds.
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": f"{built} {collect_wheels_of_others()}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_QUIET": "1",
            # What is not imported here need not be compiled: most of it, with scipy.
            "PIP_NO_COMPILE": "1",
        },
    )
    environment.work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment.directory], check=True)
    plugins = [metadata(p)["project"]["name"] for p in PROJECTS if p.parent.name == "plugins"]
    environment.run("pip", "install", "prover-framework", *plugins)
    yield environment
    # Hundreds of megabytes that nobody looks at.
    shutil.rmtree(environment.directory)
