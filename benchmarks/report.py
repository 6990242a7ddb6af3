"""Results as tables, for a terminal and as Markdown, under the heading of the run they are from."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from attrs import frozen
from checkouts import BASELINE, commit
from rich.console import Console
from rich.table import Table as ConsoleTable


class Better(Enum):
    """Which way a figure gets better; the value makes the ratio from now and before."""

    MORE = 1
    LESS = -1


@frozen
class Figure:
    """One measured quantity, beside the same one at the baseline.

    Args:
        work: What was done.
        unit: Of both figures.
        stored: Where and how durably.
        baseline: None where the baseline cannot do it.
        now: Of this checkout.
        better: Whether more of it is better.
    """

    work: str
    unit: str
    stored: str
    baseline: float | None
    now: float
    better: Better

    @property
    def ratio(self) -> float | None:
        """How many times better it is now."""
        if not self.baseline or not self.now:
            return None
        return float((self.now / self.baseline) ** self.better.value)


@frozen
class Table:
    """What a benchmark found.

    Args:
        title: What was measured.
        columns: Their heads.
        rows: Cells, one for each column.
        notes: What has to be known to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def compared(title: str, figures: Iterable[Figure], *notes: str) -> Table:
    """Return figures beside those of the baseline as a table."""
    rows = [
        (
            figure.work,
            figure.unit,
            figure.stored,
            "-" if figure.baseline is None else shown(figure.baseline),
            shown(figure.now),
            "-" if figure.ratio is None else f"{figure.ratio:.1f}",
        )
        for figure in figures
    ]
    return Table(title, ("work", "unit", "stored", BASELINE, "now", "times"), rows, notes)


def shown(number: float) -> str:
    """Return a figure with three digits that count."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def heading() -> str:
    """Return when, where and of what a run is."""
    now = datetime.now(UTC)
    load = os.getloadavg()
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, commit {commit()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load[0]:.1f}"
    )


def show(console: Console, table: Table) -> None:
    """Print a table for somebody who watches."""
    console.rule(table.title)
    drawn = ConsoleTable(*table.columns)
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(note)


def append(file: Path, command: str, table: Table) -> None:
    """Add a table to a file of Markdown, with the heading of the run and the command."""
    lines = [
        f"## {table.title}",
        "",
        f"{heading()}; `{command}`.",
        "",
        _line(table.columns),
        _line("---" for _ in table.columns),
        *map(_line, table.rows),
        "",
        *(part for note in table.notes for part in (note, "")),
    ]
    with file.open("a") as report:
        report.write("\n".join(lines) + "\n")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
