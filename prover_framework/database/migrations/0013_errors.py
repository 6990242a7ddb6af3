from tortoise import migrations
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import FirstPresentIndex


class Migration(migrations.Migration):
    dependencies = [("prover", "0012_the_table_as_queue")]

    initial = False

    operations = [
        ops.AddIndex(
            model_name="Job",
            index=FirstPresentIndex(
                fields=["error_code", "created_at", "group_id"], name="job_error_created"
            ),
        ),
    ]
