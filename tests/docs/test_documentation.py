"""What there is, is documented; what is documented, there is."""

import re
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import attrs
import click
import pytest
from api_server import NO_MONITORING, no_keys
from command_tree import subcommands
from page_session import ROOT, pages
from sanic import Sanic

import prover_framework
from prover_framework import errors, hookspecs
from prover_framework.cli.main import prover
from prover_framework.database.engine import Bounds
from prover_framework.database.postgres import LANES
from prover_framework.database.postgres_connections import IDLE_SECONDS
from prover_framework.errors import JobError, ProverError
from prover_framework.jobs.feed import EventFeed
from prover_framework.jobs.messages import JobMessage
from prover_framework.jobs.service import ProvingService
from prover_framework.model.jobs import TRANSITIONS, JobState
from prover_framework.model.views import JobView
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.charts import ChartService
from prover_framework.proofs.service import ReceiptService
from prover_framework.receipts.documents import MAX_RECEIPT_BYTES
from prover_framework.serialization.json_text import MAX_NESTING
from prover_framework.settings import PLUGIN_PREFIX, Settings, described_settings
from prover_framework.variables import known_variables
from prover_framework.verification.service import VerificationService
from prover_framework.web.app import MAX_BODY_BYTES, make_app
from prover_framework.web.connections import ConnectionLimits
from prover_framework.web.framing import MAX_CHUNKS, MAX_HEAD_BYTES
from prover_framework.web.statuses import STATUS_OF_ERROR
from prover_framework.worker.executor import INTERNAL_ERROR
from prover_framework.worker.timings import Timings

README = (ROOT / "README.md").read_text()
DOCS = ROOT / "docs"
MAKEFILE = (ROOT / "Makefile").read_text()
PACKAGE = ROOT / "prover_framework"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS: list[str] = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


