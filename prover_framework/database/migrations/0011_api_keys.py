from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import OpenJobsIndex, UnrevokedIndex, WidenColumns


class Migration(migrations.Migration):
    dependencies = [("prover", "0010_attachments")]

    initial = False

    operations = [
        WidenColumns(
            "JobGroup",
            "id",
            fields.CharField(primary_key=True, unique=True, db_index=True, max_length=192),
            (("job_group", "id"), ("job", "group_id"), ("seal_job", "group_id")),
        ),
        WidenColumns(
            "Event", "group_id", fields.CharField(max_length=192), (("event", "group_id"),)
        ),
        WidenColumns(
            "Delivery", "group_id", fields.CharField(max_length=192), (("delivery", "group_id"),)
        ),
        ops.AddField(
            model_name="JobGroup",
            name="namespace",
            field=fields.CharField(db_default="default", max_length=32),
        ),
        ops.AddIndex(
            model_name="JobGroup",
            index=Index(fields=["namespace", "created_at", "id"], name="job_group_namespace"),
        ),
        ops.AddField(
            model_name="Job",
            name="namespace",
            field=fields.CharField(db_default="default", max_length=32),
        ),
        ops.AddField(
            model_name="Job",
            name="api_key",
            field=fields.CharField(null=True, max_length=16),
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(
                fields=["namespace", "state", "created_at", "group_id"], name="job_namespace"
            ),
        ),
        ops.AddIndex(
            model_name="Job",
            index=OpenJobsIndex(fields=["api_key", "group_id"], name="job_open_of_key"),
        ),
        ops.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=16),
                ),
                ("digest", fields.CharField(max_length=64)),
                ("name", fields.CharField(max_length=80)),
                ("namespace", fields.CharField(max_length=32)),
                ("scopes", fields.CharField(max_length=80)),
                ("requests_per_minute", fields.IntField()),
                ("verifications_per_minute", fields.IntField()),
                ("open_groups", fields.IntField()),
                ("created_at", fields.BigIntField()),
                ("expires_at", fields.BigIntField(null=True)),
                ("revoked_at", fields.BigIntField(null=True)),
                ("last_used_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "api_key",
                "app": "prover",
                "indexes": [UnrevokedIndex(fields=["id"], name="api_key_unrevoked")],
                "pk_attr": "id",
                "table_description": "A key of the API. What is stored of the secret is its digest.",
            },
            bases=["Model"],
        ),
    ]
