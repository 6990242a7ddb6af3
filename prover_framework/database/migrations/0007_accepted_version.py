from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0006_progress")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="method_version",
            field=fields.TextField(null=True, unique=False),
        ),
    ]
