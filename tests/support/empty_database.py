"""A database that no migration has been run on, as a connection of the ORM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext

from prover_framework.database.database import open_engine


@asynccontextmanager
async def open_empty(url: str) -> AsyncIterator[BaseDBAsyncClient]:
    """Connect to a database whatever its schema; disconnect when the body is left."""
    engine = open_engine(url)
    async with TortoiseContext() as context:
        await context.init(config=engine.config())
        try:
            client = context.db(engine.writer_name)
            await engine.connect([client])
            yield client
        finally:
            await context.connections.close_all()
