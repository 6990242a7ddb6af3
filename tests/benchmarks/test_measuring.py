"""What benchmarks rest on: a baseline that is the right one, commits that are counted, ratios."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from checkouts import NoBaseline, take_out
from report import Better, Figure, compared, shown
from stand import SqliteReader


def git(*arguments: object) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "repository"
    git("init", "--quiet", made)
    for text in ("old", "new"):
        (made / "file").write_text(text)
        git("-C", made, "add", "file")
        git("-C", made, "commit", "--quiet", "--message", text)
    return made


def test_the_baseline_has_the_files_of_its_commit(repository: Path, tmp_path: Path) -> None:
    take_out(repository, git("-C", repository, "rev-parse", "HEAD~1"), tmp_path / "out")

    assert (tmp_path / "out" / "file").read_text() == "old"


def test_a_shallow_clone_says_what_to_do(repository: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--depth", 1, repository.as_uri(), clone)
    commit = git("-C", repository, "rev-parse", "HEAD~1")

    with pytest.raises(NoBaseline, match=r"the clone is shallow .*: git fetch --unshallow"):
        take_out(clone, commit, tmp_path / "out")


def test_files_that_are_no_clone_say_so(tmp_path: Path) -> None:
    with pytest.raises(NoBaseline, match="no clone"):
        take_out(tmp_path, "4c37a01", tmp_path / "out")


def test_transactions_that_write_are_counted_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "database.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a)")
        reader = SqliteReader(file)
        before = reader.commits()

        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 5000,)] * 20)
        connection.execute("COMMIT")
        connection.execute("SELECT * FROM t").fetchall()

        assert reader.commits() - before == 2
        # The log begins anew, with old frames after the new ones.
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("INSERT INTO t VALUES (2)")
        assert reader.commits() == 1
        assert reader.columns("t") == {"a"}
        reader.close()


@pytest.mark.parametrize(
    ("better", "baseline", "now", "ratio"),
    [(Better.MORE, 25, 100, 4), (Better.LESS, 30, 6, 5), (Better.LESS, 2, 4, 0.5)],
)
def test_a_ratio_above_one_is_better(
    better: Better, baseline: float, now: float, ratio: float
) -> None:
    assert Figure("work", "unit", "stored", baseline, now, better).ratio == pytest.approx(ratio)


def test_what_the_baseline_cannot_do_has_no_ratio() -> None:
    table = compared("title", [Figure("work", "ms", "stored", None, 1234.5, Better.LESS)])

    assert table.rows == [("work", "ms", "stored", "-", "1,234", "-")]


def test_three_digits_of_a_figure_count() -> None:
    assert [shown(number) for number in (1234.5, 99.94, 9.876)] == ["1,234", "99.9", "9.88"]
