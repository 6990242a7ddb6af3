from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0001_initial")]

    initial = False

    operations = [
        ops.CreateModel(
            name="RawHeader",
            fields=[
                (
                    "number",
                    fields.BigIntField(
                        generated=True, primary_key=True, unique=True, db_index=True
                    ),
                ),
                ("rlp", fields.BinaryField()),
            ],
            options={
                "table": "raw_header",
                "app": "prover",
                "pk_attr": "number",
                "table_description": "The whole header of a block, as the bytes that its hash is made of.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="Seal",
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
                        related_name="seals",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("kind", fields.CharField(max_length=63)),
                ("document", fields.TextField(unique=False)),
                ("created_at", fields.BigIntField()),
            ],
            options={
                "table": "seal",
                "app": "prover",
                "unique_together": (("job", "kind"),),
                "pk_attr": "id",
                "table_description": "A seal on the receipt of a job. A receipt can gain one long after it was made.",
            },
            bases=["Model"],
        ),
        ops.AddField(
            model_name="BlockHeader",
            name="verified",
            field=fields.BooleanField(db_default=False),
        ),
        ops.AddField(
            model_name="HourlyBaseFee",
            name="verified_count",
            field=fields.IntField(db_default=0),
        ),
        ops.AddField(
            model_name="Job",
            name="receipt",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="JobGroup",
            name="receipt",
            field=fields.TextField(null=True, unique=False),
        ),
    ]
