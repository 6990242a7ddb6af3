from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0013_errors")]

    initial = False

    operations = [
        ops.CreateModel(
            name="PausedQueue",
            fields=[
                (
                    "name",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=80),
                ),
                ("reason", fields.TextField(unique=False)),
                ("paused_at", fields.BigIntField()),
            ],
            options={
                "table": "paused_queue",
                "app": "prover",
                "pk_attr": "name",
                "table_description": "A queue of which no worker takes jobs for now.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="WorkerRow",
            fields=[
                (
                    "id",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=80),
                ),
                ("queue", fields.CharField(max_length=80)),
                ("version", fields.CharField(max_length=80)),
                ("plugins", fields.TextField(unique=False)),
                ("slots", fields.IntField()),
                ("in_flight", fields.IntField()),
                ("state", fields.CharField(max_length=16)),
                ("started_at", fields.BigIntField()),
                ("seen_at", fields.BigIntField()),
                ("is_draining", fields.BooleanField()),
            ],
            options={
                "table": "worker",
                "app": "prover",
                "pk_attr": "id",
                "table_description": "A worker that is running, by its own word. The row goes when it stops, or later.",
            },
            bases=["Model"],
        ),
    ]
