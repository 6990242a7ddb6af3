from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import PresentIndex


class Migration(migrations.Migration):
    dependencies = [("prover", "0009_seals")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Attachment",
            fields=[
                (
                    "id",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=32),
                ),
                (
                    "job",
                    fields.ForeignKeyField(
                        "prover.Job",
                        source_field="job_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="attachments",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("name", fields.CharField(max_length=64)),
                ("draft_of", fields.CharField(null=True, max_length=32)),
            ],
            options={
                "table": "attachment",
                "app": "prover",
                "indexes": [
                    Index(fields=["job_id", "name"], name="attachment_job"),
                    PresentIndex(fields=["draft_of"], name="attachment_draft"),
                ],
                "pk_attr": "id",
                "table_description": "A file that is attached to the result of a job, or a draft of one until that is stored.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="AttachmentChunk",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                (
                    "attachment",
                    fields.ForeignKeyField(
                        "prover.Attachment",
                        source_field="attachment_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="chunks",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("number", fields.IntField()),
                ("data", fields.BinaryField()),
            ],
            options={
                "table": "attachment_chunk",
                "app": "prover",
                "unique_together": (("attachment", "number"),),
                "pk_attr": "id",
                "table_description": "A part of an attachment.",
            },
            bases=["Model"],
        ),
    ]
