"""A stored result can be checked, and one that was changed is found out."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from prover_framework.jsontext import dump_json, parse_json

PROVER = Path(sys.executable).with_name("prover")
END = 1_704_067_200
DAYS = 15

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="module")
def prover(data_dir: Path) -> Run:
    environment = {**os.environ, "PROVER_DATA_DIR": str(data_dir), "COLUMNS": "300"}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PROVER, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    assert run("headers", "simulate", "--days", str(DAYS), "--end", str(END)).returncode == 0
    worker = subprocess.Popen([PROVER, "worker"], env=environment)
    try:
        submitted = run(
            "submit",
            *("--id", "round", "--range", f"{END - DAYS * 86400}..{END}"),
            *("--max_return.window_hours=100", "--wait"),
        )
        assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    finally:
        worker.terminate()
        worker.wait(30)
    return run


def test_results_of_our_own_are_accepted(prover: Run) -> None:
    checked = prover("verify", "round")
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("│ accepted │") == 3


@pytest.mark.parametrize(
    ("proof", "path", "value", "said"),
    [
        ("twap", ("twap",), 1.5, "another result"),
        ("max_return", ("occurred_hour",), 0, "another result"),
        ("max_return", ("window_hours",), "x", "window_hours: must be an integer"),
        ("reserve_price", ("standard_error",), 1.0, "standard_error is claimed as 1.0"),
        ("reserve_price", ("calibration", "phi"), 0.5, "gradient"),
        ("twap", ("evidence", "seed"), "00", "its evidence says seed 00"),
        ("twap", ("evidence", "fees_hash"), [1], "its evidence says fees_hash (1,)"),
        ("twap", ("evidence", "simulated"), False, "its evidence says simulated False"),
        ("twap", ("evidence",), None, "evidence: must be an object"),
    ],
)
def test_a_changed_result_is_refused_and_the_reason_names_what_was_changed(
    prover: Run, data_dir: Path, proof: str, path: tuple[str, ...], value: object, said: str
) -> None:
    with closing(sqlite3.connect(data_dir / "prover.sqlite3", isolation_level=None)) as database:
        (true,) = database.execute(
            "SELECT result FROM job WHERE proof_type = ?", [proof]
        ).fetchone()
        forged = parse_json(true.encode())
        place = forged
        for key in path[:-1]:
            assert isinstance(place, dict)
            place = place[key]
        assert isinstance(place, dict)
        place[path[-1]] = value  # type: ignore[assignment]
        change = "UPDATE job SET result = ? WHERE proof_type = ?"
        database.execute(change, [dump_json(forged), proof])
        try:
            checked = prover("verify", "round")
        finally:
            database.execute(change, [true, proof])
    assert checked.returncode == 1
    assert said in checked.stdout
    assert checked.stdout.count("│ accepted │") == 2


def test_a_group_that_is_not_there_is_one_line(prover: Run) -> None:
    checked = prover("verify", "nowhere")
    assert checked.returncode == 1
    assert checked.stderr == "prover: there is no job group 'nowhere'\n"
