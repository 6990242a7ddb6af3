"""``prover new-plugin`` writes a distribution that is in order as it stands, or nothing at all."""

import importlib
import keyword
import re
import subprocess
import sys
import tomllib
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import attrs
import pytest
from click import BadParameter
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from plugin_files import write_plugin as write_module

from prover_framework.cli import new_plugin
from prover_framework.cli.main import prover
from prover_framework.cli.new_plugin import KINDS, Names, names_for, write_plugin
from prover_framework.testing import service_in_a_box
from prover_framework.testing.box import SETTINGS

BIN = Path(sys.executable).parent

words = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_a_distribution_and_says_how_to_go_on(here: Path) -> None:
    done = CliRunner().invoke(prover, ["new-plugin", "highest-hour"])
    assert done.exit_code == 0, done.output
    assert files(here / "prover-highest-hour") == {
        "README.md",
        "pyproject.toml",
        "src/prover_highest_hour/__init__.py",
        "src/prover_highest_hour/py.typed",
        "tests/test_highest_hour.py",
    }
    for line in (
        "cd prover-highest-hour",
        "pip install -e '.[testing]'",
        "pytest",
        "prove in src/",
    ):
        assert line in done.output
    assert [path.name for path in here.iterdir()] == ["prover-highest-hour"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_whole_distribution(here: Path, kind: str) -> None:
    done = CliRunner().invoke(prover, ["new-plugin", "some-name", "--kind", kind])
    assert done.exit_code == 0, done.output
    assert f"has the {kind.replace('-', ' ')} some_name. Next:" in done.output
    assert KINDS[kind].begin in done.output
    project = here / "prover-some-name"
    assert files(project) == {
        "README.md",
        "pyproject.toml",
        "src/prover_some_name/__init__.py",
        "src/prover_some_name/py.typed",
        "tests/test_some_name.py",
    }
    for name in files(project):
        assert "$" not in (project / name).read_text(), name
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == KINDS[kind].description


def test_its_metadata_lead_the_service_to_the_module(here: Path) -> None:
    write_plugin(names_for("highest-hour"), here / "new")
    project = tomllib.loads((here / "new" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "prover-highest-hour"
    assert project["entry-points"]["prover_framework"] == {"highest_hour": "prover_highest_hour"}
    (core,) = (text for text in project["dependencies"] if text.startswith("prover-framework"))
    accepted = SpecifierSet(core.removeprefix("prover-framework"))
    assert version("prover-framework") in accepted


@pytest.mark.parametrize(
    ("installed", "fits", "misfits"),
    [("0.1.0", "0.1.9", "0.2.0"), ("0.9", "0.9.1", "0.10"), ("2.3.4", "2.9", "3.0")],
)
def test_it_asks_for_a_core_like_the_one_it_was_written_with(
    installed: str, fits: str, misfits: str
) -> None:
    accepted = SpecifierSet(new_plugin._compatible(installed))
    assert installed in accepted
    assert fits in accepted
    assert misfits not in accepted


def checked(command: list[str | Path], directory: Path) -> None:
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "y" * new_plugin.MAX_NAME_LENGTH])
def test_what_it_writes_has_style(here: Path, kind: str, name: str) -> None:
    write_plugin(names_for(name), here / "new", KINDS[kind])
    checked(["ruff", "check"], here / "new")
    checked(["ruff", "format", "--check"], here / "new")


def test_what_it_writes_has_types(here: Path) -> None:
    folders: list[str | Path] = []
    for number, kind in enumerate(KINDS.values()):
        write_plugin(names_for(f"x{number}"), here / f"x{number}", kind)
        folders += [f"x{number}/src", f"x{number}/tests"]
    path = ":".join(f"x{number}/src" for number in range(len(KINDS)))
    (here / "mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {path}\n")
    checked(["mypy", *folders], here)


@given(
    st.lists(words, min_size=1, max_size=3), st.sampled_from("-_"), st.sampled_from(["", "prover"])
)
def test_a_name_gives_a_distribution_a_module_and_a_key(
    parts: list[str], joint: str, prefix: str
) -> None:
    text = joint.join([prefix, *parts] if prefix else parts)
    try:
        names = names_for(text)
    except BadParameter as refusal:
        name = "_".join(parts)
        taken = (
            keyword.iskeyword(name)
            or name in new_plugin.PROOF_TYPE.taken
            or "installed" in str(refusal)
        )
        assert taken or name == "prover" or name.startswith("prover_"), text
        return
    assert names.name == "_".join(parts[1:] if parts[0] == "prover" and not prefix else parts)
    assert names.name.isidentifier()
    assert names.module == f"prover_{names.name}"
    assert names.distribution == canonicalize_name(names.distribution)
    assert names.distribution == names.module.replace("_", "-")
    assert names.title.split() == [part.capitalize() for part in names.name.split("_")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must be 1 to 40 lower-case letters and digits"),
        ("Highest", "must be 1 to 40 lower-case letters and digits"),
        ("2nd-hour", "begin with a letter"),
        ("a--b", "single '-' or '_'"),
        ("a-", "single '-' or '_'"),
        ("a.b", "single '-' or '_'"),
        ("a/b", "single '-' or '_'"),
        ("größe", "lower-case letters"),
        ("a\n", "lower-case letters"),
        ("z" * 41, "must be 1 to 40"),
        ("class", "'class' is a keyword of Python"),
        ("prover-class", "is a keyword of Python"),
        ("self", "has another meaning"),
        ("evidence", "has another meaning"),
        ("job-group-id", "has another meaning"),
        ("occurred-hour", "has another meaning"),
        ("framework", r"prover-framework \S+ is installed already"),
        ("prover_framework", r"prover-framework \S+ is installed already"),
    ],
)
def test_a_name_that_would_not_work_is_refused(here: Path, name: str, reason: str) -> None:
    done = CliRunner().invoke(prover, ["new-plugin", "--", name])
    assert done.exit_code == 2
    assert re.search(reason, done.output), done.output
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("kind", "name"),
    [("input-kind", "block-headers"), ("input-kind", "results"), ("seal", "ed25519")],
)
def test_a_name_of_the_frameworks_own_is_refused(here: Path, kind: str, name: str) -> None:
    done = CliRunner().invoke(prover, ["new-plugin", name, "--kind", kind])
    assert done.exit_code == 2
    assert "has another meaning" in done.output
    assert not list(here.iterdir())
    assert names_for(name, KINDS["observer"]).name == name.replace("-", "_")


