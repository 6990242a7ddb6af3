"""A database that no migration has been run on, as a connection of the ORM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext

from prover_framework.database.database import Database
from prover_framework.database.development import CONFIG
from prover_framework.database.orm import NAME
from prover_framework.database.postgres import PostgresTransaction
from prover_framework.database.postgres_orm import OrmPostgres
from prover_framework.database.sqlite import SqliteTransaction
from prover_framework.database.sqlite_orm import OrmSqlite


@asynccontextmanager
async def open_empty(url: str) -> AsyncIterator[BaseDBAsyncClient]:
    """Connect to a database whatever its schema; what was done is committed at the end."""
    async with (
        Database(url) as database,
        database.transaction() as transaction,
        TortoiseContext() as context,
    ):
        await context.init(config=CONFIG)
        token = context.connections.set(NAME, orm_client(transaction))
        try:
            yield context.db(NAME)
        finally:
            context.connections.reset(token)


def orm_client(transaction: object) -> BaseDBAsyncClient:
    """Return a transaction as the ORM wants it."""
    if isinstance(transaction, SqliteTransaction):
        return OrmSqlite(transaction.raw, transaction.lend)
    assert isinstance(transaction, PostgresTransaction)
    return OrmPostgres(transaction.raw, transaction.lend)
