"""The migrations make the schema that the models describe."""

import asyncio
from pathlib import Path

from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector

from prover_framework.store.database import Database, open_engine


def test_models_and_migrations_agree(tmp_path: Path) -> None:
    config = open_engine(tmp_path / "prover.sqlite3").config()

    async def missing() -> list[str]:
        async with TortoiseContext() as context:
            await context.init(config=config)
            try:
                assert context.apps is not None
                changes = await MigrationAutodetector(context.apps, config["apps"]).changes()
                return [change.name for change in changes]
            finally:
                await context.connections.close_all()

    assert asyncio.run(missing()) == [], 'run "make migrations"'


def test_an_empty_database_is_brought_up_to_date_once(tmp_path: Path) -> None:
    async def migrate_twice() -> tuple[list[str], list[str]]:
        async with Database(tmp_path / "prover.sqlite3") as database:
            return await database.migrate(), await database.migrate()

    first, second = asyncio.run(migrate_twice())
    assert first[0] == "0001_initial"
    assert second == []


def test_many_processes_may_start_on_an_empty_database(tmp_path: Path) -> None:
    async def migrate() -> int:
        async with Database(tmp_path / "prover.sqlite3") as database:
            return len(await database.migrate())

    async def start_many() -> list[int]:
        return await asyncio.gather(
            *(asyncio.to_thread(lambda: asyncio.run(migrate())) for _ in range(4))
        )

    applied = asyncio.run(start_many())
    assert sorted(applied)[:3] == [0, 0, 0]
    assert sum(applied) > 0
