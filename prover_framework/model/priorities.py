"""Which job groups are computed before others.

Of two groups that wait for a worker the one with the higher priority comes first, whenever it was
asked for. Where the table of jobs is the queue this holds; a queue on SQS has an order of its own.
"""

import re

# What a request calls it.
PRIORITY_KEY = "priority"

# One digit and a sign: enough to put a few kinds of work in order, and few enough that the levels
# of a caller's jobs stay a handful.
LOWEST_PRIORITY = -9
USUAL_PRIORITY = 0
HIGHEST_PRIORITY = 9

PRIORITY_RULE = f"a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}"


def lane_of(priority: int, api_key: str | None) -> str:
    """Return the lane of a job: those of the jobs that are to come first sort first.

    Jobs of one lane have one priority and one key of the API, or none, and are taken the oldest
    first; lanes of one priority take turns.
    """
    return f"{HIGHEST_PRIORITY - priority:02}{api_key or ''}"


def priority_of(lane: str) -> int:
    """Return the priority of the jobs of a lane."""
    return HIGHEST_PRIORITY - int(lane[:2])


def read_priority(text: str) -> int | None:
    """Return the priority that a text names; None where it names none."""
    if not re.fullmatch("-?[0-9]", text):
        return None
    return int(text)
