from typing import Any

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from prover_framework.database.schema_parts import TakeableIndex


async def _name_proof_types(_: object, editor: Any) -> None:
    """Give each job its proof type: what its name has before the label."""
    client = editor.client
    await client.execute_query("UPDATE job SET proof_type = name WHERE name NOT LIKE '%@%'")
    _, labelled = await client.execute_query("SELECT DISTINCT name FROM job WHERE name LIKE '%@%'")
    for row in labelled:
        # Names are letters, digits and such; the pattern of proof types leaves out quotes.
        name = row["name"].replace("'", "''")
        proof_type = name.partition("@")[0]
        await client.execute_query(
            f"UPDATE job SET proof_type = '{proof_type}' WHERE name = '{name}'"  # noqa: S608
        )


class Migration(migrations.Migration):
    dependencies = [("prover", "0011_api_keys")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Job",
            name="proof_type",
            field=fields.CharField(db_default="", max_length=63),
        ),
        ops.RunPython(_name_proof_types),
        ops.AddIndex(
            model_name="Job",
            index=TakeableIndex(
                fields=["queue", "proof_type", "not_before", "id"], name="job_ready"
            ),
        ),
        ops.DeleteModel(name="QueueMessage"),
        ops.DeleteModel(name="DeadLetter"),
    ]
