"""Wheels and sdists hold what they need and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from distributions import OWN, PROJECTS, ROOT, build, metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAMES = {project: metadata(project)["project"]["name"] for project in PROJECTS}
each = pytest.mark.parametrize("project", PROJECTS, ids=NAMES.get)
LICENSE = (ROOT / "LICENSE").read_bytes()


def package_of(project: Path) -> Path:
    """Return the one package of a project, relative to it."""
    (package,) = metadata(project)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return Path(package)


def source_files(project: Path, folder: Path) -> set[str]:
    """Return the files below a folder of a project that are, or would be, in git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line for line in listed.stdout.splitlines() if (project / line).exists()}


def wheel_in(folder: Path, name: str) -> zipfile.ZipFile:
    (path,) = folder.glob(f"{name.replace('-', '_')}-*.whl")
    return zipfile.ZipFile(path)


def sdist_in(folder: Path, name: str) -> tarfile.TarFile:
    (path,) = folder.glob(f"{name.replace('-', '_')}-*.tar.gz")
    return tarfile.open(path)


@each
def test_a_wheel_holds_its_package_and_its_metadata(built: Path, project: Path) -> None:
    package = package_of(project)
    expected = {
        str(Path(file).relative_to(package.parent)) for file in source_files(project, package)
    }
    assert f"{package.name}/__init__.py" in expected
    assert f"{package.name}/py.typed" in expected
    with wheel_in(built, NAMES[project]) as wheel:
        held = set(wheel.namelist())
        (information,) = {entry.partition("/")[0] for entry in held} - {package.name}
        assert held - expected == {
            f"{information}/{file}"
            for file in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
        }
        assert not expected - held
        assert wheel.read(f"{information}/licenses/LICENSE") == LICENSE
        description = wheel.read(f"{information}/METADATA").decode()
        assert (project / "README.md").read_text() in description


def test_the_core_brings_migrations_templates_and_its_command(built: Path) -> None:
    with wheel_in(built, "prover-framework") as wheel:
        held = set(wheel.namelist())
        for part in (
            "database/migrations/0001_initial.py",
            "cli/plugin_template/pyproject.toml.template",
            "cli/plugin_template/proof_type/module.py.template",
            "cli/plugin_template/seal/README.md.template",
        ):
            assert f"prover_framework/{part}" in held
        (points,) = (entry for entry in held if entry.endswith("entry_points.txt"))
        assert "prover = prover_framework.cli:main" in wheel.read(points).decode()


@each
def test_a_wheel_built_from_the_sdist_is_the_same(
    built: Path, tmp_path: Path, project: Path
) -> None:
    with sdist_in(built, NAMES[project]) as sdist:
        held = set(sdist.getnames())
        (top,) = {entry.partition("/")[0] for entry in held}
        sdist.extractall(tmp_path, filter="data")
    folders = [package_of(project)] + [Path("tests")] * (project != ROOT)
    expected = {file for folder in folders for file in source_files(project, folder)}
    expected |= {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}
    # Hatch adds git's list of what to ignore, so that a build from here ignores the same.
    expected |= {".gitignore"} | ({"CHANGELOG.md"} if project == ROOT else set())
    assert {entry.removeprefix(f"{top}/") for entry in held} == expected
    build(tmp_path / top, tmp_path, "wheel")
    with wheel_in(tmp_path, NAMES[project]) as again, wheel_in(built, NAMES[project]) as first:
        assert again.namelist() == first.namelist()
        assert all(again.read(entry) == first.read(entry) for entry in first.namelist())


def test_the_package_index_would_take_them(built: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2 * len(PROJECTS)


@each
def test_the_lowest_versions_that_it_asks_for_are_tried(project: Path) -> None:
    document = metadata(project)["project"]
    wanted = [
        *document["dependencies"],
        *document.get("optional-dependencies", {}).get("testing", ()),
    ]
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tried = {
        canonicalize_name(pin.name): pin.specifier
        for pin in (Requirement(line) for line in lines if not line.startswith("#"))
    }
    for requirement in map(Requirement, wanted):
        if requirement.name.startswith(OWN):
            continue
        (lowest,) = (part.version for part in requirement.specifier if part.operator == ">=")
        assert lowest in tried[canonicalize_name(requirement.name)], (
            f"constraints-lowest.txt must have {requirement.name}=={lowest}, the lowest version "
            f"that {project / 'pyproject.toml'} allows"
        )
