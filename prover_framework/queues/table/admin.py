"""Looking at queues that are a table, and emptying them."""

from prover_framework.database.database import Database
from prover_framework.queues.base import QueueStatus

COUNT = """
SELECT COUNT(CASE WHEN visible_at <= NOW_MS THEN 1 END) AS visible,
    COUNT(CASE WHEN visible_at > NOW_MS AND receive_count > 0 THEN 1 END) AS in_flight,
    COUNT(CASE WHEN visible_at > NOW_MS AND receive_count = 0 THEN 1 END) AS later
FROM queue_message WHERE queue = ?
"""

COUNT_DEAD = "SELECT COUNT(*) AS dead FROM dead_letter WHERE queue = ?"

PURGE = "DELETE FROM queue_message WHERE queue = ? RETURNING id"


async def queue_status(database: Database, queue: str) -> QueueStatus:
    """Count the messages of a queue and its dead letters.

    Raises:
        StoreError: The database refused, and why.
    """
    (messages,) = await database.read(COUNT, [queue])
    (letters,) = await database.read(COUNT_DEAD, [queue])
    return QueueStatus(
        visible=messages["visible"],
        in_flight=messages["in_flight"],
        delayed=messages["later"],
        dead_letters=letters["dead"],
    )


async def purge_queue(database: Database, queue: str) -> None:
    """Remove all messages of a queue.

    Raises:
        StoreError: The database refused, and why.
    """
    await database.write(PURGE, [queue])
