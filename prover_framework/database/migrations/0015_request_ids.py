from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0014_workers")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="request_id",
            field=fields.CharField(null=True, max_length=64),
        ),
    ]
