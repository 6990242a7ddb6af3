from typing import Any

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import TakeableIndex


async def _put_into_lanes(_: object, editor: Any) -> None:
    """Give each key's jobs that have not ended a lane of their own; others are in none."""
    await editor.client.execute_query(
        "UPDATE job SET lane = '09' || api_key WHERE api_key IS NOT NULL"
        " AND state IN ('pending', 'queued', 'running', 'waiting')"
    )


class Migration(migrations.Migration):
    dependencies = [("prover", "0015_request_ids")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="priority",
            field=fields.IntField(db_default=0),
        ),
        ops.AddField(
            model_name="Job",
            name="lane",
            field=fields.CharField(db_default="09", max_length=18),
        ),
        ops.AddField(
            model_name="ApiKey",
            name="max_priority",
            field=fields.IntField(db_default=0),
        ),
        ops.RunPython(_put_into_lanes),
        ops.RemoveIndex(model_name="Job", name="job_ready"),
        ops.AddIndex(
            model_name="Job",
            index=TakeableIndex(
                fields=["queue", "proof_type", "lane", "not_before", "id"], name="job_ready_lane"
            ),
        ),
    ]
