from tortoise import migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import FirstPresentIndex


class Migration(migrations.Migration):
    dependencies = [("prover", "0018_data_version")]

    initial = False

    operations = [
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["state", "created_at", "group_id", "name"], name="job_listed"),
        ),
        ops.RemoveIndex(model_name="Job", name="job_state_created"),
        ops.AddIndex(
            model_name="Job",
            index=Index(
                fields=["namespace", "state", "created_at", "group_id", "name"],
                name="job_namespace_listed",
            ),
        ),
        ops.RemoveIndex(model_name="Job", name="job_namespace"),
        ops.AddIndex(
            model_name="Job",
            index=FirstPresentIndex(
                fields=["error_code", "created_at", "group_id", "name", "state", "namespace"],
                name="job_error_listed",
            ),
        ),
        ops.RemoveIndex(model_name="Job", name="job_error_created"),
    ]
