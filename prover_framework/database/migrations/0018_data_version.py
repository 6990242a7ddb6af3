from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0017_traces")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Chain",
            name="data_version",
            field=fields.CharField(default="", db_default="", max_length=16),
        ),
    ]
