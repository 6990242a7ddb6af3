"""What the schema needs and the ORM's own parts do not have, on both engines alike."""

from typing import Any

from tortoise.indexes import Index
from tortoise.migrations import operations as ops
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_generator.state import State


class PresentIndex(Index):
    """An index that leaves out the rows where its last column is NULL.

    Statements that compare the column can use it; both engines see that a comparison excludes NULL.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.extra = f' WHERE "{self.fields[-1]}" IS NOT NULL'


class TakeableIndex(Index):
    """An index of the jobs that a worker may take, now or when their time comes.

    Statements that use it say so in the same words.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.extra = " WHERE state IN ('pending', 'queued')"


class OpenJobsIndex(Index):
    """An index of jobs that have not ended and were asked for with a key of the API."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # As statements about open jobs say it: SQLite compares the words.
        states = "'pending', 'queued', 'running', 'waiting'"
        self.extra = f' WHERE "api_key" IS NOT NULL AND "state" IN ({states})'


class UnrevokedIndex(Index):
    """An index that leaves out the keys of the API that are revoked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.extra = ' WHERE "revoked_at" IS NULL'


class WidenColumns(ops.AlterField):
    """Let a text, and the columns that refer to it, be longer; no row is written anew.

    SQLite keeps texts of any length, and the ORM's own way there is to make the table anew.

    Args:
        model_name: The model.
        name: Its field.
        field: The field as it is then.
        columns: The columns, each as its table and its name.
    """

    def __init__(
        self, model_name: str, name: str, field: Any, columns: tuple[tuple[str, str], ...]
    ) -> None:
        super().__init__(model_name, name, field)
        self.columns = columns
        self.length: int = field.max_length

    async def database_forward(
        self,
        app_label: str,  # noqa: ARG002 - the ORM's form
        old_state: State,  # noqa: ARG002 - the ORM's form
        new_state: State,  # noqa: ARG002 - the ORM's form
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        """Change the columns of servers."""
        if state_editor is None or state_editor.DIALECT == "sqlite":
            return
        for table, column in self.columns:
            await state_editor._run_sql(  # noqa: SLF001 - what the ORM's operations call
                f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE VARCHAR({self.length})'
            )


class FirstPresentIndex(Index):
    """An index that leaves out the rows where its first column is NULL."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.extra = f' WHERE "{self.fields[0]}" IS NOT NULL'


class DropColumn(ops.RemoveField):
    """Remove a column where it stands.

    The ORM's own way on SQLite is to make the table anew, for which it drops one that others refer
    to.
    """

    async def database_forward(
        self,
        app_label: str,
        old_state: State,
        new_state: State,  # noqa: ARG002 - the ORM's form
        state_editor: BaseSchemaEditor | None = None,
    ) -> None:
        """Remove the column from the table."""
        if state_editor is not None:
            model = old_state.apps.get_model(f"{app_label}.{self.model_name}")
            table = model._meta.db_table  # noqa: SLF001 - where the ORM keeps it
            await state_editor._run_sql(  # noqa: SLF001 - what the ORM's operations call
                f'ALTER TABLE "{table}" DROP COLUMN "{self.name}"'
            )


class RenameColumn(ops.RenameField):
    """Rename a column that is part of a unique constraint; the engines keep the constraint."""

    def state_forward(self, app_label: str, state: State) -> None:
        """Rename the field, and name it in the constraints by its new name."""
        model = self.get_model_state(state, app_label, self.model_name)
        model.options["unique_together"] = tuple(
            tuple(self.new_name if name == self.old_name else name for name in names)
            for names in model.options.get("unique_together", ())
        )
        super().state_forward(app_label, state)
