"""A database for a process that does nothing but read rows.

It has no thread, no lock and no transaction, and imports little: some such processes live for a
tenth of a second.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from prover_framework.errors import StoreError


class RowReader(Protocol):
    """Reads rows, one statement after the other. Calls block."""

    def read(self, statement: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a statement that only reads; ``?`` stands for a value.

        Raises:
            StoreError: The database refused, and why.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def open_reader(where: Path | str) -> RowReader:
    """Open a database that is there; see `prover_framework.database.database.Database.where`.

    Raises:
        StoreError: It cannot be opened.
    """
    return _SqliteReader(where) if isinstance(where, Path) else _PostgresReader(where)


class _SqliteReader:
    """Whoever reads a file of SQLite waits for no writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def read(self, statement: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        self._connection.close()

    def _refused(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"the database {self._path} refused: {error}")


class _PostgresReader:
    def __init__(self, url: str) -> None:
        # Imported where they are used: who reads a file needs neither.
        import asyncio

        from prover_framework.database.engine import Bounds
        from prover_framework.database.postgres import PostgresEngine

        self._engine = PostgresEngine(url, None, Bounds())
        self._runner = asyncio.Runner()

    def read(self, statement: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
        return self._runner.run(self._read(statement, values))

    async def _read(self, statement: str, values: Sequence[object]) -> Sequence[Sequence[Any]]:
        engine = self._engine
        with engine.calls():
            async with engine.connections.lend(engine.reader_name) as connection:
                rows: Sequence[Sequence[Any]] = await connection.fetch(
                    engine.sql(statement), *values
                )
                return rows

    def close(self) -> None:
        self._runner.run(self._engine.connections.close())
        self._runner.close()
