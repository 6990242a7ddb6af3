"""Attachments as files: ``prover status``, ``prover receipt --attachments``, ``prover verify``."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from attaching_plugin import ATTACHING_PLUGIN, READING_PLUGIN, content
from click.testing import CliRunner, Result
from plugin_files import install_plugin
from waiting import answer_that

from prover_framework.app import make_worker, open_runtime
from prover_framework.cli.main import prover
from prover_framework.jobs.service import ProvingService
from prover_framework.model.jobs import FINAL
from prover_framework.sandbox.loading import load_plugins
from prover_framework.settings import Settings

SIZES = {"one.csv": 300_000, "two.csv": 5}
PLUGINS = ("attaching", "reading")


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service's data, with a group that both plugins have attached files in."""
    for name, source in zip(PLUGINS, (ATTACHING_PLUGIN, READING_PLUGIN), strict=True):
        install_plugin(tmp_path / "modules", name, source)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    asyncio.run(_compute(Settings(data_dir=tmp_path / "data", plugins=PLUGINS, worker_slots=1)))
    return tmp_path / "data"


async def _compute(settings: Settings) -> None:
    async with open_runtime(settings, load_plugins(settings)) as runtime:
        asked = {"job_group_id": "g", **{name: {"sizes": SIZES} for name in PLUGINS}}
        service: ProvingService = runtime.service
        await service.submit(service.parse(json.dumps(asked).encode()))
        worker = make_worker(runtime)
        running = asyncio.create_task(worker.run())
        await answer_that(lambda group: group.status in FINAL, lambda: service.status("g"))
        worker.stop()
        await running


def run(data_dir: Path, *arguments: str) -> Result:
    environment = {
        "PROVER_DATA_DIR": str(data_dir),
        "PROVER_PLUGINS": ",".join(PLUGINS),
        "COLUMNS": "300",
    }
    return CliRunner().invoke(prover, arguments, env=environment)


def options(files: Path, *names: str) -> list[str]:
    return [part for name in names for part in ("--attachment", f"{name}={files / name}")]


def test_what_is_attached_is_listed_exported_and_verified(data_dir: Path, tmp_path: Path) -> None:
    listed = run(data_dir, "status", "g").stdout
    assert "attaching: attached one.csv: text/csv, 300,000 bytes, SHA-256 " in listed
    files, file = tmp_path / "files", tmp_path / "receipt.json"
    done = run(data_dir, "receipt", "g", "-o", str(file), "--attachments", str(files))
    assert done.exit_code == 0, done.output
    names = [f"{plugin}/{name}" for plugin in PLUGINS for name in SIZES]
    assert sorted(str(path.relative_to(files)) for path in files.rglob("*.*")) == names
    for name, size in SIZES.items():
        assert (files / "reading" / name).read_bytes() == content(size)
    verified = run(data_dir, "verify", str(file), *options(files, *names))
    assert verified.exit_code == 0, verified.output
    # One byte of one of them.
    (files / "reading" / "two.csv").write_bytes(b"other")
    refused = run(data_dir, "verify", str(file), *options(files, *names))
    assert refused.exit_code == 1
    assert "the file that is given has 5 bytes with the SHA-256" in refused.stdout
    # What is made again needs no file; what is read does.
    alone = run(data_dir, "verify", str(file))
    assert alone.exit_code == 1
    assert "computed again, byte for byte" in alone.stdout
    assert "needs the attachment 'one.csv', which was not given" in alone.stdout


def test_the_receipt_of_one_job_comes_with_its_own(data_dir: Path, tmp_path: Path) -> None:
    done = run(data_dir, "receipt", "g", "attaching", "--attachments", str(tmp_path / "files"))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["statement"]["attachments"].keys() == SIZES.keys()
    written = sorted(
        str(path.relative_to(tmp_path / "files")) for path in tmp_path.glob("files/*/*")
    )
    assert written == ["attaching/one.csv", "attaching/two.csv"]


def test_what_was_changed_in_the_database_is_not_exported(data_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data_dir / "prover.sqlite3")) as database, database:
        database.execute("UPDATE attachment_chunk SET data = x'00' WHERE number = 1")
    done = run(data_dir, "receipt", "g", "--attachments", str(tmp_path / "files"))
    assert done.exit_code == 1
    assert "one.csv of attaching as it is stored is not what its receipt states" in str(
        done.exception
    )
    assert not [*tmp_path.glob("files/*/one.csv*")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["one.csv"], "'one.csv' is not NAME=FILE"),
        (["=x"], "'=x' is not NAME=FILE"),
        (["one.csv=nowhere"], "there is no file 'nowhere'"),
        ([f"a={__file__}", f"a={__file__}"], "'a' is given twice"),
    ],
)
def test_an_option_that_names_no_file_is_told(given: list[str], said: str) -> None:
    arguments = [part for each in given for part in ("--attachment", each)]
    done = CliRunner().invoke(prover, ["verify", __file__, *arguments])
    assert done.exit_code == 2
    assert said in done.output
