"""The command line does what its help says, and tells errors in one line."""

import asyncio
import gzip
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from command_tree import subcommands
from plugin_files import install_plugin
from rich.console import Console
from waiting import until

from prover_framework.app import open_runtime
from prover_framework.cli import common
from prover_framework.cli import headers as header_commands
from prover_framework.cli.local import LocalOperations
from prover_framework.cli.main import prover as root_command
from prover_framework.cli.tables import MAX_CHART_WIDTH, group_table, show_group
from prover_framework.cli.waiting import watch
from prover_framework.model.jobs import JobState
from prover_framework.model.views import GroupView, JobView
from prover_framework.plugins.registry import NO_PLUGINS
from prover_framework.settings import Settings

HOUR = 3600
END = 1_700_002_800
ENTRY = [sys.executable, "-c", "from prover_framework.cli import main; main()"]
# A chain without a first London block, so that times may be any.
HOLESKY = 17000

UNVERIFIED = (
    "{} headers are not verified: not all of their fields are there (the file has no columns for "
    "all fields of a header)\n"
)

NAMES = "number,timestamp,base_fee_per_gas"

Outcome = subprocess.CompletedProcess[str]
Run = Callable[..., Outcome]

pytestmark = pytest.mark.usefixtures("data_dir")


def save(folder: Path, *lines: str, name: str = "headers.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((NAMES, *lines)) + "\n")
    return path


def blocks(count: int, *, start: int = 0, seconds: int = 600, number: int = 1) -> list[str]:
    return [f"{number + i},{start + i * seconds},{hex(100 + i)}" for i in range(count)]


# Help.


def commands(
    group: click.Group = root_command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in subcommands(group).items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=lambda value: str(value))
def test_every_command_explains_itself_and_all_it_takes(
    path: tuple[str, ...], command: click.Command, prover: Run
) -> None:
    shown = prover(*path, "--help")
    assert shown.returncode == 0
    assert command.help
    # The help is wrapped to the width of the terminal.
    first_paragraph = command.help.partition("\n\n")[0]
    assert " ".join(first_paragraph.split()) in " ".join(shown.stdout.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} has no help text"
            for name in parameter.opts:
                assert name in shown.stdout
        else:
            assert parameter.name
            assert parameter.name.upper() in command.help, f"{parameter.name} is not explained"


def test_the_first_help_lists_every_command_and_where_to_begin(prover: Run) -> None:
    shown = prover("--help").stdout
    for name in subcommands(root_command):
        assert re.search(rf"^  {name} +\w", shown, re.MULTILINE)
    assert "prover headers simulate" in shown
    assert prover("-h").stdout == shown


def test_version(prover: Run) -> None:
    assert prover("--version").stdout.startswith("prover, version ")


# Importing headers.


def test_import_takes_a_file_in_and_says_how_many_were_new(prover: Run, tmp_path: Path) -> None:
    path = save(tmp_path, *blocks(13))
    first = prover("headers", "import", path, "--chain-id", HOLESKY)
    assert (first.returncode, first.stdout) == (
        0,
        "13 headers read, 13 of them new, 0 verified\n" + UNVERIFIED.format(13),
    )
    assert first.stderr.startswith("prover: a new database: ")
    again = prover("headers", "import", path, "--chain-id", HOLESKY)
    assert (again.returncode, again.stdout) == (
        0,
        "13 headers read, 0 of them new, 0 verified\n" + UNVERIFIED.format(13),
    )
    more = prover("headers", "import", save(tmp_path, *blocks(14)), "--chain-id", HOLESKY)
    assert more.stdout == "14 headers read, 1 of them new, 0 verified\n" + UNVERIFIED.format(14)
    status = prover("headers", "status")
    assert status.returncode == 0
    for words in ("17000 (real)", "file headers.csv", "14", "1 to 14", "0..7800", "nothing"):
        assert words in status.stdout


def test_import_reads_gzip(prover: Run, tmp_path: Path) -> None:
    path = save(tmp_path, *blocks(13), name="headers.csv.gz")
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert prover(
        "headers", "import", path, "--chain-id", HOLESKY
    ).stdout == "13 headers read, 13 of them new, 0 verified\n" + UNVERIFIED.format(13)


def test_import_reads_a_pipe(prover: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = save(tmp_path, *blocks(13)).read_text()
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    try:
        assert prover(
            "headers", "import", pipe, "--chain-id", HOLESKY
        ).stdout == "13 headers read, 13 of them new, 0 verified\n" + UNVERIFIED.format(13)
    finally:
        writer.join(10)


def test_a_bad_line_in_a_pipe_leaves_nothing(prover: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = save(tmp_path, *blocks(5), "6,x,5").read_text()
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    try:
        outcome = prover("headers", "import", pipe, "--chain-id", HOLESKY)
    finally:
        writer.join(10)
    assert outcome.returncode == 1
    assert "line 7, column timestamp" in outcome.stderr
    assert "no headers" in prover("headers", "status").stdout


def test_a_bad_line_is_named_and_nothing_is_imported(prover: Run, tmp_path: Path) -> None:
    path = save(tmp_path, *blocks(5), "6,3000,1.5", *blocks(5, start=3600, number=7))
    outcome = prover("headers", "import", path, "--chain-id", HOLESKY)
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr.startswith(f"prover: {path}, line 7, column base_fee_per_gas: '1.5' ")
    assert outcome.stderr.count("\n") == 1
    assert prover("headers", "status").stdout.startswith("no headers")


def test_a_contradiction_is_refused_and_nothing_is_imported(prover: Run, tmp_path: Path) -> None:
    prover("headers", "import", save(tmp_path, *blocks(13)), "--chain-id", HOLESKY)
    other = save(tmp_path, *blocks(12), "13,7200,7", "14,7300,7", name="other.csv")
    outcome = prover("headers", "import", other, "--chain-id", HOLESKY)
    assert outcome.returncode == 1
    assert "block 13 is stored with other values: base_fee_per_gas 7 (stored: 112)" in (
        outcome.stderr
    )
    status = prover("headers", "status").stdout
    assert "1 to 13" in status
    assert "other.csv" not in status


def test_another_chain_is_refused(prover: Run, tmp_path: Path) -> None:
    path = save(tmp_path, *blocks(13))
    prover("headers", "import", path, "--chain-id", 11155111)
    assert "11155111 (real)" in prover("headers", "status").stdout
    outcome = prover("headers", "import", path, "--chain-id", HOLESKY)
    assert outcome.returncode == 1
    assert "holds chain 11155111 and the headers are of chain 17000" in outcome.stderr
    outcome = prover("headers", "simulate", "--days", 1)
    assert outcome.returncode == 1
    assert "simulated chain" in outcome.stderr


def test_names_are_shown_as_they_are_and_not_as_markup(prover: Run, tmp_path: Path) -> None:
    path = save(tmp_path, *blocks(2), name="[red]a :smile:.csv")
    assert prover("headers", "import", path, "--chain-id", HOLESKY).returncode == 0
    assert "file [red]a :smile:.csv" in prover("headers", "status").stdout


# Simulating and looking.


def test_simulate_makes_whole_days_and_labels_them(prover: Run) -> None:
    outcome = prover("headers", "simulate", "--days", 2, "--end", END + 1234, "--seed", 7)
    first = END - 48 * HOUR
    assert outcome.returncode == 0
    assert outcome.stdout == (
        f"14401 simulated headers, hours 2023-11-12 23:00 UTC to 2023-11-14 23:00 UTC "
        f"({first}..{END})\n"
    )
    assert outcome.stderr.startswith("prover: a new database: ")
    status = prover("headers", "status")
    assert status.returncode == 0
    for words in ("(simulated)", "simulation, seed 7", "14,401", f"{first}..{END}"):
        assert words in status.stdout
    again = prover("headers", "simulate", "--days", 2, "--end", END, "--seed", 7)
    assert (again.returncode, again.stdout[:19]) == (0, "0 simulated headers")
    other = prover("headers", "simulate", "--days", 2, "--end", END, "--seed", 8)
    assert other.returncode == 1
    assert "cannot be mixed with another one" in other.stderr


def test_status_without_headers_says_what_to_do(prover: Run) -> None:
    outcome = prover("headers", "status")
    assert outcome.returncode == 1
    assert "prover headers import" in outcome.stderr


def test_status_names_the_gaps(prover: Run, tmp_path: Path) -> None:
    lines = blocks(3) + blocks(2, start=3600, number=7) + blocks(1, start=5 * HOUR, number=9)
    prover("headers", "import", save(tmp_path, *lines), "--chain-id", HOLESKY)
    outcome = prover("headers", "status")
    assert outcome.returncode == 1
    for words in (
        "3 blocks, 3 whole hours",
        "blocks 4 to 6, between 1970-01-01 00:20 UTC and 1970-01-01 01:00 UTC",
        "no block between 1970-01-01 01:10 UTC and 1970-01-01 05:00 UTC, from 8 to 9",
    ):
        assert words in outcome.stdout


def test_status_says_when_it_does_not_name_all_gaps(prover: Run, tmp_path: Path) -> None:
    lines = [f"{2 * i},{600 * i},1" for i in range(40)]
    prover("headers", "import", save(tmp_path, *lines), "--chain-id", HOLESKY)
    shown = prover("headers", "status").stdout
    assert "39 blocks, 0 whole hours" in shown
    assert "these are the first 20 gaps" in shown


def test_status_shows_times_that_have_no_date(prover: Run, tmp_path: Path) -> None:
    prover("headers", "import", save(tmp_path, f"1,{2**63 - 1},5"), "--chain-id", HOLESKY)
    assert f"second {2**63 - 1}" in prover("headers", "status").stdout


def test_progress_is_shown_on_a_terminal_and_there_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prover: Run
) -> None:
    path = save(tmp_path, *blocks(13))
    terminal = StringIO()
    monkeypatch.setattr(
        header_commands,
        "progress_console",
        lambda: Console(file=terminal, force_terminal=True, width=80),
    )
    outcome = prover("headers", "import", path, "--chain-id", HOLESKY)
    assert outcome.stdout == "13 headers read, 13 of them new, 0 verified\n" + UNVERIFIED.format(13)
    assert "importing" in terminal.getvalue()


# What cannot be done.


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["headers", "import", "missing.csv"], 2, "'missing.csv' does not exist"),
        (["headers", "import", "."], 2, "'.' is a directory"),
        (["headers", "import"], 2, "Missing argument 'FILE'"),
        (["headers", "import", "empty"], 1, "the file is empty"),
        (["headers", "import", "empty", "--chain-id", 0], 2, "0 is not in the range"),
        (["headers", "import", "empty", "--chain-id", 2**63], 2, "is not in the range"),
        (["headers", "simulate", "--end", 10**17], 2, "is not in the range"),
        (["headers", "simulate", "--end", "1" + "0" * 5000], 2, "is not a valid integer"),
        (["headers", "simulate", "--end", HOUR], 2, "lies too early for that many days"),
        (["headers", "simulate", "--days", 0], 2, "0 is not in the range"),
        (["headers", "simulate", "--days", "x"], 2, "'x' is not a valid integer"),
        (["submit"], 2, "twap: is required"),
        (["submit", "missing.json"], 2, "'missing.json' does not exist"),
        (["submit", "."], 2, "'.' is a directory"),
        (["submit", "empty"], 2, "is not JSON"),
        (["submit", "empty", "--id", "a"], 2, "either a FILE or flags, not both"),
        (["submit", "empty", "--id", ""], 2, "either a FILE or flags, not both"),
        (["submit", "--id", "", "--range", "1..2"], 2, "job_group_id: must be 1 to 128"),
        (["submit", "--id", "a b", "--range", "1..2"], 2, "job_group_id: must be 1 to 128"),
        (["submit", "--range", "1"], 2, "'1' is not [TYPE=]START..END"),
        (["submit", "--range", "1.."], 2, "'' is neither a Unix timestamp nor a time"),
        (["submit", "--range", "1..x"], 2, "'x' is neither a Unix timestamp nor a time"),
        (["submit", "--range", "9..1"], 2, "twap.end_timestamp: must be after start_timestamp"),
        (["submit", "--range", "0..99999999999999999999"], 2, "end_timestamp"),
        (["submit", "--range", "0..1" + "0" * 5000], 2, "is neither a Unix timestamp nor a time"),
        (["submit", "--range", "1..2", "--range", "3..4"], 2, "the second range for all"),
        (["submit", "--range", "twap=1..2", "--range", "twap=1..3"], 2, "second range for twap"),
        (["submit", "--range", "1..2", "--range", "foo=1..2"], 2, "foo"),
        (["submit", "--max_return.window_hours", "x"], 2, "'x' is not INTEGER"),
        (["submit", "--foo.a", "5"], 2, "--foo.a"),
        (["submit", "empty", "--twap.end_timestamp", "5"], 2, "either a FILE or flags, not both"),
        (
            ["submit", "--range", "1..2", "--twap.end_timestamp", "1.5"],
            2,
            "twap.end_timestamp: must be an integer, got the number 1.5",
        ),
        (
            ["submit", "--range", "1..2", "--max_return.window_hours=0"],
            2,
            "max_return.window_hours: must be >= 1",
        ),
        (["status"], 2, "Missing argument 'GROUP_ID'"),
        (["status", "nobody"], 1, "there is no job group 'nobody'"),
        (["status", ""], 1, "there is no job group ''"),
        (["list", "--state", "lost"], 2, "'lost' is not one of"),
        (["list", "--limit", "0"], 2, "0 is not in the range"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    arguments: list[object], code: int, words: str, prover: Run, tmp_path: Path
) -> None:
    prover("migrate")
    (tmp_path / "empty").touch()
    outcome = prover(*arguments)
    assert outcome.returncode == code
    assert outcome.stdout == ""
    assert words in outcome.stderr
    told = [
        line
        for line in outcome.stderr.splitlines()
        if line and not line.startswith(("Usage:", "Try "))
    ]
    assert 1 <= len(told) <= 3, "a mistake in all three proofs takes three lines"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read every file")
def test_an_unreadable_file_is_named(prover: Run, tmp_path: Path) -> None:
    path = save(tmp_path, *blocks(2))
    path.chmod(0)
    for command in (["headers", "import"], ["submit"]):
        outcome = prover(*command, path)
        assert outcome.returncode == 2
        assert "is not readable" in outcome.stderr


def test_a_wrong_setting_stops_every_command_in_one_line(
    prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVER_PORT", "many")
    for command in (["list"], ["plugins"], ["headers", "status"], ["migrate"]):
        outcome = prover(*command)
        assert outcome.returncode == 1
        assert outcome.stderr.startswith("prover: PROVER_PORT must be a whole number")
        assert outcome.stderr.count("\n") == 1


# Plugins and schema.


def test_plugins_are_listed_with_what_they_are(prover: Run) -> None:
    outcome = prover("plugins")
    assert outcome.returncode == 0
    lines = outcome.stdout.splitlines()
    for name, title in (("twap", "TWAP"), ("max_return", "Max Return")):
        (line,) = [line for line in lines if f" {name} " in line]
        assert f"{title} 1, required" in line
        assert f"prover-{name.replace('_', '-')} 0." in line
        assert "compute" in line
        assert "in use" in line


def test_a_disabled_plugin_is_listed_as_such(prover: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVER_PLUGINS_DISABLED", "twap")
    (line,) = [line for line in prover("plugins").stdout.splitlines() if " twap " in line]
    assert "disabled" in line


def test_plugins_as_json_are_what_the_api_tells(
    prover: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin(tmp_path, "loud", "print('out of turn')\n1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = prover("plugins", "--json")
    assert outcome.returncode == 1, "a plugin cannot be used"
    told = json.loads(outcome.stdout)
    (loud,) = (plugin for plugin in told["plugins"] if plugin["name"] == "loud")
    assert (loud["state"], loud["distribution"]) == ("failed", "prover-loud")
    assert loud["failure"] == "its import failed: ZeroDivisionError: division by zero"
    assert {"twap", "max_return"} <= {each["name"] for each in told["proof_types"]}
    assert "loud" in prover("plugins").stdout


def test_migrate_names_the_database_and_what_it_did(prover: Run, data_dir: Path) -> None:
    first, again = prover("migrate"), prover("migrate")
    assert (first.returncode, again.returncode) == (0, 0)
    assert first.stdout.startswith("applied 0001_initial\n")
    assert first.stdout.endswith(again.stdout)
    assert again.stdout == f"the schema of {data_dir / 'prover.sqlite3'} is up to date\n"


# Submitting without a worker.


def submitted(outcome: Outcome) -> dict[str, Any]:
    assert outcome.returncode == 0, outcome.stderr
    view: dict[str, Any] = json.loads(outcome.stdout)
    return view


def stored_parameters(data_dir: Path) -> dict[str, dict[str, int]]:
    with closing(sqlite3.connect(data_dir / "prover.sqlite3")) as connection:
        rows = connection.execute("SELECT name, parameters FROM job").fetchall()
    return {name: json.loads(text) for name, text in rows}


def test_submit_by_flags(prover: Run, data_dir: Path) -> None:
    outcome = prover(
        "submit", "--json", "--id", "g-1",
        # The proof type's own range counts, wherever it stands.
        "--range", "max_return=2023-10-01..2023-11-01T12:30+01:00",
        "--range", "1700000000..1700003600",
        "--range", "twap=2023-11-01T00:00:00Z..2023-11-02",
        "--max_return.window_hours", "24",
    )  # fmt: skip
    group = submitted(outcome)
    assert group["job_group_id"] == "g-1"
    assert {job["job_id"] for job in group["jobs"]} >= {"twap", "max_return", "reserve_price"}
    assert {job["status"] for job in group["jobs"]} == {"queued"}
    parameters = stored_parameters(data_dir)
    assert parameters["twap"] == {"start_timestamp": 1698796800, "end_timestamp": 1698883200}
    assert parameters["reserve_price"] == {
        "start_timestamp": 1700000000,
        "end_timestamp": 1700003600,
    }
    assert parameters["max_return"] == {
        "start_timestamp": 1696118400,
        "end_timestamp": 1698838200,
        "window_hours": 24,
    }


def test_submit_makes_up_an_id_that_is_shown(prover: Run) -> None:
    outcome = prover("submit", "--range", "1700000000..1700003600")
    assert outcome.returncode == 0
    found = re.search(r"^group (cli-[0-9a-f]{12})$", outcome.stdout, re.MULTILINE)
    assert found
    assert prover("status", found[1]).stdout == outcome.stdout


def test_submit_a_file_is_idempotent_and_another_one_conflicts(prover: Run, tmp_path: Path) -> None:
    span = {"start_timestamp": 1234567890, "end_timestamp": 1234567891}
    body = {"job_group_id": "a:smile:b", "twap": span, "reserve_price": span, "max_return": span}
    file = tmp_path / "job.json"
    file.write_text(json.dumps(body))
    first = prover("submit", file)
    assert first.returncode == 0
    assert "group a:smile:b\n" in first.stdout
    assert prover("submit", file).stdout == first.stdout
    file.write_text(json.dumps(body | {"twap": span | {"end_timestamp": 1234567899}}))
    conflict = prover("submit", file)
    assert conflict.returncode == 1
    assert conflict.stderr.startswith("prover: job group 'a:smile:b' exists already")
    assert "a:smile:b" in prover("list").stdout


def test_list_filters_and_limits(prover: Run) -> None:
    for number in range(3):
        prover("submit", "--id", f"g-{number}", "--range", "1700000000..1700003600")
    everything = prover("list")
    assert everything.returncode == 0
    assert [n for n in range(3) if f"g-{n}" in everything.stdout] == [0, 1, 2]
    assert "twap queued" in everything.stdout
    cut = prover("list", "--limit", 1)
    assert "--cursor" in cut.stderr

    def listed(*options: object) -> dict[str, Any]:
        page: dict[str, Any] = json.loads(prover("list", *options, "--json").stdout)
        return page | {"groups": [group["job_group_id"] for group in page["groups"]]}

    newest = listed("--limit", 1)
    assert newest["groups"] == ["g-2"]
    assert newest["next_cursor"] in cut.stderr
    rest = listed("--cursor", newest["next_cursor"])
    assert (rest["groups"], rest["next_cursor"]) == (["g-1", "g-0"], None)
    assert listed("--state", "failed")["groups"] == []
    assert listed("--state", "queued")["groups"] == ["g-2", "g-1", "g-0"]
    assert listed("--proof-type", "twap", "--text", "G-1", "--since", "1h")["groups"] == ["g-1"]
    wrong = prover("list", "--since", "yesterday", "--text", "a b")
    assert wrong.returncode == 2
    assert "--since: must be Unix seconds" in wrong.stderr
    assert "--text: must be a part of a group id" in wrong.stderr


def test_cancel_and_redrive_end_and_revive_what_has_not_ended(prover: Run) -> None:
    prover("submit", "--id", "g", "--range", "1700000000..1700003600")
    cancelled = prover("cancel", "g")
    assert (cancelled.returncode, cancelled.stderr) == (0, "")
    assert cancelled.stdout.count("cancelled") == 3
    shown = json.loads(prover("cancel", "g", "--json").stdout)
    assert {job["status"] for job in shown["jobs"]} == {"cancelled"}
    revived = prover("redrive", "g")
    assert (revived.returncode, revived.stderr) == (0, "")
    assert revived.stdout.count("queued") == 3
    again = json.loads(prover("redrive", "g", "--json").stdout)
    assert {job["status"] for job in again["jobs"]} == {"queued"}


@pytest.mark.parametrize("command", ["cancel", "redrive"])
def test_a_group_that_does_not_exist_is_named(prover: Run, command: str) -> None:
    prover("migrate")
    outcome = prover(command, "nobody")
    assert outcome.returncode == 1
    assert outcome.stderr == "prover: there is no job group 'nobody'\n"


# Tables.

WIDE = GroupView(
    job_group_id="g" * 128,
    status=JobState.SUCCEEDED,
    jobs=tuple(
        JobView(
            job_id=name,
            status=JobState.SUCCEEDED,
            attempts=1,
            created_at="2024-05-01T12:00:00.000Z",
            queued_at=None,
            started_at=None,
            finished_at="2024-05-01T12:00:01.234Z",
            not_before=None,
            error=None,
            result={name: 20036980732.038345},
        )
        for name in ("max_return", "reserve_price", "twap")
    ),
)


def test_nothing_is_cut_off_where_output_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show_group(WIDE, as_json=False)
    shown = capfd.readouterr().out
    assert shown.count("20,036,980,732.038345") == 3
    assert shown.count("2024-05-01T12:00:01.234Z") == 3
    assert "g" * 128 in shown
    assert "…" not in shown


def test_a_job_with_a_label_shows_its_result(capfd: pytest.CaptureFixture[str]) -> None:
    twap = attrs.evolve(WIDE.jobs[-1], job_id="twap@early")
    show_group(attrs.evolve(WIDE, jobs=(twap,)), as_json=False)
    assert "20,036,980,732.038345" in capfd.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 100])
def test_results_are_whole_on_a_narrow_terminal(width: int) -> None:
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=width)
    console.print(group_table(WIDE))
    assert terminal.getvalue().count("20,036,980,732.038345") == 3


def test_consoles_do_not_take_names_for_markup(capfd: pytest.CaptureFixture[str]) -> None:
    common.console().print("[b]:smile:[/x]")
    common.progress_console().print("[b]:smile:[/x]")
    assert capfd.readouterr() == ("[b]:smile:[/x]\n", "[b]:smile:[/x]\n")


# With a worker.


def environment(data_dir: Path) -> dict[str, str]:
    return {**os.environ, "PROVER_DATA_DIR": str(data_dir), "PROVER_WORKER_SLOTS": "2"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with 15 simulated days, and a worker on it."""
    folder = tmp_path_factory.mktemp("served")
    options: dict[str, Any] = {"cwd": folder, "env": environment(folder)}
    subprocess.run(
        [*ENTRY, "headers", "simulate", "--days", "15", "--end", str(END)],
        check=True,
        stdout=subprocess.DEVNULL,
        **options,
    )
    with subprocess.Popen([*ENTRY, "worker"], stderr=subprocess.DEVNULL, **options) as worker:
        yield folder
        worker.terminate()
        assert worker.wait(30) == 0


FLAGS = ("--range", f"{END - 15 * 24 * HOUR}..{END}", "--max_return.window_hours=48")


def test_submit_and_wait_gives_all_results(
    served: Path, prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVER_DATA_DIR", str(served))
    outcome = prover("submit", "--id", "w-1", *FLAGS, "--wait")
    assert outcome.returncode == 0, outcome.stdout
    # Standard error is no terminal: a line for each change.
    assert "twap queued\n" in outcome.stderr
    assert "twap succeeded\n" in outcome.stderr
    assert outcome.stdout.count("succeeded") == 3
    shown = json.loads(prover("status", "w-1", "--json").stdout)
    assert shown["status"] == "succeeded"
    for job in shown["jobs"]:
        value = job["result"][job["job_id"]]
        assert f" {value:,.6f} " in outcome.stdout
        assert job["result"]["evidence"]["simulated"] is True
        assert job["finished_at"] in outcome.stdout
    again = prover("submit", "--id", "w-1", *FLAGS, "--wait", "--json")
    assert json.loads(again.stdout) == shown
    assert prover("status", "w-1", "--wait").stdout == outcome.stdout
    listed = json.loads(prover("list", "--state", "succeeded", "--json").stdout)
    assert [group["job_group_id"] for group in listed["groups"]] == ["w-1"]


def test_charts_are_drawn_below_the_table(
    served: Path, prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVER_DATA_DIR", str(served))
    assert prover("submit", "--id", "w-4", *FLAGS, "--wait").returncode == 0
    here = prover("status", "w-4", "--chart")
    assert here.returncode == 0
    assert "Hourly base fee and its TWAP" in here.stdout
    assert max(map(len, here.stdout.splitlines())) <= MAX_CHART_WIDTH
    assert prover("status", "w-4", "--chart", "--json").returncode == 2


def test_waiting_for_a_group_that_fails_ends_with_status_1_and_says_why(
    served: Path, prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVER_DATA_DIR", str(served))
    flags = ("--id", "w-2", "--range", "1234567890..1234567891")
    outcome = prover("submit", *flags, "--wait")
    assert outcome.returncode == 1
    assert outcome.stdout.count("failed") >= 3
    assert "twap: the range 1234567890..1234567891 holds no whole hour" in outcome.stdout
    assert prover("status", "w-2").returncode == 0
    assert prover("status", "w-2", "--wait").returncode == 1
    hopeless = prover("redrive", "w-2", "--wait")
    assert hopeless.returncode == 1
    assert "left out: twap: no retry can help (empty_range)" in hopeless.stderr
    assert prover("redrive", "w-2", "--force", "--wait").returncode == 1
    jobs = json.loads(prover("status", "w-2", "--json").stdout)["jobs"]
    assert [job["attempts"] for job in jobs] == [2, 2, 2]


def test_waiting_shows_the_jobs_live_on_a_terminal_only(served: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*ENTRY, "submit", "--id", "w-3", *FLAGS, "--wait", "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=served,
        env={**environment(served), "TERM": "xterm-256color", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        seen = b""
        # Reading a pseudo-terminal whose other end is closed is an error on Linux.
        with suppress(OSError):
            while data := os.read(ours, 65536):
                seen += data
        os.close(ours)
        assert process.stdout
        result = json.loads(process.stdout.read())
        assert process.wait(30) == 0
    text = seen.decode()
    assert "w-3" in text
    assert "reserve_price" in text
    # What it shows moves on until the jobs have ended.
    assert "queued" in text[: text.index("succeeded")]
    assert result["status"] == "succeeded"


def test_ctrl_c_ends_the_waiting_without_a_traceback(data_dir: Path, prover: Run) -> None:
    prover("migrate")
    with subprocess.Popen(
        [*ENTRY, "submit", "--id", "c-1", *FLAGS, "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(data_dir),
    ) as process:
        deadline = time.monotonic() + 30
        while prover("status", "c-1").returncode and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "Aborted!"
    # What was submitted stays.
    assert prover("status", "c-1").returncode == 0


def test_who_waits_without_a_worker_is_told(
    prover: Run, data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    prover("submit", "--id", "p-1", *FLAGS)
    said: list[str] = []

    def hints() -> int:
        said.append(capfd.readouterr().err)
        return "".join(said).count('is "prover up" running?')

    async def wait_until_it_is_cancelled() -> GroupView:
        async with open_runtime(Settings(data_dir=data_dir), NO_PLUGINS) as runtime:
            waiting = asyncio.create_task(
                watch(LocalOperations(runtime), "p-1", patience_seconds=0.1)
            )
            await until(lambda: hints() > 0)
            await runtime.service.cancel("p-1")
            return await waiting

    assert asyncio.run(wait_until_it_is_cancelled()).status is JobState.CANCELLED
    assert hints() == 1


def test_a_reader_that_goes_away_gives_no_traceback(data_dir: Path, prover: Run) -> None:
    prover("submit", "--id", "b-1", *FLAGS)
    for command in (["list"], ["list", "--json"], ["--help"]):
        read_end, write_end = os.pipe()
        os.close(read_end)
        with subprocess.Popen(
            [*ENTRY, *command], stdout=write_end, stderr=subprocess.PIPE, env=environment(data_dir)
        ) as process:
            os.close(write_end)
            _, err = process.communicate(timeout=30)
        assert err == b""
        assert process.returncode == 1
