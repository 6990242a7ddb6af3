"""A process that is stopped in the middle of a transaction does not hold up the others for long."""

import asyncio

import asyncpg
import pytest
from postgres_server import PostgresServer

from prover_framework.errors import StoreError
from prover_framework.store import postgres as engine
from prover_framework.store.database import Database


def test_a_driver_at_a_loss_is_trouble_with_the_database() -> None:
    refusals = engine.PostgresEngine("postgres://host/name", None).refusals()
    with pytest.raises(StoreError, match="cannot switch"), refusals:
        raise asyncpg.InternalClientError("cannot switch to state 12")


def test_its_locks_are_taken_from_it(
    postgres: PostgresServer, postgres_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IDLE_TRANSACTION_SECONDS", 1)
    url = postgres.create_database(postgres_template)
    change = "UPDATE chain SET source = ? WHERE id = 1 RETURNING source"

    async def stop_in_the_middle(stuck: Database, other: Database) -> None:
        async with stuck.transaction() as connection:
            await connection.fetch(change, ["stuck"])
            (row,) = await other.write(change, ["other"])
            assert row["source"] == "other"
            await connection.fetch(change, ["stuck again"])

    async def scenario() -> str:
        async with Database(url) as stuck, Database(url) as other:
            await other.write(
                "INSERT INTO chain (id, chain_id, simulated, source) VALUES (1, 1, TRUE, '')"
            )
            with pytest.raises(StoreError):
                await stop_in_the_middle(stuck, other)
            (row,) = await other.read("SELECT source FROM chain")
            return str(row["source"])

    assert asyncio.run(scenario()) == "other"
    postgres.drop_database(url)
