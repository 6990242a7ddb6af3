from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import PresentIndex


class Migration(migrations.Migration):
    dependencies = [("prover", "0008_outbox")]

    initial = False

    operations = [
        ops.CreateModel(
            name="SealJob",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                (
                    "group",
                    fields.ForeignKeyField(
                        "prover.JobGroup",
                        source_field="group_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="seal_jobs",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("job_name", fields.CharField(max_length=63)),
                ("kind", fields.CharField(max_length=63)),
                ("receipt_digest", fields.CharField(max_length=64)),
                ("state", fields.CharField(max_length=16)),
                ("attempts", fields.IntField()),
                ("failures", fields.IntField()),
                ("due_at", fields.BigIntField(null=True)),
                ("lease_token", fields.CharField(null=True, max_length=32)),
                ("worker", fields.CharField(null=True, max_length=80)),
                ("error_code", fields.CharField(null=True, max_length=63)),
                ("error_message", fields.TextField(null=True, unique=False)),
                ("document", fields.TextField(null=True, unique=False)),
                ("created_at", fields.BigIntField()),
                ("started_at", fields.BigIntField(null=True)),
                ("finished_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "seal_job",
                "app": "prover",
                "unique_together": (("group", "job_name", "kind"),),
                "indexes": [PresentIndex(fields=["state", "kind", "due_at"], name="seal_job_due")],
                "pk_attr": "id",
                "table_description": "A seal that is made after its receipt, and how far that is.",
            },
            bases=["Model"],
        ),
    ]
