"""Commands that only read leave nothing behind; a new database is named when it is made."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("status", "g"),
        ("cancel", "g"),
        ("redrive", "g"),
        ("receipt", "g"),
        ("stats",),
        ("headers", "status"),
        ("headers", "verify"),
        ("queue", "status"),
        ("dead", "list"),
    ],
    ids=" ".join,
)
def test_who_reads_makes_no_directory_and_is_told_where_one_was_looked_for(
    prover: Run, data_dir: Path, arguments: tuple[str, ...]
) -> None:
    outcome = prover(*arguments)
    assert outcome.returncode == 1
    assert f"there is no database {data_dir}/prover.sqlite3: name its directory" in outcome.stderr
    assert not data_dir.exists()


def test_who_stores_says_where_a_new_database_is(prover: Run, data_dir: Path) -> None:
    made = prover("headers", "simulate", "--days", "1")
    assert f"a new database: {data_dir}/prover.sqlite3" in made.stderr
    again = prover("headers", "simulate", "--days", "1")
    assert "a new database" not in again.stderr


@pytest.mark.parametrize(
    ("text", "unit"), [("1701475200000", "milliseconds"), ("1701475200000000", "microseconds")]
)
def test_times_in_another_unit_are_refused_with_what_they_are_in_seconds(
    prover: Run, text: str, unit: str
) -> None:
    outcome = prover("headers", "sync", "--rpc-url", "http://127.0.0.1:1", "--from-time", text)
    assert outcome.returncode == 2
    assert f"is plainly in {unit}: 1701475200 in seconds" in outcome.stderr
