"""The migrations make the schema that the models describe, on each engine."""

import asyncio
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from empty_database import open_empty
from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector
from tortoise.utils import generate_schema_for_client

from prover_framework.database.database import Database
from prover_framework.database.development import CONFIG
from prover_framework.database.engine import MIGRATIONS_TABLE, Row

# What an engine says of its tables, in rows that begin with the table's name. Names of indexes and
# constraints are left out: nothing depends on them.
CATALOGUES = {
    "sqlite": {
        "columns": """
            SELECT t.name, c.name, c.type, c."notnull", c.dflt_value, c.pk
            FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'
        """,
        "indexes": """
            SELECT t.name, i."unique", c.seqno, c.name
            FROM sqlite_master AS t, pragma_index_list(t.name) AS i, pragma_index_info(i.name) AS c
            WHERE t.type = 'table'
        """,
        "references": """
            SELECT t.name, f."from", f."table", f."to", f.on_delete
            FROM sqlite_master AS t, pragma_foreign_key_list(t.name) AS f WHERE t.type = 'table'
        """,
    },
    "postgres": {
        "columns": """
            SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,
                column_default
            FROM information_schema.columns WHERE table_schema = 'public'
        """,
        "indexes": """
            SELECT tablename, REPLACE(indexdef, indexname, '') FROM pg_indexes
            WHERE schemaname = 'public'
        """,
        "references": """
            SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        """,
    },
}


async def schema(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Describe the tables of a database, in any order of their columns."""
    catalogue = CATALOGUES["sqlite" if database.embedded else "postgres"]
    return {
        name: sorted(map(_comparable, _rows(await database.read(query))), key=str)
        for name, query in catalogue.items()
    }


def _comparable(row: tuple[object, ...]) -> tuple[object, ...]:
    """Leave out what SQLite writes down and does not heed: how long a text may be."""
    return tuple(
        re.sub(r"^VARCHAR\(\d+\)$", "VARCHAR", part) if isinstance(part, str) else part
        for part in row
    )


def _rows(found: Iterable[Row]) -> list[tuple[object, ...]]:
    internal = (MIGRATIONS_TABLE, "sqlite_sequence")
    return [tuple(row) for row in found if row[0] not in internal]


async def make_from_models(url: str) -> None:
    async with open_empty(url) as client:
        await generate_schema_for_client(client, safe=False)


async def test_models_and_migrations_agree(empty_url: str, database_url: str) -> None:
    await make_from_models(empty_url)
    async with Database(empty_url) as models, Database(database_url) as migrations:
        described, migrated = await schema(models), await schema(migrations)
    assert described == migrated


async def test_no_migration_is_missing() -> None:
    async def missing() -> list[str]:
        async with TortoiseContext() as context:
            await context.init(config=CONFIG)
            try:
                assert context.apps is not None
                changes = await MigrationAutodetector(context.apps, CONFIG["apps"]).changes()
                return [change.name for change in changes]
            finally:
                await context.connections.close_all()

    assert await missing() == [], 'run "make migrations"'


async def test_an_empty_database_is_brought_up_to_date_once(tmp_path: Path) -> None:
    async with Database(tmp_path / "prover.sqlite3") as database:
        first, second = await database.migrate(), await database.migrate()
    assert first[0] == "0001_initial"
    assert second == []


async def test_many_processes_may_start_on_an_empty_database(tmp_path: Path) -> None:
    async def migrate() -> int:
        async with Database(tmp_path / "prover.sqlite3") as database:
            return len(await database.migrate())

    async def start_many() -> list[int]:
        return await asyncio.gather(
            *(asyncio.to_thread(lambda: asyncio.run(migrate())) for _ in range(4))
        )

    applied = await start_many()
    assert sorted(applied)[:3] == [0, 0, 0]
    assert sum(applied) > 0


async def test_a_new_file_that_another_process_prepares_is_waited_for(tmp_path: Path) -> None:
    """SQLite refuses the switch to its log at once while another connection is about to write."""

    path = tmp_path / "prover.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.1, other.rollback)
        async with Database(path) as database:
            assert (
                [row["journal_mode"] for row in await database.read("PRAGMA journal_mode")]
            ) == ["wal"]
