"""The ORM: it writes and applies migrations, and knows the columns of what is exported. No more.

Its models are in `prover_framework.database.tables`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext
from tortoise.exceptions import BaseORMException
from tortoise.migrations.executor import MigrationExecutor

from prover_framework.database.engine import MIGRATIONS

APP = "prover"
MODELS = "prover_framework.database.tables"

# What the ORM calls the one connection that it is lent.
NAME = "prover"

APPS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {APP: {"models": [MODELS], "migrations": MIGRATIONS, "default_connection": NAME}}
)

CONFIG: Mapping[str, Any] = MappingProxyType(
    {"connections": {NAME: "sqlite://development.sqlite3"}, "apps": APPS}
)


async def complete_models() -> None:
    """Have the ORM give the models the columns that come of their relations. It connects nowhere.

    Without it `Job` has no ``group_id``.
    """
    async with TortoiseContext() as context:
        await context.init(config={**CONFIG, "apps": dict(APPS)})


async def migrate(client: BaseDBAsyncClient) -> None:
    """Apply all migrations that the schema lacks.

    Args:
        client: A connection inside of a transaction, as the ORM wants it.

    Raises:
        Exception: The driver's, as the database has refused.
    """
    # The tool finds its connection through the context.
    with TortoiseContext() as context:
        token = context.connections.set(NAME, client)
        try:
            executor = MigrationExecutor(client, dict(APPS))
            # The tool asks for what was applied before it makes its table, and an error would
            # end the transaction.
            editor = executor._schema_editor(atomic=False)  # noqa: SLF001
            await executor.recorder.ensure_schema(editor)
            await executor.migrate()
        except BaseORMException as error:
            # What the ORM raises has the driver's error in it.
            cause = error.args[0] if error.args else None
            if isinstance(cause, Exception):
                raise cause from error
            raise
        finally:
            context.connections.reset(token)
