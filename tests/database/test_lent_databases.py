"""Databases that tests hand on to each other: nothing of one test is left for the next."""

import asyncpg
import pytest
from postgres_server import PostgresServer

FILL = "INSERT INTO chain (chain_id, simulated, source) VALUES (1, TRUE, '') RETURNING id"


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_rows_are_gone_and_numbers_begin_anew(
    postgres: PostgresServer, postgres_template: str
) -> None:
    url = postgres.lend_database(postgres_template)
    first = await ask(url, FILL)
    postgres.take_back(url, postgres_template)
    assert postgres.lend_database(postgres_template) == url
    assert await ask(url, "SELECT COUNT(*) FROM chain") == 0
    assert await ask(url, FILL) == first
    postgres.drop_database(url)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE another (n INT)",
        "ALTER TABLE chain ALTER source DROP NOT NULL",
        "DROP INDEX IF EXISTS changed; CREATE INDEX changed ON chain (source)",
        "CREATE FUNCTION changed() RETURNS INT LANGUAGE SQL AS 'SELECT 1'",
        "DELETE FROM tortoise_migrations",
        "INSERT INTO chain (chain_id, simulated, source) VALUES (1, TRUE, ''); ANALYZE chain",
    ],
)
async def test_one_that_has_changed_in_another_way_is_lent_to_nobody(
    postgres: PostgresServer, postgres_template: str, change: str
) -> None:
    url = postgres.lend_database(postgres_template)
    connection = await asyncpg.connect(url)
    await connection.execute(change)
    await connection.close()
    postgres.take_back(url, postgres_template)
    found = "SELECT COUNT(*) FROM pg_database WHERE datname = '{}'"
    assert await ask(postgres.url, found.format(url.rpartition("/")[2])) == 0
