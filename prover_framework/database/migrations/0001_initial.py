from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name="BlockHeader",
            fields=[
                (
                    "number",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("timestamp", fields.BigIntField(db_index=True)),
                ("base_fee_wei", fields.BigIntField()),
                ("gas_used", fields.BigIntField(null=True)),
                ("gas_limit", fields.BigIntField(null=True)),
                ("block_hash", fields.CharField(null=True, max_length=66)),
                ("parent_hash", fields.CharField(null=True, max_length=66)),
            ],
            options={
                "table": "block_header",
                "app": "prover",
                "pk_attr": "number",
                "table_description": "A block header, as far as the base fee needs it.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Chain",
            fields=[
                (
                    "id",
                    fields.IntField(generated=True, primary_key=True, unique=True, db_index=True),
                ),
                ("chain_id", fields.BigIntField()),
                ("simulated", fields.BooleanField()),
                ("source", fields.TextField(unique=False)),
            ],
            options={
                "table": "chain",
                "app": "prover",
                "pk_attr": "id",
                "table_description": "The one chain that this database holds.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="DeadLetter",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("queue", fields.CharField(max_length=80)),
                ("body", fields.TextField(unique=False)),
                ("reason", fields.TextField(unique=False)),
                ("died_at", fields.BigIntField()),
            ],
            options={
                "table": "dead_letter",
                "app": "prover",
                "pk_attr": "id",
                "table_description": "A message of the embedded queue that could not be understood.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="HourlyBaseFee",
            fields=[
                (
                    "hour",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("sum_wei", fields.BigIntField()),
                ("count", fields.IntField()),
                ("first_block", fields.BigIntField()),
                ("last_block", fields.BigIntField()),
            ],
            options={
                "table": "hourly_base_fee",
                "app": "prover",
                "pk_attr": "hour",
                "table_description": "What the headers of one hour add up to, kept current as headers come in.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="JobGroup",
            fields=[
                (
                    "id",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=128),
                ),
                ("submission", fields.CharField(max_length=32)),
                ("created_at", fields.BigIntField()),
            ],
            options={
                "table": "job_group",
                "app": "prover",
                "indexes": [Index(fields=["created_at", "id"], name="job_group_created")],
                "pk_attr": "id",
                "table_description": "Jobs that were asked for together.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    fields.CharField(primary_key=True, unique=True, db_index=True, max_length=32),
                ),
                (
                    "group",
                    fields.ForeignKeyField(
                        "prover.JobGroup",
                        source_field="group_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="jobs",
                        on_delete=OnDelete.RESTRICT,
                    ),
                ),
                ("proof_type", fields.CharField(max_length=63)),
                ("parameters", fields.TextField(unique=False)),
                ("queue", fields.CharField(max_length=80)),
                ("state", fields.CharField(max_length=16)),
                ("sends", fields.IntField(default=0)),
                ("attempts", fields.IntField(default=0)),
                ("failures", fields.IntField(default=0)),
                ("losses", fields.IntField(default=0)),
                ("not_before", fields.BigIntField()),
                ("due_at", fields.BigIntField(null=True)),
                ("data_deadline", fields.BigIntField(null=True)),
                ("lease_token", fields.CharField(null=True, max_length=32)),
                ("lease_until", fields.BigIntField(null=True)),
                ("worker", fields.CharField(null=True, max_length=80)),
                ("error_code", fields.CharField(null=True, max_length=63)),
                ("error_message", fields.TextField(null=True, unique=False)),
                ("result", fields.TextField(null=True, unique=False)),
                ("created_at", fields.BigIntField()),
                ("queued_at", fields.BigIntField(null=True)),
                ("started_at", fields.BigIntField(null=True)),
                ("finished_at", fields.BigIntField(null=True)),
            ],
            options={
                "table": "job",
                "app": "prover",
                "unique_together": (("group", "proof_type"),),
                "indexes": [
                    Index(fields=["due_at"], name="job_due"),
                    Index(fields=["lease_until"], name="job_lease"),
                ],
                "pk_attr": "id",
                "table_description": "One proof of a group, with its state, its lease and its result.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="QueueMessage",
            fields=[
                (
                    "id",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("queue", fields.CharField(max_length=80)),
                ("body", fields.TextField(unique=False)),
                ("visible_at", fields.BigIntField()),
                ("receive_count", fields.IntField(default=0)),
                ("receipt", fields.CharField(null=True, max_length=32)),
            ],
            options={
                "table": "queue_message",
                "app": "prover",
                "indexes": [Index(fields=["queue", "visible_at"], name="queue_message_visible")],
                "pk_attr": "id",
                "table_description": "A message of the embedded queue.",
            },
            bases=["Model"],
        ),
    ]
