from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import RenameColumn


class Migration(migrations.Migration):
    dependencies = [("prover", "0003_growth")]

    initial = False

    operations = [
        RenameColumn(model_name="Job", old_name="proof_type", new_name="name"),
        ops.AddField(model_name="Job", name="dependents", field=fields.IntField(db_default=0)),
        ops.CreateModel(
            name="Dependency",
            fields=[
                (
                    "id",
                    fields.IntField(generated=True, primary_key=True, unique=True, db_index=True),
                ),
                ("job_id", fields.CharField(db_index=True, max_length=32)),
                ("rests_on", fields.CharField(db_index=True, max_length=32)),
            ],
            options={
                "table": "dependency",
                "app": "prover",
                "pk_attr": "id",
                "table_description": "A job that rests on the result of another one of its group.",
            },
            bases=["Model"],
        ),
    ]