def section(text: str, title: str) -> str:
    """Return what stands below a heading, up to the next one of its rank."""
    rank = title.partition(" ")[0]
    found = re.search(
        rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{len(rank)}}} |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"there is no section {title}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """Return the names in the first cells of the rows of tables."""
    return re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)


# Commands


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in subcommands(group).items():
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield f"{path} {name}", command
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(prover, "prover"))


def test_every_command_is_in_the_reference_and_no_other() -> None:
    text = reference("commands")
    listed = re.findall(r"^\| `(prover [^`]+)` \|", text, flags=re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    assert re.findall(r"^## `(prover [^`]+)`$", text, flags=re.MULTILINE) == listed


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_in_the_reference_with_its_meaning_and_no_other(path: str) -> None:
    text = section(reference("commands"), f"## `{path}`")
    rows = dict(re.findall(r"^\| (`-.+`) \| (.+) \|$", text, flags=re.MULTILINE))
    assert rows == {
        ", ".join(f"`{name}`" for name in option.opts): (option.help or "").replace("|", "\\|")
        for option in COMMANDS[path].params
        if isinstance(option, click.Option) and "." not in option.opts[0]
    }
    assert f"`{path}" in text.splitlines()[1]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    # Where click leaves lines as they are, the mark for it is not shown.
    assert "\\b" not in command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} --{parameter.name} has no help"


def test_every_command_for_developers_is_in_the_reference_and_no_other() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", MAKEFILE, flags=re.MULTILINE)
    listed = [name.removeprefix("make ") for name in first_cells(reference("development"))]
    assert sorted(listed) == sorted(set(targets) - {"help"})


def test_ci_calls_the_command_of_the_readme() -> None:
    assert "\nmake test    #" in README
    assert "\npasses make test\n" in (ROOT / ".ci" / "run").read_text()


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = README.splitlines()[:25]
    assert any(line.startswith("make demo") for line in first_screen)
    assert any(line.startswith("make test") for line in first_screen)


def test_the_readme_is_read_in_five_minutes() -> None:
    # 240 words in a minute, with what stands in blocks of code.
    assert len(README.split()) <= 5 * 240


# Settings, errors, jobs


def test_every_setting_is_in_the_reference_with_its_meaning_and_no_other() -> None:
    text = reference("settings")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| [^|]* \| ([^|]+) \|$", text, flags=re.MULTILINE))
    assert rows == {
        field.metadata["variable"]: field.metadata["description"] for field in described_settings()
    }


def test_settings_on_all_pages_exist() -> None:
    known = {field.metadata["variable"] for field in described_settings()}
    # Secrets in files, the client's, and that of the tests.
    known |= {*known_variables()}
    # The version of the hooks, in the modules of plugins.
    known |= {"PROVER_API"}
    for page in pages():
        for name in re.findall(r"\bPROVER_[A-Z_]+\b", page.text):
            assert name in known or name.startswith(PLUGIN_PREFIX), f"{page.name}: {name}"


def errors_below(cls: type[ProverError]) -> Iterator[type[ProverError]]:
    yield cls
    for below in cls.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from errors_below(below)


def test_every_error_is_in_the_reference_with_code_and_status_and_no_other() -> None:
    listed = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| .+ \|$", reference("errors"), re.MULTILINE
    )
    assert listed == [
        (
            cls.__name__,
            cls.code,
            str(next((status for kind, status in STATUS_OF_ERROR if issubclass(cls, kind)), 500)),
        )
        for cls in errors_below(ProverError)
    ]


def test_every_code_that_a_job_can_have_is_in_the_reference_and_no_other() -> None:
    listed = first_cells(section(reference("errors"), "## Codes of jobs"))
    # Those of the worker and of the sweep, which are no errors of anybody's code.
    own = {"bad_parameters", "not_capable", "worker_lost", INTERNAL_ERROR, "plugin"}
    from_errors = {cls.code for cls in errors_below(JobError)} - {JobError.code}
    assert sorted(listed) == sorted(own | from_errors)
    sources = "".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    assert all(f"{code}" in sources for code in own)


def test_every_state_and_every_transition_is_in_the_reference_and_no_other() -> None:
    text = reference("jobs")
    assert first_cells(section(text, "## States")) == [state.value for state in JobState]
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| .+ \|$", section(text, "## Transitions"), re.MULTILINE
    )
    assert len(rows) == len(set(rows))
    allowed = {(a.value, b.value) for a, targets in TRANSITIONS.items() for b in targets}
    assert set(rows) == allowed


def test_what_a_job_shows_is_in_the_reference() -> None:
    listed = first_cells(section(reference("jobs"), "## What a job shows"))
    assert listed == [field.name for field in attrs.fields(JobView)]


def test_every_field_of_the_queue_message_is_in_the_reference() -> None:
    listed = first_cells(reference("queue-message"))
    assert listed == [field.name for field in attrs.fields(JobMessage)]


# HTTP


def routes() -> set[str]:
    verification = VerificationService(Settings(), Plugins(found=(), hooks={}))
    app = make_app(
        cast(ProvingService, object()),
        cast(ReceiptService, object()),
        verification,
        NO_MONITORING,
        no_keys(),
        charts=cast(ChartService, object()),
        feed=cast(EventFeed, object()),
    )
    try:
        return {
            f"{method} /" + re.sub(r"<(\w+)(:\w+)?>", r"<\1>", route.path)
            for route in app.router.routes
            for method in route.methods - {"HEAD"}
        }
    finally:
        Sanic.unregister_app(app)


def test_every_endpoint_is_in_the_reference_and_no_other() -> None:
    text = reference("http-api")
    assert sorted(re.findall(r"^## `((?:GET|POST) .+)`$", text, re.MULTILINE)) == sorted(routes())
    assert sorted(re.findall(r"^\| \[`([^`]+)`\]", text, re.MULTILINE)) == sorted(routes())


def test_every_status_is_in_the_reference() -> None:
    listed = re.findall(r"^\| (\d{3}) \|", reference("http-api"), re.MULTILINE)
    assert listed == sorted(listed)
    assert {str(status) for _, status in STATUS_OF_ERROR} <= set(listed)
    sources = "".join(file.read_text() for file in (PACKAGE / "web").rglob("*.py"))
    assert set(re.findall(r"_answer\(\s*(?:request,\s*)?(\d{3})", sources)) <= set(listed)
    # What is refused before the server library sees it.
    refused = {
        str(HTTPStatus[name].value) for name in re.findall(r"HTTPStatus\.([A-Z_]+)", sources)
    }
    refused |= set(re.findall(r"Malformed\(.*, (\d{3})\)", sources))
    assert {"403", "408", "421", "431", "501", "503"} <= refused
    assert refused <= set(listed)


def test_limits_of_requests_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$",
        section(reference("http-api"), "## Limits"),
        re.MULTILINE,
    )
    limits = ConnectionLimits()
    body, receipt = MAX_BODY_BYTES // 2**10, MAX_RECEIPT_BYTES // 2**20
    assert rows[1:] == [
        ("the head of a request", f"{MAX_HEAD_BYTES // 2**10} KiB"),
        ("its body", f"{body} KiB; {receipt} MiB for `POST /api/verify`"),
        ("chunks of a body", f"{MAX_CHUNKS:,}"),
        ("arrays and objects within each other", f"{MAX_NESTING} levels"),
        ("time for a whole head", f"{limits.head_seconds:g} s"),
        ("time for a whole body", f"{limits.body_seconds:g} s"),
        (
            "time to the first byte of an answer, and from each part of it to the next",
            f"{limits.answer_seconds:g} s; for `POST /api/verify` what its turn may take",
        ),
        ("time between an answer and the next request", f"{limits.idle_seconds:g} s"),
        ("connections", "`PROVER_MAX_CONNECTIONS`"),
        ("memory of all requests that are not answered yet", f"{limits.body_bytes // 2**20} MiB"),
    ]


def test_numbers_about_postgresql_are_those_of_the_code() -> None:
    text = " ".join((DOCS / "how-to" / "postgresql.md").read_text().split())
    assert f"up to {sum(lane.size for lane in LANES.values())} connections" in text
    assert IDLE_SECONDS == 10, "not used for ten seconds"
    assert Bounds.below(16.0).call_seconds == 4.0, "a quarter of PROVER_LEASE_SECONDS"
    assert Bounds.below(3600.0).call_seconds == 10, "ten seconds at the most"


def test_what_becomes_of_newer_messages_is_in_the_reference() -> None:
    text = " ".join(reference("queue-message").split())
    assert (
        f"put back for a newer worker, {Timings().too_new_receives} times in a quarter of an hour"
        in text
    )
    receives = range(1, Timings().too_new_receives + 1)
    seconds = sum(min(2.0**n, Timings().max_too_new_seconds) for n in receives)
    assert 14 * 60 <= seconds <= 17 * 60


# The house


def test_every_room_is_in_the_architecture_and_no_other() -> None:
    text = section((DOCS / "explanation" / "architecture.md").read_text(),
                   "## Where does a behaviour live?")  # fmt: skip
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert sorted(first_cells(text)) == sorted(packages | modules)


def test_rooms_stand_in_the_order_that_imports_are_held_to() -> None:
    text = section((DOCS / "explanation" / "architecture.md").read_text(),
                   "## Where does a behaviour live?")  # fmt: skip
    rooms = iter(first_cells(text))
    for layer in LAYERS:
        level = set(layer.split(" | "))
        assert {next(rooms) for _ in level} == level


# Links


def anchors(text: str) -> set[str]:
    """Return the anchors of headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Any) -> None:
    folder = (ROOT / page.name).parent
    prose = re.sub(r"^```.*?^```$", "", page.text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", prose):
        target, _, anchor = link.partition("#")
        file = folder / target if target else ROOT / page.name
        assert file.exists(), link
        if anchor:
            assert anchor in anchors(file.read_text()), link


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    for page in pages():
        name = page.name.removeprefix("docs/")
        if name != "README.md":
            assert f"]({name})" in index, name


# The public surface


def test_the_public_surface_is_what_it_is() -> None:
    assert set(prover_framework.__all__) == {
        "HOUR_SECONDS",
        "MAX_FELT",
        "Artefact",
        "Axis",
        "Band",
        "Chart",
        "Curve",
        "Histogram",
        "Mark",
        "Span",
        "Unit",
        "BlockColumns",
        "BlockFacts",
        "Chain",
        "Checked",
        "DataNotYet",
        "Dependency",
        "TryLater",
        "GroupEnd",
        "GroupReceipt",
        "Dispatch",
        "EmptyRange",
        "GroupReceipts",
        "HourlySeries",
        "InputKind",
        "Inputs",
        "JobChange",
        "JobRequest",
        "JobResult",
        "JobState",
        "JsonType",
        "Limits",
        "LoadedData",
        "Need",
        "Problem",
        "ProofError",
        "ProofType",
        "Provenance",
        "RangeParameters",
        "RangeTooShort",
        "Receipt",
        "ResultFacts",
        "Seal",
        "SealShows",
        "SealType",
        "SeriesFacts",
        "SeriesIncomplete",
        "SeriesKind",
        "StatedAttachment",
        "StatedInput",
        "Statement",
        "TimeRange",
        "Verdict",
        "Wei",
        "Work",
        "block_headers",
        "felt_from_float",
        "felt_hex",
        "float_from_felt",
        "hookimpl",
        "hourly_base_fees",
        "result_of",
    }
    for name in prover_framework.__all__:
        assert hasattr(prover_framework, name)


def test_all_hooks_fit_on_one_screen_and_have_a_line_each() -> None:
    source = Path(hookspecs.__file__).read_text()
    assert len(source.splitlines()) <= 110
    hooks = re.findall(r"@hookspec.*\ndef (\w+)\(", source)
    assert {"proof_type", "validate", "inputs", "dispatch", "compute", "verify", "compose"} <= set(
        hooks
    )
    for name in hooks:
        assert getattr(hookspecs, name).__doc__
