from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0004_dependencies")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                (
                    "job",
                    fields.ForeignKeyField(
                        "prover.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="failed_attempts",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("number", fields.IntField()),
                ("worker", fields.CharField(max_length=80)),
                ("started_at", fields.BigIntField()),
                ("ended_at", fields.BigIntField()),
                ("error_code", fields.CharField(max_length=63)),
                ("error_message", fields.TextField(unique=False)),
                ("traceback", fields.TextField(unique=False)),
            ],
            options={
                "table": "attempt",
                "app": "prover",
                "indexes": [Index(fields=["job_id"], name="attempt_job")],
                "pk_attr": "id",
                "table_description": "An attempt at a job that came to nothing.",
            },
            bases=["Model"],
        ),
    ]
