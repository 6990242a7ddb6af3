"""What a plugin declares is tried when it is loaded: what does not survive is its own failure."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_files import install_plugin, write_plugin

from prover_framework.cli import main
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.catalogue import catalogue
from prover_framework.plugins.loading import load
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import dump_json

HEAD = """
import datetime, decimal, enum, fractions, itertools, random, uuid
from collections.abc import Iterable
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
import attrs
from attrs import Factory, define, field, frozen
from attrs.validators import ge, gt, in_, le, matches_re, min_len
from prover_framework import JsonType, ProofType, RangeParameters, Wei, hookimpl

PROVER_API = 1

@frozen(kw_only=True)
class Result:
    odd: int
"""
TAIL = """
@hookimpl
def proof_type():
    return ProofType(name="odd", title="Odd", version="1", parameters=Parameters, result=Result)

@hookimpl
def compute():
    return Result(odd=1)
"""
SOUND = (
    HEAD.replace("odd", "sound")
    + "\nclass Parameters(RangeParameters): ...\nParameters = RangeParameters\n"
    + TAIL.replace("odd", "sound")
)

Write = Callable[[str], Candidate]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.syspath_prepend(tmp_path)
    return lambda body: write_plugin(tmp_path, "odd", HEAD + body + TAIL)


def parameters(fields: str, before: str = "", decorator: str = "@frozen(kw_only=True)") -> str:
    return f"{before}\n{decorator}\nclass Parameters(RangeParameters):\n    {fields}\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (parameters("x: object = object()"), "Parameters.x has the type <class 'object'>"),
        (parameters("x: int = None"), "Parameters.x: its default cannot be shown: None must be"),
        (parameters("x: int = object()"), "Parameters.x: its default cannot be shown: <object"),
        (parameters("x: float = float('nan')"), "Parameters.x: its default cannot be shown: nan"),
        (parameters("x: float = float('inf')"), "Parameters.x: its default cannot be shown: inf"),
        (parameters("x: int = 2**60"), "Parameters.x: its default cannot be shown: 115292150460"),
        (parameters("x: Any = field(factory=object)"), "Parameters.x: its default cannot be sh"),
        (parameters("x: list[str] = field(factory=lambda: [object()])"), "Parameters.x: its def"),
        (parameters("x: int = field(factory=lambda: 1 / 0)"), "Parameters.x: its default cannot "),
        (parameters("x: str = field(factory=lambda: uuid.uuid4().hex)"), "its default is another"),
        (parameters("x: int = field(default=5, validator=le(4))"), "Parameters.x: its default is "),
        (parameters("x: str = '\\ud800'"), "Parameters.x: its default cannot be shown: '\\ud800'"),
        (parameters("x: tuple = (b'a', {1: 2})"), "Parameters.x: its default cannot be shown"),
        (
            parameters("x: int = field(default=0, converter=lambda x: x + 1)"),
            "Parameters: Parameters(",
        ),
        ("@frozen(eq=False)\nclass Parameters:\n    x: int = 0", "after it went through JSON"),
        (
            parameters("x: str = field(validator=matches_re('a+'))", decorator="@define"),
            "",
        ),
        (
            parameters(
                "x: int = 0\n    def __attrs_post_init__(self):\n        raise KeyError('no')"
            ),
            "Parameters: making one raised KeyError: 'no'",
        ),
        (
            parameters("x: Inner", "@frozen\nclass Inner:\n    y: set[dict[str, int]]"),
            "Inner.y: no values of it can be made to try: TypeError: unhashable type",
        ),
        (parameters("x: Inner", "@frozen\nclass Inner:\n    y: int = 'a'"), "Inner.y: its default"),
        (parameters("x: int | str = 1"), "of unions, those of attrs classes with a tag have one"),
        (
            parameters("x: A | B", "@frozen\nclass A: ...\n@frozen\nclass B: ..."),
            "whose classes cannot be told apart: each needs a field of one name",
        ),
        (
            parameters(
                "x: Box[int]", "T = TypeVar('T')\n@frozen\nclass Box(Generic[T]):\n    y: T"
            ),
            "Parameters.x",
        ),
        (
            parameters(
                "x: Annotated[fractions.Fraction, JsonType(via=str, read=fractions.Fraction, "
                "write=lambda f: str(float(f)), samples=(fractions.Fraction(1, 3),))]"
            ),
            "Parameters.x: Fraction(1, 3) is Fraction(",
        ),
        (
            parameters(
                "x: Annotated[fractions.Fraction, JsonType(via=str, read=fractions.Fraction, "
                "write=float, samples=(fractions.Fraction(1, 3),))]"
            ),
            "Parameters.x: Fraction(1, 3) must be a string, got the number 0.33",
        ),
        (
            parameters(
                "x: Annotated[fractions.Fraction, JsonType(via=str, read=fractions.Fraction, "
                "write=str, samples=(fractions.Fraction(1),), schema={'pattern': object()})]"
            ),
            "Parameters: its JSON Schema cannot be written: TypeError",
        ),
        (
            "Parameters = RangeParameters\n@frozen\nclass Result:\n    other: int",
            "no number under ",
        ),
        (
            "Parameters = RangeParameters\n@frozen\nclass Result:\n    odd: str",
            "no number under odd",
        ),
        (
            "Parameters = RangeParameters\n@frozen\nclass Result:\n    odd: int\n    evidence: int",
            "its result class Result has a field evidence, where the service writes its own",
        ),
    ],
)
def test_what_does_not_survive_is_named_with_class_and_field(
    write: Write, tmp_path: Path, source: str, reason: str
) -> None:
    sound = write_plugin(tmp_path, "sound", SOUND)
    loaded = load([write(source), sound])
    odd, other = loaded.found
    if reason:
        assert odd.failure
        assert reason in odd.failure
        assert len(odd.failure) < 700
    else:
        assert odd.failure is None
    # The others are listed, shown and used.
    assert other.failure is None
    assert "sound" in loaded.proof_types
    assert json.loads(dump_json(unstructure(catalogue(loaded))))


@pytest.mark.parametrize(
    "fields",
    [
        "x: Wei = 10**30",
        "x: decimal.Decimal = decimal.Decimal('0.10')",
        "x: str = field(validator=matches_re('0x[0-9a-f]{40}'))",
        "x: str = field(validator=matches_re('a+'), metadata={'samples': ('aa',)})",
        "x: bytes = field(default=bytes(20), validator=min_len(20))",
        "x: int = Factory(lambda self: self.start_timestamp % 7, takes_self=True)",
        "x: int = field(default='5', converter=int)",
        "x: int = field(init=False, default=3)",
        "x: tuple[()] = ()",
        "x: NewType('Blocks', int) = 5",
        "x: Literal['a', None, 3] = None",
    ],
)
def test_what_survives_is_used(write: Write, fields: str) -> None:
    assert load([write(parameters(fields))]).found[0].failure is None


def test_a_class_of_a_hundred_fields_is_tried_within_a_moment(write: Write) -> None:
    fields = "\n    ".join(
        f"x{number}: dict[str, tuple[Wei | None, ...]] = field(factory=dict)"
        for number in range(100)
    )
    candidate = write(parameters(fields))
    began = time.monotonic()
    assert load([candidate]).found[0].failure is None
    assert time.monotonic() - began < 10


def test_one_plugin_with_an_odd_default_is_listed_and_the_commands_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = parameters("x: Any = field(factory=object)")
    install_plugin(tmp_path / "site", "odd", HEAD + odd + TAIL)
    install_plugin(tmp_path / "site", "sound", SOUND)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROVER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PROVER_PLUGINS", "odd,sound")

    def prover(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["prover", *arguments])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, capsys.readouterr().out

    code, text = prover("plugins", "--json")
    shown = json.loads(text)
    assert code == 1
    assert [view["name"] for view in shown["proof_types"]] == ["sound"]
    [failure] = [view["failure"] for view in shown["plugins"] if view["failure"]]
    assert "Parameters.x: its default cannot be shown" in failure
    code, text = prover(
        "submit", "--id", "g", "--sound.start_timestamp", "0", "--sound.end_timestamp", "7200"
    )
    assert code == 0
    assert "sound" in text
