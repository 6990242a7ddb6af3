from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0005_attempts")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="progress_millionths",
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name="Job",
            name="progress_text",
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name="Job",
            name="progress_at",
            field=fields.BigIntField(null=True),
        ),
    ]
