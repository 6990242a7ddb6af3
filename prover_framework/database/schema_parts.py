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
