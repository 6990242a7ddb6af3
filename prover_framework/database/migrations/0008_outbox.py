from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0007_accepted_version")]

    initial = False

    operations = [
        ops.CreateModel(
            name="Delivery",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("number", fields.BigIntField()),
                ("observer", fields.CharField(max_length=128)),
                ("group_id", fields.CharField(max_length=128)),
                ("created_at", fields.BigIntField()),
                ("tries", fields.IntField()),
                ("due_at", fields.BigIntField()),
                ("lease_token", fields.CharField(null=True, max_length=32)),
            ],
            options={
                "table": "delivery",
                "app": "prover",
                "unique_together": (("observer", "number"),),
                "indexes": [Index(fields=["observer", "due_at", "id"], name="delivery_due")],
                "pk_attr": "id",
                "table_description": "An event that an observer has still to be told. The row goes when that is done.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("number", fields.BigIntField(null=True)),
                ("kind", fields.CharField(max_length=32)),
                ("group_id", fields.CharField(max_length=128)),
                ("job_id", fields.CharField(null=True, max_length=32)),
                ("seal_kind", fields.CharField(null=True, max_length=63)),
                ("created_at", fields.BigIntField()),
            ],
            options={
                "table": "event",
                "app": "prover",
                "indexes": [Index(fields=["number", "id"], name="event_number")],
                "pk_attr": "id",
                "table_description": "Something that others want to know of, stored with what made it so. It holds ids only.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Observer",
            fields=[
                (
                    "name",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=128),
                ),
                ("seen_at", fields.BigIntField()),
            ],
            options={
                "table": "observer",
                "app": "prover",
                "pk_attr": "name",
                "table_description": "A plugin that is told of the ends of groups, on whatever workers it is.",
            },
            bases=["Model"],
        ),
    ]
