"""Plugins make artefacts from the receipts of a group, each by itself."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from receipt_samples import group

from prover_framework.errors import PluginError, ProofError
from prover_framework.model.receipts import Artefact
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.plugins.registry import Plugins

numbers = count()

Write = Callable[[str, str], Candidate]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a plugin that has nothing but its hook ``compose``."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def module(name: str, body: str) -> Candidate:
        module_name = f"composer_of_a_test_{next(numbers)}"
        source = "from prover_framework import Artefact, ProofError, hookimpl\n"
        source += "PROVER_API = 1\n@hookimpl\n"
        source += "def compose(group):\n" + textwrap.indent(textwrap.dedent(body), "    ")
        (tmp_path / f"{module_name}.py").write_text(source)
        written.append(module_name)
        return Candidate(name, module_name, f"prover-{name}", "1.0")

    yield module
    for module_name in written:
        sys.modules.pop(module_name, None)


def compose(loaded: Plugins, name: str) -> tuple[Artefact, ...]:
    [composer] = [c for c in loaded.composers if c.candidate.name == name]
    return composer.compose(group("seconds", "minutes"))


def test_every_plugin_that_composes_is_there_without_a_proof_type(write: Write) -> None:
    loaded = load(
        [
            write("names", 'return [Artefact("names", "1", {"id": group.group_id}, "00ff")]'),
            write("none", "return None"),
            write(
                "typed",
                """
                r = group.of("minutes")
                number = r.statement.result["minutes"]
                return (Artefact("typed", "2", {"number": number}, ""),)
                """,
            ),
        ],
        strict=True,
    )
    assert compose(loaded, "names") == (
        Artefact(kind="names", version="1", content={"id": "round"}, data="00ff"),
    )
    assert compose(loaded, "none") == ()
    assert compose(loaded, "typed")[0].content == {"number": 1.5}


def test_a_refusal_is_the_plugins_own(write: Write) -> None:
    loaded = load(
        [
            write(
                "choosy",
                """
                class NoHours(ProofError):
                    code = "no_hours"
                raise NoHours("there are no hours of hours")
                """,
            )
        ]
    )
    with pytest.raises(ProofError, match="no hours of hours") as caught:
        compose(loaded, "choosy")
    assert caught.value.code == "no_hours"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 5", "compose returned 5, not a list of Artefact"),
        ("return [5]", r"compose returned \[5\], not a list of Artefact"),
        ("raise KeyError('twice')", "compose raised KeyError: 'twice'"),
        ("raise SystemExit(3)", "compose raised SystemExit: 3"),
        ("return [Artefact('A!', '1', {}, '')]", "compose raised ValueError: 'kind' must match"),
        ("return [Artefact('a', '1', {}, '0')]", "compose raised ValueError: 'data' must match"),
        ("return [Artefact('a', '1', {}, 'FF')]", "compose raised ValueError: 'data' must match"),
    ],
)
def test_a_hook_that_misbehaves_is_named(write: Write, body: str, said: str) -> None:
    loaded = load([write("wild", body)])
    with pytest.raises(PluginError, match=f"plugin wild: its hook {said}"):
        compose(loaded, "wild")


def test_a_group_knows_its_receipts_by_proof_type() -> None:
    receipts = group("seconds", "minutes")
    found = receipts.of("minutes")
    assert found is receipts.receipts[1]
    assert receipts.of("hours") is None
