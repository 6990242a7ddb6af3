"""`prover plugins` refuses plugins of another API version, and says what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_files import install_plugin

from prover_framework.cli import main
from prover_framework.plugins import catalogue
from prover_framework.plugins import loading as plugins

PROOF = """
from attrs import frozen
from prover_framework import ProofType, RangeParameters, hookimpl
PROVER_API = 1

@frozen
class Result:
    NAME: int

@hookimpl
def proof_type():
    return ProofType(name="NAME", title="NAME", version="1", parameters=RangeParameters,
                     result=Result)

@hookimpl
def compute():
    return Result(1)
"""
SEAL = """
from prover_framework import SealType, Verdict, hookimpl
PROVER_API = 1

@hookimpl
def seal_type():
    return SealType(kind="wax", title="Wax")

@hookimpl
def make_seal():
    return {}

@hookimpl
def check_seal():
    return Verdict(accepted=False, reason="wax proves nothing")
"""
OBSERVER = """
from prover_framework import hookimpl
PROVER_API = 1

@hookimpl
def job_changed(change):
    pass
"""
COMPOSER = OBSERVER.replace("job_changed(change)", "compose(group)")
SOURCES = {
    "proof": PROOF.replace("NAME", "proof"),
    "seal": SEAL,
    "observer": OBSERVER,
    "composer": COMPOSER,
}

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def prover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVER_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["prover", *arguments])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, capsys.readouterr().out

    return call


def failures(text: str, names: set[str]) -> dict[str, str | None]:
    views = json.loads(text)["plugins"]
    return {view["name"]: view["failure"] for view in views if view["name"] in names}


def test_every_plugin_of_another_version_is_refused_when_the_cores_number_changes(
    tmp_path: Path, prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in SOURCES.items():
        install_plugin(tmp_path / "site", name, source)
    monkeypatch.setenv("PROVER_PLUGINS", ",".join(SOURCES))
    code, text = prover("plugins", "--json")
    assert code == 0
    assert failures(text, set(SOURCES)) == dict.fromkeys(SOURCES)

    for module in (plugins, catalogue):
        monkeypatch.setattr(module, "API_VERSION", 2)
    code, text = prover("plugins", "--json")
    assert code == 1
    assert failures(text, set(SOURCES)) == dict.fromkeys(
        SOURCES,
        "it is written for API version 1 and this is version 2: install a version of the plugin "
        "that fits, or an older prover-framework of API 1",
    )
    code, text = prover("plugins")
    assert code == 1
    assert "install a version of the plugin that fits" in text


@pytest.mark.parametrize("name", sorted(SOURCES))
@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ("", "states none; its author writes PROVER_API = 1 there, if it is written for this"),
        ("PROVER_API = '1'", "has PROVER_API = '1'; its author writes PROVER_API = 1 there"),
        ("PROVER_API = True", "has PROVER_API = True; its author writes"),
        ("PROVER_API = 2", "it is written for API version 2 and this is version 1: install a ver"),
        ("PROVER_API = 0", "it is written for API version 0 and this is version 1: install a ver"),
    ],
)
def test_a_plugin_states_its_version_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, stated: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    source = SOURCES[name].replace("PROVER_API = 1", stated)
    [plugin] = plugins.load([install_plugin(tmp_path / "site", name, source)]).found
    assert reason in (plugin.failure or "")


def test_what_reads_the_database_alone_imports_no_plugin(
    tmp_path: Path, prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "imported"
    source = f"import pathlib\npathlib.Path({str(note)!r}).touch()\n" + SOURCES["proof"]
    install_plugin(tmp_path / "site", "proof", source)
    monkeypatch.setenv("PROVER_PLUGINS", "proof")
    submit = ("submit", "--id", "g", "--range", "proof=0..7200")
    assert prover(*submit)[0] == 0
    note.unlink()
    for command in (
        ("status", "g"),
        ("list",),
        ("headers", "status"),
        ("queue", "status"),
        ("dead", "list"),
        ("key", "list"),
        ("migrate",),
        ("--help",),
        ("status", "--help"),
    ):
        prover(*command)
        assert not note.exists(), command
