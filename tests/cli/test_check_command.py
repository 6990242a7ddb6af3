"""prover check names what is wrong, with what mends it, and changes nothing."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from prover_framework.chain.ingest import ChainFacts
from prover_framework.chain.store import RecentHeaders
from prover_framework.monitoring.diagnosis import (
    Finding,
    Grade,
    Part,
    of_clock,
    of_headers,
    of_queues,
    of_settings,
)
from prover_framework.monitoring.sampling import Sample
from prover_framework.queues.base import QueueStatus
from prover_framework.settings import Settings

Run = Callable[..., subprocess.CompletedProcess[str]]

REAL = ChainFacts(1, simulated=False, source="a node")


def grades(outcome: "subprocess.CompletedProcess[str]") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in json.loads(outcome.stdout):
        found.setdefault(line["part"], set()).add(line["grade"])
    return found


def test_a_fresh_installation_has_warnings_and_nothing_is_made(prover: Run, data_dir: Path) -> None:
    outcome = prover("check", "--json")
    assert outcome.returncode == 0
    assert grades(outcome) == {
        "settings": {"ok"},
        "permissions": {"ok"},
        "plugins": {"ok"},
        "keys": {"warning"},
        "schema": {"warning"},
    }
    assert not data_dir.exists()
    assert str(data_dir) in outcome.stdout


def test_each_line_of_a_bad_installation_says_what_mends_it(
    prover: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover("headers", "simulate", "--days", "1")
    (data_dir / "prover.sqlite3").chmod(0o644)
    with closing(sqlite3.connect(data_dir / "prover.sqlite3")) as database, database:
        database.execute("INSERT INTO tortoise_migrations (app, name, applied_at) VALUES (?, ?, ?)",
                         ["prover", "9999_future", "2030-01-01"])  # fmt: skip
    monkeypatch.setenv("PROVER_LOG_LEVL", "DEBUG")
    monkeypatch.setenv("PROVER_REQUIRE_SIGNATURE", "true")
    outcome = prover("check", "--json")
    assert outcome.returncode == 1
    found: list[dict[str, Any]] = json.loads(outcome.stdout)
    bad = {line["part"]: line for line in found if line["grade"] != "ok"}
    assert bad["settings"]["remedy"] == "call it PROVER_LOG_LEVEL, or unset it"
    assert bad["permissions"]["remedy"] == f"chmod go= {data_dir / 'prover.sqlite3'}"
    assert (bad["keys"]["grade"], bad["keys"]["remedy"][:17]) == ("problem", "prover key create")
    assert bad["schema"]["grade"] == "problem"
    assert "9999_future" in bad["schema"]["text"]


def test_settings_that_cannot_be_read_are_the_one_line(
    prover: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVER_PORT", "tcp://10.0.0.1:3000")
    outcome = prover("check")
    assert outcome.returncode == 1
    assert "PROVER_PORT must be a whole number" in outcome.stdout


def test_a_directory_that_cannot_be_written_to_is_a_problem(
    prover: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROVER_DATA_DIR", str(tmp_path / "file" / "data"))
    outcome = prover("check", "--json")
    assert "problem" in grades(outcome)["permissions"]
    assert outcome.returncode == 1


def test_a_table_is_shown_to_people(prover: Run) -> None:
    prover("headers", "simulate", "--days", "1")
    outcome = prover("check")
    assert "the chain is simulated" in outcome.stdout
    assert "default: 0 messages wait" in outcome.stdout
    assert "[yellow]" not in outcome.stdout


# Single parts


def sample(newest: int = 1000, *, at: float = 1010.0, missing: int = 0, **more: Any) -> Sample:
    headers = RecentHeaders(
        chain=REAL,
        count=10,
        verified=10,
        missing_blocks=missing,
        newest_block=5,
        newest_timestamp=newest,
    )
    return Sample(at=at, headers=headers, **more)


def only(findings: Any) -> Finding:
    (finding,) = findings
    return finding  # type: ignore[no-any-return]


def test_headers_are_judged_by_age_and_gaps() -> None:
    settings = Settings(max_headers_lag_seconds=60.0)
    assert only(of_headers(settings, sample())).grade is Grade.OK
    old = only(of_headers(settings, sample(at=2000.0)))
    assert (old.grade, old.part) == (Grade.WARNING, Part.HEADERS)
    assert "1,000 s old, more than PROVER_MAX_HEADERS_LAG_SECONDS=60" in old.text
    gap, _ = of_headers(settings, sample(missing=3))
    assert "3 blocks of the newest week are missing" in gap.text
    assert "every job waits" in only(of_headers(settings, Sample(at=1.0))).text


@pytest.mark.parametrize(
    ("status", "problems", "grade", "text"),
    [
        (QueueStatus(visible=2, in_flight=0, delayed=0, dead_letters=0), {}, Grade.OK, "2 mess"),
        (QueueStatus(visible=2, in_flight=0, delayed=0, dead_letters=4), {}, Grade.WARNING, "4 d"),
        (
            QueueStatus(visible=2, in_flight=0, delayed=0, dead_letters=None),
            {},
            Grade.WARNING,
            "no dead-letter queue",
        ),
        (None, {"queue": "it is gone"}, Grade.PROBLEM, "it is gone"),
    ],
)
def test_queues_are_judged_by_their_answer(
    status: QueueStatus | None, problems: dict[str, str], grade: Grade, text: str
) -> None:
    finding = only(of_queues(Sample(queues={"default": status}, problems=problems)))
    assert finding.grade is grade
    assert text in finding.text


def test_clocks_that_differ_and_blocks_of_the_future_are_told() -> None:
    assert only(of_clock(sample(), clock=1010.0)).grade is Grade.OK
    off = only(of_clock(sample(), clock=1110.0))
    assert (off.grade, off.text) == (
        Grade.WARNING,
        "this machine's clock is +100 s from the database's",
    )
    ahead = only(of_clock(sample(newest=1100), clock=1010.0))
    assert ahead.text == "the newest block is 90 s later than this machine's clock"


def test_sqs_with_a_file_on_this_machine_is_told() -> None:
    found = [*of_settings(Settings(sqs_queue_url="https://sqs/q"), [])]
    assert found[0].grade is Grade.WARNING
    assert "DATABASE_URL" in found[0].remedy
