from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("prover", "0016_priorities")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="trace_parent",
            field=fields.CharField(null=True, max_length=55),
        ),
    ]
