"""The digest of a plugin is that of its own files, however it was installed."""

import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from prover_framework.errors import PluginError
from prover_framework.plugins.package_digest import machine, package_digest, software_of

FILES = {
    "__init__.py": b"",
    "data/table.csv": b"1,2\n",
    "part.py": b"x = 1\n",
    "py.typed": b"",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a package in a folder of the path."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, content in FILES.items():
        file = tmp_path / "packaged" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    yield tmp_path / "packaged"
    for name in [name for name in sys.modules if name.partition(".")[0] in ("packaged", "single")]:
        del sys.modules[name]


def test_a_digest_is_of_paths_and_contents_in_order(folder: Path) -> None:
    assert folder.is_dir()
    expected = sha256(b"prover-framework/package/1\0")
    for name, content in FILES.items():
        expected.update(sha256(name.encode()).digest() + sha256(content).digest())
    assert package_digest("packaged") == expected.digest()
    assert package_digest("packaged.part") == expected.digest(), "the package as a whole counts"


@pytest.mark.parametrize(
    "name", ["__pycache__/part.pyc", ".DS_Store", "packaged.egg-info/PKG-INFO", "part.py~", "a.pyc"]
)
def test_what_an_installation_leaves_does_not_count(folder: Path, name: str) -> None:
    before = package_digest("packaged")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"rubbish")
    assert package_digest("packaged") == before


def test_every_other_change_counts(folder: Path) -> None:
    digests = {package_digest("packaged")}
    (folder / "part.py").write_bytes(b"x = 2\n")
    digests.add(package_digest("packaged"))
    (folder / "data" / "table.csv").rename(folder / "data" / "other.csv")
    digests.add(package_digest("packaged"))
    (folder / "more.py").write_bytes(b"")
    digests.add(package_digest("packaged"))
    shutil.move(folder / "more.py", folder / "data" / "more.py")
    digests.add(package_digest("packaged"))
    assert len(digests) == 5


def test_a_module_alone_is_one_file(folder: Path) -> None:
    (folder.parent / "single.py").write_bytes(b"y = 1\n")
    digest = package_digest("single")
    (folder.parent / "another.py").write_bytes(b"y = 1\n")
    assert package_digest("single") == digest


def test_a_package_within_a_namespace_is_not_all_of_it(folder: Path) -> None:
    (folder / "__init__.py").unlink()
    inner = folder / "data"
    (inner / "__init__.py").write_bytes(b"")
    digest = package_digest("packaged.data")
    (folder / "part.py").write_bytes(b"x = 3\n")
    assert package_digest("packaged.data") == digest


def test_what_has_no_file_has_no_digest() -> None:
    with pytest.raises(PluginError, match="sys has no file"):
        package_digest("sys")


def test_software_is_named_with_its_versions() -> None:
    found = software_of("prover-reserve-price")
    assert found["prover-framework"]
    assert {"python", "numpy", "scipy", "prover-reserve-price", "attrs"} <= set(found)
    assert set(software_of()) == {"python", "prover-framework"}
    assert software_of("not-installed") == software_of()
    assert machine().startswith(("Linux ", "Darwin "))
