"""What the workers of these tests compute with and write to."""

import shutil
from pathlib import Path

import pytest
from worker_bench import LAB, PLUGIN


@pytest.fixture
def lab_module(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    sqlite_template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the lab be found, and begin with a database that has all tables."""
    directory = tmp_path_factory.getbasetemp() / "worker_lab"
    directory.mkdir(exist_ok=True)
    (directory / f"{LAB.module}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(directory))
    shutil.copyfile(sqlite_template, tmp_path / sqlite_template.name)
