"""``prover submit`` has an option for each parameter of each proof type that is installed."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from plugin_files import install_plugin

from prover_framework.cli import main

PLUGIN = '''
from enum import StrEnum
from attrs import field, frozen
from attrs.validators import ge, in_, le, lt, optional
from prover_framework import ProofType, RangeParameters, hookimpl
PROVER_API = 1

class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"

@frozen(kw_only=True)
class Parameters(RangeParameters):
    """Parameters.

    Args:
        steps: How many steps.
        share: Part of a whole.
        title: What it is called.
        colour: Which colour.
        quick: Whether to hurry.
        limit: Where to end.
        note: Anything to say.
        weights: What counts how much.
    """

    steps: int = field(default=3, validator=[ge(1), le(9)])
    share: float = field(default=0.5, validator=lt(1))
    title: str = "nothing"
    colour: Colour = Colour.RED
    quick: bool = False
    limit: int | None = field(default=None, validator=optional(ge(5)))
    note: str | None = None
    weights: tuple[float, ...] = (1.0,)

@frozen
class Result:
    painted: int

@hookimpl
def proof_type():
    return ProofType(name="painted", title="Painted House", version="1", parameters=Parameters,
                     result=Result)

@hookimpl
def compute():
    return Result(1)
'''

Outcome = subprocess.CompletedProcess[str]
Run = Callable[..., Outcome]


@pytest.fixture
def prover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    install_plugin(tmp_path / "site", "painted", PLUGIN)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PROVER_PLUGINS", "painted")

    def call(*arguments: str) -> Outcome:
        argv = ["prover", *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        code: Any = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        return Outcome(argv, code, *capfd.readouterr())

    return call


def submitted(outcome: Outcome, tmp_path: Path) -> dict[str, Any]:
    """Return the parameters that were stored."""
    assert outcome.returncode == 0, outcome.stderr
    with closing(sqlite3.connect(tmp_path / "data" / "prover.sqlite3")) as connection:
        ((text,),) = connection.execute("SELECT parameters FROM job").fetchall()
    parameters: dict[str, Any] = json.loads(text)
    return parameters


def test_help_lists_the_parameters_with_types_bounds_and_defaults(prover: Run) -> None:
    shown = prover("submit", "--help")
    assert shown.returncode == 0
    text = " ".join(shown.stdout.partition("Parameters of Painted House:")[2].split())
    for words in (
        "--painted.end_timestamp INTEGER Unix seconds, after `start_timestamp`, the first second",
        "--painted.steps INTEGER How many steps. [at least 1; at most 9; default: 3]",
        "--painted.share NUMBER Part of a whole. [less than 1; default: 0.5]",
        "--painted.title TEXT What it is called. [default: nothing]",
        "--painted.colour red|blue Which colour. [default: red]",
        "--painted.quick true|false Whether to hurry. [default: false]",
        "--painted.limit INTEGER Where to end. [at least 5; or null; default: null]",
        "--painted.note TEXT Anything to say. [or null; default: null]",
        "--painted.weights JSON What counts how much. [default: [1.0]]",
    ):
        assert words in text
    assert "--range" in shown.stdout


def test_every_kind_of_value_is_read(prover: Run, tmp_path: Path) -> None:
    outcome = prover(
        "submit",
        *("--painted.start_timestamp", "7", "--painted.end_timestamp=9"),
        *("--painted.steps", "4", "--painted.share", "0.25", "--painted.title", "5"),
        *("--painted.colour", "blue", "--painted.quick", "true", "--painted.limit", "6"),
        *("--painted.note", "not JSON {", "--painted.weights", "[1, 2.5]"),
    )
    assert submitted(outcome, tmp_path) == {
        "start_timestamp": 7,
        "end_timestamp": 9,
        "steps": 4,
        "share": 0.25,
        "title": "5",
        "colour": "blue",
        "quick": True,
        "limit": 6,
        "note": "not JSON {",
        "weights": [1.0, 2.5],
    }


def test_what_is_not_given_has_its_default_and_null_is_a_value(prover: Run, tmp_path: Path) -> None:
    outcome = prover("submit", "--range", "painted=1..2", "--painted.limit", "null")
    stored = submitted(outcome, tmp_path)
    # What has its default is not stored, so that a default that is stated makes no other job.
    assert stored == {"start_timestamp": 1, "end_timestamp": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--painted.steps", "10"], "painted.steps: must be <= 9, got the integer 10"),
        (["--painted.steps", "many"], "Invalid value for '--painted.steps': 'many' is not INTEGER"),
        (["--painted.steps", '"4"'], "painted.steps: must be an integer, got the string '4'"),
        (["--painted.colour", "green"], 'painted.colour: must be one of "red", "blue"'),
        (["--painted.quick", "yes"], "'yes' is not true|false"),
        (["--painted.weights", "1"], "painted.weights: must be an array"),
        (["--painted.limit", "none"], "'none' is not INTEGER"),
        (["--painted.height", "1"], "--painted.height"),
        (["--painted.steps"], "Option '--painted.steps' requires an argument"),
    ],
)
def test_a_mistake_is_named_with_its_parameter(
    prover: Run, arguments: list[str], words: str
) -> None:
    outcome = prover("submit", "--range", "painted=1..2", *arguments)
    assert outcome.returncode == 2
    assert words in outcome.stderr


LOUD = """
print("at its import")

@hookimpl
def validate(parameters):
    print("while it validates")

@hookimpl
def dispatch(job):
    print("while it dispatches")
"""


def test_what_a_plugin_prints_is_not_in_the_output(
    prover: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(tmp_path / "site", "loud", PLUGIN.replace("painted", "loud") + LOUD)
    monkeypatch.setenv("PROVER_PLUGINS", "loud")
    outcome = prover("submit", "--range", "loud=1..2", "--json")
    assert json.loads(outcome.stdout)["status"] == "queued"
    for words in ("at its import", "while it validates", "while it dispatches"):
        assert words in outcome.stderr


def test_help_is_shown_even_where_plugins_can_not_be_loaded(
    prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVER_PLUGINS", "nowhere")
    assert "--range" in prover("submit", "--help").stdout
    outcome = prover("submit", "--painted.steps", "4")
    assert outcome.returncode == 1
    assert "names plugins that are not installed: 'nowhere'" in outcome.stderr