def test_what_is_there_is_left_alone(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "file").write_text("mine")
    (here / "link").symlink_to("nowhere")
    for target in ("empty", "file", "link"):
        done = CliRunner().invoke(prover, ["new-plugin", "x", "--directory", target])
        assert done.exit_code == 2
        assert f"{target} exists already" in done.output
    done = CliRunner().invoke(prover, ["new-plugin", "x", "--directory", "none/new"])
    assert done.exit_code == 2
    assert "none is no directory to make new in" in done.output
    assert files(here) == {"file"}
    assert (here / "file").read_text() == "mine"
    assert len(list(here.iterdir())) == 3


def test_nothing_is_left_of_what_could_not_be_finished(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text
    written: list[Path] = []

    def full(self: Path, text: str, **how: str) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(self)
        return write(self, text, **how)

    monkeypatch.setattr(Path, "write_text", full)
    names = Names(name="x", title="X", distribution="prover-x", module="prover_x")
    with pytest.raises(OSError, match="No space left"):
        write_plugin(names, here / "new")
    assert len(written) == 3
    assert not list(here.iterdir())


def test_the_readme_of_a_kind_of_input_says_how_a_proof_type_uses_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = names_for("shared-table")
    write_plugin(names, here / "new", KINDS["input-kind"])
    readme = (here / "new" / "README.md").read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    monkeypatch.syspath_prepend(here)
    monkeypatch.syspath_prepend(here / "new" / "src")
    user = write_module(here, "doubled", source).module
    table = here / "table.json"
    table.write_text('{"2024-01-01": "2500.5"}')
    settings = attrs.evolve(
        SETTINGS,
        plugin_variables={
            "PROVER_PLUGIN__SHARED_TABLE__URL": table.as_uri(),
            "PROVER_PLUGIN__SHARED_TABLE__SHA256": f'"0x{sha256(table.read_bytes()).hexdigest()}"',
        },
    )
    modules = [importlib.import_module(name) for name in (names.module, user)]
    with service_in_a_box(*modules, settings=settings) as box:
        group = box.submit({"job_group_id": "g", "doubled": {"day": "2024-01-01"}})
        report = box.verify("g")
    for name in (names.module, user):
        del sys.modules[name]
    (job,) = group.jobs
    assert job.error is None
    assert isinstance(job.result, dict)
    assert job.result["doubled"] == "5001"
    assert report.accepted, report.checks
