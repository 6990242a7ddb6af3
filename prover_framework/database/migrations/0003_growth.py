from tortoise import migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import DropColumn, PresentIndex


class Migration(migrations.Migration):
    dependencies = [("prover", "0002_receipts_and_whole_headers")]

    initial = False

    operations = [
        ops.RemoveIndex(model_name="Job", name="job_due"),
        ops.RemoveIndex(model_name="Job", name="job_lease"),
        ops.AddIndex(model_name="Job", index=PresentIndex(fields=["due_at"], name="job_due")),
        ops.AddIndex(
            model_name="Job", index=PresentIndex(fields=["lease_until"], name="job_lease")
        ),
        ops.AddIndex(
            model_name="Job",
            index=Index(fields=["state", "created_at", "group_id"], name="job_state_created"),
        ),
        ops.RenameField(model_name="QueueMessage", old_name="receipt", new_name="receipt_handle"),
        DropColumn(model_name="JobGroup", name="submission"),
        DropColumn(model_name="Seal", name="created_at"),
    ]
