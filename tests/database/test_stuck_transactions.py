"""A process that is stopped in the middle of a transaction does not hold up the others for long."""

from collections.abc import Iterator

import asyncpg
import pytest
from postgres_server import PostgresServer

from prover_framework.database import postgres as engine
from prover_framework.database.database import Database
from prover_framework.database.engine import Bounds
from prover_framework.errors import StoreError


def test_a_driver_at_a_loss_is_trouble_with_the_database() -> None:
    refusals = engine.PostgresEngine("postgres://host/name", None, Bounds()).refusals()
    with pytest.raises(StoreError, match="cannot switch"), refusals:
        raise asyncpg.InternalClientError("cannot switch to state 12")


@pytest.fixture
def url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    url = postgres.create_database(postgres_template)
    yield url
    postgres.drop_database(url)


async def test_its_locks_are_taken_from_it(url: str) -> None:
    # Its transactions have two seconds; others wait for longer.
    stuck_bounds, bounds = Bounds(0.5), Bounds(20)
    change = "UPDATE chain SET source = ? WHERE id = 1 RETURNING source"

    async def stop_in_the_middle(stuck: Database, other: Database) -> None:
        async with stuck.transaction() as connection:
            await connection.fetch(change, ["stuck"])
            (row,) = await other.write(change, ["other"])
            assert row["source"] == "other"
            await connection.fetch(change, ["stuck again"])

    async with (
        Database(url, bounds=stuck_bounds) as stuck,
        Database(url, bounds=bounds) as other,
    ):
        await other.write(
            "INSERT INTO chain (id, chain_id, simulated, source) VALUES (1, 1, TRUE, '')"
        )
        with pytest.raises(StoreError):
            await stop_in_the_middle(stuck, other)
        (row,) = await other.read("SELECT source FROM chain")
        assert row["source"] == "other"
