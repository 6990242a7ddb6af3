"""What there is, is documented; what is documented, there is."""

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest

import prover_framework
from prover_framework import hookspecs
from prover_framework.cli.main import prover
from prover_framework.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(prover, "prover"))


def test_every_command_is_in_the_readme_and_no_other() -> None:
    listed = re.findall(r"^\| `(prover [^`]+)` \|", README, flags=re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    # Where click leaves lines as they are, the mark for it is not shown.
    assert "\\b" not in command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} --{parameter.name} has no help"


def test_every_setting_is_in_the_readme_with_its_meaning_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| [^|]* \| ([^|]+) \|$", README, flags=re.MULTILINE))
    assert rows == {
        field.metadata["variable"]: field.metadata["description"]
        for field in attrs.fields(Settings)
    }


def test_every_state_is_in_the_readme() -> None:
    from prover_framework.jobs import JobState

    for state in JobState:
        assert f"| `{state.value}` |" in README


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = README.splitlines()[:25]
    assert any(line.startswith("make demo") for line in first_screen)
    assert any(line.startswith("make test") for line in first_screen)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_public_surface_is_what_it_is() -> None:
    assert set(prover_framework.__all__) == {
        "API_VERSION",
        "HOUR_SECONDS",
        "MAX_FELT",
        "Artefact",
        "ComposedReceipt",
        "DataNeeds",
        "Dispatch",
        "EmptyRange",
        "GroupReceipts",
        "HourlySeries",
        "Inputs",
        "JobChange",
        "JobRequest",
        "JobState",
        "Limits",
        "Problem",
        "ProofError",
        "ProofType",
        "Provenance",
        "RangeParameters",
        "RangeTooShort",
        "Receipt",
        "Seal",
        "SealType",
        "SeriesFacts",
        "SeriesIncomplete",
        "SeriesKind",
        "Statement",
        "TimeRange",
        "Verdict",
        "felt_from_float",
        "felt_hex",
        "float_from_felt",
        "hookimpl",
    }
    for name in prover_framework.__all__:
        assert hasattr(prover_framework, name)


def test_all_hooks_fit_on_one_screen_and_have_a_line_each() -> None:
    source = Path(hookspecs.__file__).read_text()
    assert len(source.splitlines()) <= 90
    hooks = re.findall(r"@hookspec.*\ndef (\w+)\(", source)
    assert {"proof_type", "validate", "inputs", "dispatch", "compute", "verify", "compose"} <= set(
        hooks
    )
    for name in hooks:
        assert getattr(hookspecs, name).__doc__
